"""Files are replaced as a whole or stay as they were."""

import os

import pytest

from skae.state.replacing import checked_path, delete_drafts, replaced


def test_a_file_stays_as_it_was_after_an_error(tmp_path):
    path = tmp_path / "file"
    path.write_text("earlier")

    def write():
        with replaced(path) as draft:
            draft.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["file"]


def test_links_and_permissions_stay(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("earlier")
    path.chmod(0o640)
    link.symlink_to(path)
    with replaced(link) as draft:
        draft.write_text("new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_has_to_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        replaced(tmp_path / "nowhere" / "file").__enter__()


@pytest.mark.parametrize("name", ["file", "[a]*", "x" * 200])
def test_drafts_of_killed_processes_are_deleted(tmp_path, name):
    path, other = tmp_path / name, tmp_path / ".other.0123abcd.part"
    other.touch()
    with replaced(path) as draft:
        draft.write_text("new")
        left = draft.with_name(draft.name.replace(".part", "0.part"))
        left.touch()
    delete_drafts(path)
    assert not left.exists()
    assert other.exists()
    assert path.exists()


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    path, other = tmp_path / "file", tmp_path / "other"
    other.touch()
    with replaced(path) as draft:
        draft.write_text("new")
        draft.chmod(0o600)
    assert path.stat().st_mode == other.stat().st_mode


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError, match="path must name a file"):
        replaced(tmp_path).__enter__()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", [None, 0, ["file"]])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(TypeError, match=f"path must be.*got {type(path).__name__}"):
        checked_path(path)


def test_an_empty_path_is_refused():
    with pytest.raises(ValueError, match="path must name a file"):
        replaced("").__enter__()
