"""A file is claimed by one fit at a time, also after a process that was killed."""

import os
import subprocess
import sys
from threading import Thread

import pytest

from skae.training.claim import Claim, ClaimedError


def test_a_claim_holds_until_its_release(tmp_path):
    path = tmp_path / "file"
    claim = Claim(path)
    with pytest.raises(ClaimedError):
        Claim(path)
    claim.release()
    Claim(path).release()
    assert os.listdir(tmp_path) == []


def test_other_files_and_threads(tmp_path):
    path, refused = tmp_path / "file", []

    def attempt():
        with pytest.raises(ClaimedError):
            Claim(path)
        refused.append(True)

    claim, other = Claim(path), Claim(tmp_path / "other")
    thread = Thread(target=attempt)
    thread.start()
    thread.join()
    assert refused
    claim.release()
    other.release()


def test_a_process_that_ends_leaves_no_claim(tmp_path):
    path = tmp_path / "file"
    script = (
        "import os, sys; from pathlib import Path\n"
        "from skae.training.claim import Claim\n"
        "claim = Claim(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script, path], check=False, env=env)
    assert os.listdir(tmp_path) == [".file.lock"]
    Claim(path).release()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Claim(tmp_path / "nowhere" / "file")
