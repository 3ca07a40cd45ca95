import multiprocessing
import os
from pathlib import Path

import pytest

from pycontainer.errors import PycontainerError
from pycontainer.security.idranges import COUNT, LAST, IdRanges

FIRST = LAST + COUNT


@pytest.fixture
def claims(tmp_path: Path) -> str:
    return str(tmp_path / "idranges")


def make(claims: str, etc: Path, ranges: int = 4) -> IdRanges:
    """Return an allocator over a pool of few ranges, an empty /etc, and a /proc in which nobody lives with any of them."""
    return IdRanges(claims, pool=(FIRST, FIRST + (ranges - 1) * COUNT), etc=str(etc), proc=str(nobody(etc)))


def nobody(tmp_path: Path) -> Path:
    """Return a directory like /proc, of kernel threads and processes of the host alone."""
    directory = tmp_path / "proc"
    if not directory.exists():
        (directory / "1").mkdir(parents=True)
        (directory / "1/uid_map").write_text("         0          0 4294967295\n")
        (directory / "2").mkdir()
        (directory / "self").symlink_to("1")
    return directory


def owner(tmp_path: Path, name: str) -> str:
    directory = tmp_path / name
    directory.mkdir(exist_ok=True)
    return str(directory)


def test_every_owner_has_a_range_of_its_own(claims: str, tmp_path: Path) -> None:
    ranges = make(claims, tmp_path)
    owners = [owner(tmp_path, name) for name in "abcd"]
    assert [ranges.allocate(o) for o in owners] == [FIRST + n * COUNT for n in range(4)]
    assert [ranges.lookup(o) for o in owners] == [FIRST + n * COUNT for n in range(4)]
    assert os.readlink(f"{claims}/{FIRST}") == owners[0]
    assert os.stat(claims).st_mode & 0o777 == 0o700


def test_released_range_is_the_last_to_be_used_again(claims: str, tmp_path: Path) -> None:
    ranges = make(claims, tmp_path, 3)
    a, b = owner(tmp_path, "a"), owner(tmp_path, "b")
    assert ranges.allocate(a) == FIRST
    ranges.release(FIRST, a)
    assert ranges.lookup(a) is None
    assert [ranges.allocate(b) for _ in range(3)] == [FIRST + COUNT, FIRST + 2 * COUNT, FIRST]


def test_restart_goes_on_after_the_highest_claim(claims: str, tmp_path: Path) -> None:
    a = owner(tmp_path, "a")
    make(claims, tmp_path).allocate(a)
    assert make(claims, tmp_path).allocate(a) == FIRST + COUNT


def test_claim_of_another_is_not_released(claims: str, tmp_path: Path) -> None:
    ranges = make(claims, tmp_path)
    a = owner(tmp_path, "a")
    ranges.allocate(a)
    ranges.release(FIRST, owner(tmp_path, "b"))
    ranges.release(FIRST + COUNT, a)
    assert ranges.lookup(a) == FIRST


def test_holds(claims: str, tmp_path: Path) -> None:
    ranges = make(claims, tmp_path)
    a, b = owner(tmp_path, "a"), owner(tmp_path, "b")
    ranges.allocate(a)
    assert [ranges.holds(FIRST, a), ranges.holds(FIRST, b), ranges.holds(FIRST + COUNT, a)] == [True, False, False]


def test_no_range_is_left(claims: str, tmp_path: Path) -> None:
    ranges = make(claims, tmp_path, 2)
    for name in "ab":
        ranges.allocate(owner(tmp_path, name))
    with pytest.raises(PycontainerError) as caught:
        ranges.allocate(owner(tmp_path, "c"))
    assert caught.value.message == "all 2 id ranges of this host are in use"


def test_claim_of_a_deleted_owner_is_given_back_when_needed(claims: str, tmp_path: Path) -> None:
    ranges = make(claims, tmp_path, 2)
    a, b = owner(tmp_path, "a"), owner(tmp_path, "b")
    assert (ranges.allocate(a), ranges.allocate(b)) == (FIRST, FIRST + COUNT)
    os.rmdir(b)
    assert ranges.allocate(owner(tmp_path, "c")) == FIRST + COUNT
    assert ranges.lookup(a) == FIRST


def test_sweep(claims: str, tmp_path: Path) -> None:
    ranges = make(claims, tmp_path)
    a, b = owner(tmp_path, "a"), owner(tmp_path, "b")
    ranges.allocate(a), ranges.allocate(b)
    assert ranges.sweep() == []
    os.rmdir(a)
    assert ranges.sweep() == [FIRST]
    assert sorted(os.listdir(claims)) == [".lock", str(FIRST + COUNT)]


def test_a_process_keeps_its_ids_from_the_sweep(claims: str, tmp_path: Path) -> None:
    """Also one that has them for the second range of its map."""
    ranges = make(claims, tmp_path)
    a, b = owner(tmp_path, "a"), owner(tmp_path, "b")
    ranges.allocate(a), ranges.allocate(b)
    os.rmdir(a)
    os.rmdir(b)
    process = nobody(tmp_path) / "7"
    process.mkdir()
    (process / "uid_map").write_text(f"         0 {FIRST + 40 * COUNT} 1\n         1 {FIRST} 65535\n")
    assert ranges.sweep() == [FIRST + COUNT]
    (process / "uid_map").unlink()
    process.rmdir()
    assert ranges.sweep() == [FIRST]


def test_ids_that_somebody_lives_with_are_not_given_back(claims: str, tmp_path: Path) -> None:
    """On the host's real /proc: its processes have 0 in their uid_map, as those of a container have its base."""
    ranges = IdRanges(claims, pool=(0, 0), etc=str(tmp_path / "no-etc"))
    ranges.allocate(str(tmp_path / "deleted"))
    assert ranges.sweep() == []
    assert ranges.lookup(str(tmp_path / "deleted")) == 0


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("subuid", f"alice:{FIRST + 10}:65536"),
        ("subgid", f"alice:{FIRST - 5}:6"),
        ("passwd", f"bob:x:{FIRST}:100::/:/bin/sh"),
        ("passwd", f"bob:x:100:{FIRST + COUNT - 1}::/:/bin/sh"),
        ("group", f"bob:x:{FIRST + 1}:"),
    ],
)
def test_ids_of_the_host_are_left_alone(claims: str, tmp_path: Path, file: str, line: str) -> None:
    ranges = make(claims, tmp_path)
    (tmp_path / file).write_text(f"# of the host\n{line}\n\nbroken\n")
    assert ranges.allocate(owner(tmp_path, "a")) >= FIRST + COUNT


def test_changed_files_are_read_again(claims: str, tmp_path: Path) -> None:
    ranges = make(claims, tmp_path)
    a = owner(tmp_path, "a")
    assert ranges.allocate(a) == FIRST
    (tmp_path / "subuid").write_text(f"alice:{FIRST + COUNT}:{2 * COUNT}\n")
    assert ranges.allocate(a) == FIRST + 3 * COUNT


def test_directory_that_others_may_write_to_is_refused(claims: str, tmp_path: Path) -> None:
    os.mkdir(claims)
    os.chmod(claims, 0o777)
    with pytest.raises(PycontainerError, match="cannot be trusted"):
        make(claims, tmp_path).allocate(owner(tmp_path, "a"))


def test_link_in_place_of_the_directory_is_refused(claims: str, tmp_path: Path) -> None:
    os.symlink(owner(tmp_path, "elsewhere"), claims)
    with pytest.raises(OSError, match="idranges"):
        make(claims, tmp_path).allocate(owner(tmp_path, "a"))
    assert os.listdir(tmp_path / "elsewhere") == []


def _allocate_many(claims: str, etc: str, owner: str, results: "multiprocessing.SimpleQueue[list[int]]") -> None:
    ranges = IdRanges(claims, pool=(FIRST, FIRST + 999 * COUNT), etc=etc)
    results.put([ranges.allocate(owner) for _ in range(100)])


def test_processes_at_the_same_time(claims: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.SimpleQueue[list[int]] = context.SimpleQueue()
    arguments = (claims, str(tmp_path), owner(tmp_path, "a"), results)
    processes = [context.Process(target=_allocate_many, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    bases = [base for _ in processes for base in results.get()]
    for process in processes:
        process.join()
    assert sorted(bases) == [FIRST + n * COUNT for n in range(400)]
