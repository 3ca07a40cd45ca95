"""What root inside is given of the control groups, drawn as plain directories."""

import os
from pathlib import Path

import pytest

from pycontainer.cgroup.delegation import delegate, landing
from pycontainer.cgroup.detect import Layout
from pycontainer.cgroup.v1 import TreeV1
from pycontainer.cgroup.v2 import CgroupV2


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A container's cgroup as the kernel makes it, and a list of what may be handed over."""
    (tmp_path / "delegate").write_text("cgroup.procs\ncgroup.subtree_control\nmemory.oom.group\n")
    (tmp_path / "c1").mkdir()
    for name in ("cgroup.max.descendants", "cgroup.max.depth", "memory.max", "cgroup.procs"):
        (tmp_path / "c1" / name).touch()
    return tmp_path / "c1"


def test_only_what_the_kernel_lists_is_handed_over(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PS-04"""
    given: list[tuple[str, int, int]] = []

    def chown(path: str, uid: int, gid: int) -> None:
        if path.endswith("memory.oom.group"):
            raise FileNotFoundError(2, "no memory controller here", path)
        given.append((path, uid, gid))

    monkeypatch.setattr(os, "chown", chown)
    payload = delegate(str(ours), 70000, handed_over=str(ours.parent / "delegate"))
    assert payload == f"{ours}/payload"
    names = [payload, f"{payload}/cgroup.procs", f"{payload}/cgroup.subtree_control"]
    assert given == [(name, 70000, 70000) for name in names]
    assert ((ours / "cgroup.max.descendants").read_text(), (ours / "cgroup.max.depth").read_text()) == ("1024", "32")


@pytest.mark.parametrize(
    ("line", "below"),
    [
        ("0::/ours/c1/payload/init.scope", "/init.scope"),
        ("0::/ours/c1/payload", ""),
        ("0::/system.slice/ours.scope/ours/tenant-x/c1/payload/a/b", "/a/b"),
        ("0::/ours/c1/payload/c1/payload/d", "/c1/payload/d"),
        ("0::/ours/c1/payloads", ""),
        ("0::/elsewhere", ""),
        ("3:memory:/ours/c1/payload/x", ""),
    ],
)
def test_a_process_that_joins_lands_beside_the_init(ours: Path, tmp_path: Path, line: str, below: str) -> None:
    (ours / "payload").mkdir()
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(f"5:cpu:/\n{line}\n")
    assert landing(str(ours), 7, procfs=str(tmp_path)) == f"{ours}/payload{below}"


def test_without_delegation_it_lands_in_the_cgroup_itself(ours: Path) -> None:
    assert landing(str(ours), 7, procfs="/nowhere") == str(ours)


def test_the_first_process_is_born_in_the_payload(ours: Path) -> None:
    (ours / "payload").mkdir()
    fd = CgroupV2("c1", {"memory": str(ours)}).dirfd()
    assert fd is not None
    assert os.path.samestat(os.fstat(fd), os.stat(ours / "payload"))
    os.close(fd)


def test_v1_alone_has_nothing_to_hand_over(tmp_path: Path) -> None:
    (tmp_path / "freezer" / "ours").mkdir(parents=True)
    tree = TreeV1(Layout("v1", {"freezer": f"{tmp_path}/freezer"}), "ours")
    assert tree.create("c1").delegate(70000) == ""


def test_what_lies_in_the_unified_tree_of_a_hybrid_host_is_found_and_removed(tmp_path: Path) -> None:
    (tmp_path / "freezer" / "ours").mkdir(parents=True)
    layout = Layout("hybrid", {"freezer": f"{tmp_path}/freezer"}, unified=f"{tmp_path}/unified")
    left = tmp_path / "unified" / "ours" / "c1" / "payload" / "init.scope"
    left.mkdir(parents=True)
    tree = TreeV1(layout, "ours")
    assert tree.list() == ["c1"]
    tree.open("c1").delete()
    tree.remove_parent()
    assert not list(tmp_path.glob("*/ours"))


@pytest.mark.parametrize(("limit", "shown"), [("max", "max"), ("1048576", str(1048576 + os.sysconf("SC_PAGE_SIZE")))])
def test_the_cap_on_memory_is_shown_and_stays_ours(ours: Path, limit: str, shown: str) -> None:
    cgroup = CgroupV2("c1", {"memory": str(ours)})
    cgroup.write("memory", "memory.max", limit)  # nothing was handed over yet
    (ours / "payload").mkdir()
    (ours / "payload" / "memory.max").touch()
    cgroup.write("memory", "memory.max", limit)
    assert ((ours / "memory.max").read_text(), (ours / "payload" / "memory.max").read_text()) == (limit, shown)
