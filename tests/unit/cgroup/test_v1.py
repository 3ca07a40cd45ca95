"""The legacy hierarchies, drawn as plain directories."""

from pathlib import Path

import pytest

from pycontainer.cgroup.detect import V1_CONTROLLERS, Layout
from pycontainer.cgroup.v1 import CgroupV1, TreeV1


@pytest.fixture
def tree(tmp_path: Path) -> TreeV1:
    mounts = {name: f"{tmp_path}/{name}" for name in V1_CONTROLLERS} | dict.fromkeys(
        ("cpu", "cpuacct"), f"{tmp_path}/cpu,cpuacct"
    )
    for mount in mounts.values():
        Path(mount).mkdir(exist_ok=True)
    (tmp_path / "cpuset" / "ours").mkdir()
    for file, content in (("cpuset.cpus", "0-1"), ("cpuset.mems", "0")):
        (tmp_path / "cpuset" / file).write_text(content)
        (tmp_path / "cpuset" / "ours" / file).touch()
    (tmp_path / "cpuset" / "ours" / "cgroup.clone_children").touch()
    tree = TreeV1(Layout("v1", mounts), "ours")
    tree.prepare()
    return tree


def test_prepare_gives_the_parent_cpuset_what_the_root_has(tree: TreeV1, tmp_path: Path) -> None:
    ours = tmp_path / "cpuset" / "ours"
    assert (ours / "cpuset.cpus").read_text() == "0-1"
    assert (ours / "cpuset.mems").read_text() == "0"
    assert (ours / "cgroup.clone_children").read_text() == "1"


def test_one_directory_per_hierarchy_and_one_attach_in_a_combined_mount(tree: TreeV1, tmp_path: Path) -> None:
    cgroup = tree.create("c1")
    assert cgroup.paths()["cpu"] == cgroup.paths()["cpuacct"] == f"{tmp_path}/cpu,cpuacct/ours/c1"
    for directory in {*cgroup.paths().values()}:
        Path(directory, "cgroup.procs").touch()
    cgroup.attach(4711)
    assert {Path(directory, "cgroup.procs").read_text() for directory in cgroup.paths().values()} == {"4711"}
    assert tree.list() == ["c1"]


def test_a_failed_create_leaves_nothing(tree: TreeV1, tmp_path: Path) -> None:
    (tmp_path / "blkio" / "ours" / "c1").mkdir()  # the last hierarchy
    with pytest.raises(FileExistsError):
        tree.create("c1")
    assert [str(path) for path in tmp_path.rglob("c1")] == [f"{tmp_path}/blkio/ours/c1"]


def test_delete_removes_the_claim_last(tree: TreeV1, tmp_path: Path) -> None:
    cgroup = tree.create("c1")
    (tmp_path / "memory" / "ours" / "c1" / "process").touch()
    with pytest.raises(OSError, match="processes are left"):
        cgroup.delete(timeout_seconds=0)
    assert (tmp_path / "freezer" / "ours" / "c1").is_dir()
    assert tree.list() == ["c1"]
    (tmp_path / "memory" / "ours" / "c1" / "process").unlink()
    cgroup.delete(timeout_seconds=0)
    assert tree.list() == []
    cgroup.delete(timeout_seconds=0)


def test_freeze_that_never_ends_is_undone(tmp_path: Path) -> None:
    class Restless(CgroupV1):
        __slots__ = ()

        def is_frozen(self) -> bool:
            return False

    (tmp_path / "freezer.state").touch()
    cgroup = Restless("c1", {"freezer": str(tmp_path)})
    with pytest.raises(TimeoutError, match="freeze: processes do not stop"):
        cgroup.freeze(timeout_seconds=0)
    assert (tmp_path / "freezer.state").read_text() == "THAWED"


def test_what_is_shown_inside(tree: TreeV1, tmp_path: Path) -> None:
    cgroup = tree.open("c1")
    assert cgroup.mount_sources() == [
        ("memory", f"{tmp_path}/memory/ours/c1"),
        ("cpu", f"{tmp_path}/cpu,cpuacct/ours/c1"),
        ("cpuacct", f"{tmp_path}/cpu,cpuacct/ours/c1"),
        ("cpuset", f"{tmp_path}/cpuset/ours/c1"),
        ("pids", f"{tmp_path}/pids/ours/c1"),
    ]
    assert cgroup.dirfd() is None
