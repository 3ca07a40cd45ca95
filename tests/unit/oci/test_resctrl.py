"""oci/resctrl.py on a directory that behaves as resctrl: a new group has its files, and its removal takes them along."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, PycontainerError, StartFailed, Unsupported
from pycontainer.oci import resctrl

Join = Callable[..., str]
BOTH = {"enableCMT": True, "enableMBM": True}


def populate(directory: Path) -> None:
    (directory / "tasks").write_text("")
    if directory.parent.name != "mon_groups":
        (directory / "schemata").write_text("    L3:0=7ff;1=7ff\n    MB:0= 100;1= 100\n")
        (directory / "mon_groups").mkdir(exist_ok=True)


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make, remove = os.mkdir, os.rmdir
    (tmp_path / "info" / "L3_MON").mkdir(parents=True)
    (tmp_path / "info" / "L3_MON" / "mon_features").write_text("llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n")
    populate(tmp_path)

    def mkdir(path: str, mode: int = 0o777) -> None:
        make(path, mode)
        if Path(path).name != "mon_groups":
            populate(Path(path))

    def rmdir(path: str) -> None:
        for directory, _, files in os.walk(path, topdown=False):
            for name in files:
                os.unlink(f"{directory}/{name}")
            remove(directory)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "rmdir", rmdir)
    return tmp_path


@pytest.fixture
def join(top: Path) -> Join:
    return lambda wanted: resctrl.join(wanted, "c1", 42, top=str(top))


def test_a_class_of_its_own(top: Path, join: Join) -> None:
    made = join({"l3CacheSchema": "L3:0=f\nMB:0=90", "memBwSchema": "MB:0=20"})
    assert made == f"{top}/c1"
    assert (top / "c1" / "schemata").read_text().startswith("L3:0=f\nMB:0=20\n")
    assert (top / "c1" / "tasks").read_text() == "42"
    assert not (top / "c1" / "mon_groups" / "c1").exists()
    resctrl.leave(made)
    assert not (top / "c1").exists()


@pytest.mark.parametrize("field", ["enableCMT", "enableMBM"])
def test_monitored_in_a_class_of_others(top: Path, join: Join, field: str) -> None:
    """What the class uses is not the container's: it has a group for itself, which alone goes with it."""
    os.mkdir(f"{top}/gold")
    made = join({"closID": "gold", field: True})
    assert made == f"{top}/gold/mon_groups/c1"
    assert (top / "gold" / "mon_groups" / "c1" / "tasks").read_text() == "42"
    assert (top / "gold" / "tasks").read_text() == "42"
    resctrl.leave(made)
    assert (top / "gold").exists() and not Path(made).exists()


def test_monitored_in_its_own_class(top: Path, join: Join) -> None:
    assert join(BOTH) == f"{top}/c1"
    assert (top / "c1" / "mon_groups" / "c1" / "tasks").read_text() == "42"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("llc_occupancy", "enableMBM: this machine does not monitor memory bandwidth"),
        ("mbm_local_bytes", "enableCMT: this machine does not monitor the occupancy of caches"),
        ("", "enableCMT: this machine does not monitor the occupancy of caches"),
    ],
)
def test_what_the_machine_cannot_monitor(top: Path, join: Join, features: str, message: str) -> None:
    (top / "info" / "L3_MON" / "mon_features").write_text(features)
    with pytest.raises(Unsupported) as caught:
        join(BOTH)
    assert caught.value.message == f"config.json: linux.intelRdt.{message}"
    assert not (top / "c1").exists()


def test_a_machine_without_monitoring(top: Path, join: Join) -> None:
    os.rmdir(f"{top}/info")
    with pytest.raises(Unsupported, match="enableMBM"):
        join({"enableMBM": True})


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"closID": "none"}, InvalidInput, "linux.intelRdt.closID: there is no group 'none'"),
        ({"closID": "gold", "l3CacheSchema": "L3:1=f"}, InvalidInput, "L3:1=f is not what '.*/gold/schemata' has, 7ff"),
        ({"closID": "gold", "schemata": ["L2:0=f"]}, InvalidInput, "L2:0=f is not what '.*' has, nothing"),
        ({}, StartFailed, "a group 'c1' is there already"),
    ],
)
def test_refused(top: Path, join: Join, wanted: dict[str, object], error: type[PycontainerError], message: str) -> None:
    for name in ("gold", "c1"):
        os.mkdir(f"{top}/{name}")
    with pytest.raises(error, match=message):
        join(wanted)
    assert sorted(path.name for path in top.iterdir() if path.is_dir()) == ["c1", "gold", "info", "mon_groups"]


def test_a_class_that_is_as_it_is_to_be(top: Path, join: Join) -> None:
    os.mkdir(f"{top}/gold")
    before = (top / "gold" / "schemata").read_text()
    assert join({"closID": "gold", "l3CacheSchema": "L3:1=7FF;0=07ff", "memBwSchema": "MB:0=100"}) == ""
    assert (top / "gold" / "schemata").read_text() == before


def test_what_was_made_goes_if_the_rest_fails(top: Path, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    write = resctrl._write

    def refuse(path: str, text: str) -> None:
        if "mon_groups" in path:
            raise OSError(28, "no space", path)
        write(path, text)

    monkeypatch.setattr(resctrl, "_write", refuse)
    with pytest.raises(StartFailed, match="no space left on device"):
        join({"enableMBM": True})
    assert not (top / "c1").exists()


def test_without_resctrl(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="linux.intelRdt: this host has no resctrl mounted"):
        resctrl.join({}, "c1", 1, top=str(tmp_path))
