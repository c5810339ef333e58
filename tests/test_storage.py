"""Files and folders appear whole: whatever stops a writer, what was there stays, and the next one cleans up."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from probe import storage
from probe.storage import new_folder, replacing_file, write_whole


def killed(code: str, path: Path) -> None:
    """Runs code in another process, in which `path` is known and `die()` sends it SIGKILL."""
    before = """
        import os, signal, sys
        from pathlib import Path
        from probe.storage import new_folder, replacing_file, write_whole
        path = Path(sys.argv[1])
        die = lambda: os.kill(os.getpid(), signal.SIGKILL)
    """
    program = textwrap.dedent(before) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path):
    path = tmp_path / "a.txt"
    for content in (b"one", b"two, and longer"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert names(tmp_path) == ["a.txt"]


def test_a_writer_that_fails_leaves_the_file_as_it_was(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_whole(path, b"whole")

    def write() -> None:
        with replacing_file(path) as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("midway")

    with pytest.raises(ValueError, match="midway"):
        write()
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["a.txt"]


def test_a_writer_that_writes_nothing_is_an_error_and_changes_nothing(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_whole(path, b"whole")
    with pytest.raises(FileNotFoundError), replacing_file(path):
        pass
    assert path.read_bytes() == b"whole"


def test_a_killed_writer_leaves_the_file_as_it_was_and_the_next_one_cleans_up(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_whole(path, b"whole")
    killed(
        """
        with replacing_file(path) as temporary:
            temporary.write_bytes(b"half")
            die()
        """,
        path,
    )
    assert path.read_bytes() == b"whole"
    assert len(names(tmp_path)) == 2
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_appears_when_it_is_filled(tmp_path: Path):
    path = tmp_path / "runs" / "first"
    with new_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text("a")
        assert not path.exists()
    assert (path / "deep" / "a.txt").read_text() == "a"
    assert names(path.parent) == ["first"]


def test_a_folder_replaces_the_earlier_one_as_a_whole(tmp_path: Path):
    path = tmp_path / "run"
    for name in ("earlier.txt", "later.txt"):
        with new_folder(path) as folder:
            (folder / name).write_text(name)
        assert names(path) == [name]
    assert names(tmp_path) == ["run"]


def test_a_folder_whose_filling_fails_leaves_the_earlier_one(tmp_path: Path):
    path = tmp_path / "run"
    with new_folder(path) as folder:
        (folder / "a.txt").write_text("a")

    def fill() -> None:
        with new_folder(path) as folder:
            (folder / "b.txt").write_text("b")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert names(path) == ["a.txt"]
    assert names(tmp_path) == ["run"]


def test_a_folder_that_a_killed_process_was_filling_never_appears_and_goes(tmp_path: Path):
    path = tmp_path / "run"
    killed(
        """
        with new_folder(path) as folder:
            (folder / "a.txt").write_text("a")
            die()
        """,
        path,
    )
    assert not path.exists()
    assert len(names(tmp_path)) == 1
    with new_folder(path) as folder:
        (folder / "b.txt").write_text("b")
    assert names(tmp_path) == ["run"]
    assert names(path) == ["b.txt"]


def test_a_kill_between_the_two_renames_leaves_no_mixture_and_the_next_writer_cleans_up(tmp_path: Path):
    path = tmp_path / "run"
    with new_folder(path) as folder:
        (folder / "a.txt").write_text("a")
    killed(
        """
        with new_folder(path) as folder:
            (folder / "b.txt").write_text("b")
            Path.rename = lambda self, target: (os.rename(self, target), die())
        """,
        path,
    )
    assert not path.exists()
    assert len(names(tmp_path)) == 2
    with new_folder(path) as folder:
        (folder / "c.txt").write_text("c")
    assert names(tmp_path) == ["run"]
    assert names(path) == ["c.txt"]


def test_what_a_living_process_or_another_machine_writes_is_left_alone(tmp_path: Path):
    path = tmp_path / "run"
    host = storage._host()
    beside = [f".run.{host}-{os.getppid()}", f".run.{host}x-999999999", ".run.partial", f".run.other.{host}-999999999"]
    for name in beside:
        (tmp_path / name).mkdir()
    (tmp_path / f".run.{host}-999999999").mkdir()
    with new_folder(path):
        pass
    assert names(tmp_path) == sorted([*beside, "run"])


def test_names_with_the_characters_of_patterns_are_only_names(tmp_path: Path):
    (tmp_path / f".ab.{storage._host()}-999999999").mkdir()
    for path in (tmp_path / "a[b]", tmp_path / "a*"):
        with new_folder(path):
            pass
        write_whole(path / "a?.txt", b"a")
    assert names(tmp_path) == sorted([f".ab.{storage._host()}-999999999", "a*", "a[b]"])


def test_what_was_left_under_the_number_of_this_process_goes(tmp_path: Path):
    path = tmp_path / "run"  # a container's processes have the same numbers each time
    left = tmp_path / f".run.{storage._host()}-{os.getpid()}"
    left.mkdir()
    (left / "old.txt").write_text("old")
    with new_folder(path) as folder:
        (folder / "new.txt").write_text("new")
    assert names(path) == ["new.txt"]
