"""The unified hierarchy, drawn as plain directories."""

from pathlib import Path

import pytest

from pycontainer.cgroup.detect import Layout
from pycontainer.cgroup.v2 import CgroupV2, TreeV2, enable


def test_enable_writes_only_what_is_missing(tmp_path: Path) -> None:
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("memory pids cpu")
    enable(str(tmp_path), ("pids", "memory"))
    assert control.read_text() == "memory pids cpu"


def test_enable_checks_the_effect(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("")
    with pytest.raises(OSError, match="the kernel did not enable memory, pids"):
        enable(str(tmp_path), ("memory", "pids"))  # a plain file then holds "+memory +pids", not "memory pids"


def test_create_open_list(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    tree = TreeV2(Layout("v2", dict.fromkeys(("cpu", "memory"), str(tmp_path))), "ours")
    cgroup = tree.create("c1")
    assert cgroup.paths() == dict.fromkeys(("cpu", "memory"), f"{tmp_path}/ours/c1")
    assert cgroup.mount_sources() == [("", f"{tmp_path}/ours/c1")]
    assert tree.list() == ["c1"]
    assert tree.open("c1").exists()
    assert not tree.open("c2").exists()
    with pytest.raises(FileExistsError):
        tree.create("c1")
    cgroup.delete(timeout_seconds=0)
    tree.remove_parent()
    assert list(tmp_path.iterdir()) == []


def test_freeze_that_never_ends_is_undone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (tmp_path / "cgroup.freeze").touch()
    cgroup = CgroupV2("c1", {"memory": str(tmp_path)})
    with pytest.raises(TimeoutError, match="freeze: processes do not stop"):
        cgroup.freeze(timeout_seconds=0)
    assert (tmp_path / "cgroup.freeze").read_text() == "0"
    assert not cgroup.is_frozen()


def test_kill_of_a_cgroup_that_is_gone(tmp_path: Path) -> None:
    CgroupV2("c1", {"memory": f"{tmp_path}/gone"}).kill()


def test_oom_kills(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert CgroupV2("c1", {"memory": str(tmp_path)}).oom_kills() == 2
