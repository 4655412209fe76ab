"""A file is locked by one fit at a time, also after a process that was killed."""

import os
import subprocess
import sys
from threading import Thread

import pytest

from skae.training.file_lock import FileLock, LockedError


def test_a_lock_holds_until_its_release(tmp_path):
    path = tmp_path / "file"
    lock = FileLock(path)
    with pytest.raises(LockedError):
        FileLock(path)
    lock.release()
    FileLock(path).release()
    assert os.listdir(tmp_path) == []


def test_other_files_and_threads(tmp_path):
    path, refused = tmp_path / "file", []

    def attempt():
        with pytest.raises(LockedError):
            FileLock(path)
        refused.append(True)

    lock, other = FileLock(path), FileLock(tmp_path / "other")
    thread = Thread(target=attempt)
    thread.start()
    thread.join()
    assert refused
    lock.release()
    other.release()


def test_a_process_that_ends_leaves_no_lock(tmp_path):
    path = tmp_path / "file"
    script = (
        "import os, sys; from pathlib import Path\n"
        "from skae.training.file_lock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script, path], check=False, env=env)
    assert os.listdir(tmp_path) == [".file.lock"]
    FileLock(path).release()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "nowhere" / "file")
