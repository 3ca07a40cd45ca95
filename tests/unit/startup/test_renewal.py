"""Who has a dump made after a slow start, and who has not."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pycontainer.startup import renewal
from pycontainer.startup.machine import CODES

MOUNTS = os.stat("/proc/self/ns/mnt").st_ino

pytestmark = pytest.mark.skipif(os.uname().machine not in CODES, reason="no machine code for this machine")


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Be root of the host; what would be started is put down here."""
    found: list[list[str]] = []

    def spawn(path: str, argv: list[str], environment: dict[str, str], **given: Any) -> int:
        assert environment == {} and given["setsid"] and given["setsigmask"] == []
        assert set(given["setsigdef"]) == set(range(1, 65)) - {9, 19, 32, 33}
        assert sorted(each[-1] for each in given["file_actions"]) == [0, 1, 2]
        found.append(argv)
        return 1

    monkeypatch.setattr(os, "posix_spawn", spawn)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(renewal, "_is_root_of_the_host", lambda: True)
    monkeypatch.delenv(renewal.SWITCH, raising=False)
    return found


def test_it_starts_the_building(spawned: list[list[str]], tmp_path: Path) -> None:
    renewal.begin("pycontainer", str(tmp_path / "dump"), MOUNTS)
    ((_, *options, program),) = spawned
    assert options == ["-IS", "-c"]
    lines = program.splitlines()
    assert lines[0] == "import os; os.closerange(3, 1 << 20); os.chdir('/')"
    assert "sys.argv[1:] = ['pycontainer']" in lines[1] and lines[2].endswith("main()")


@pytest.mark.parametrize("switch", ["slow", "trial"])
def test_not_where_no_dump_is_wanted(
    spawned: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv(renewal.SWITCH, switch)
    renewal.begin("pycontainer", str(tmp_path / "dump"), MOUNTS)
    assert spawned == []


def test_not_where_there_is_one_that_could_not_be_used(spawned: list[list[str]]) -> None:
    renewal.begin("pycontainer", "", MOUNTS)
    assert spawned == []


def test_not_in_the_mounts_of_a_container(spawned: list[list[str]], tmp_path: Path) -> None:
    renewal.begin("pycontainer", str(tmp_path / "dump"), MOUNTS + 1)
    assert spawned == []


@pytest.mark.parametrize("is_there", [True, False])
def test_not_where_nothing_can_be_written(
    spawned: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append(path))
    directory = tmp_path / "startup"
    if is_there:
        directory.mkdir()
    renewal.begin("pycontainer", f"{directory}/dump", MOUNTS)
    assert (spawned, asked) == ([], [str(directory if is_there else tmp_path)])


@pytest.mark.parametrize("who", ["geteuid", "_is_root_of_the_host"])
def test_not_by_anybody_but_root_of_the_host(
    spawned: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    if who == "geteuid":
        monkeypatch.setattr(os, who, lambda: 1000)
    else:
        monkeypatch.setattr(renewal, who, lambda: False)
    renewal.begin("pycontainer", str(tmp_path / "dump"), MOUNTS)
    assert spawned == []


@pytest.mark.parametrize(("seconds_ago", "begins"), [(60, False), (3700, True), (-1000, True)])
def test_not_again_soon_after_a_failure(
    spawned: list[list[str]], tmp_path: Path, seconds_ago: int, begins: bool
) -> None:
    failed = tmp_path / "dump.failed"
    failed.write_text("why")
    then = time.time() - seconds_ago  # in the future: the clock was set back
    os.utime(failed, (then, then))
    renewal.begin("pycontainer", str(tmp_path / "dump"), MOUNTS)
    assert bool(spawned) == begins
