"""The anonymous memory of a process: what it allocated, without pages of mapped files.

Scripts that measure it do so in a process of its own, which :func:`in_fresh_process`
starts; there :class:`Peak` samples RssAnon of /proc/self/status. Linux only.
"""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

__all__ = ["Peak", "in_fresh_process", "is_measurable", "rss_anon_mb"]

_STATUS = Path("/proc/self/status")


class Peak:
    """The largest RssAnon, in MB, that a thread sees while the block runs."""

    def __enter__(self):
        self.mb = rss_anon_mb()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self):
        while not self._stop.wait(0.005):
            self.mb = max(self.mb, rss_anon_mb())

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()
        self.mb = max(self.mb, rss_anon_mb())


def rss_anon_mb():
    """RssAnon of this process in MB."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", _STATUS.read_text())[1]) / 1024


def is_measurable():
    """Whether this system has RssAnon, which only Linux has."""
    return _STATUS.exists()


def in_fresh_process(script, *arguments):
    """Run a script; its last line on standard output is JSON, which is returned."""
    child = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(child.stdout.splitlines()[-1])
