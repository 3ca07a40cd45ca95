"""The facade: names, missing controllers, the parent."""

from pathlib import Path

import pytest

from pycontainer.cgroup.detect import V2_CONTROLLERS, Layout
from pycontainer.cgroup.hierarchy import Hierarchy
from pycontainer.errors import Unsupported


@pytest.fixture
def hierarchy(tmp_path: Path) -> Hierarchy:
    enabled = " ".join(V2_CONTROLLERS)
    (tmp_path / "cgroup.subtree_control").write_text(enabled)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "cgroup.subtree_control").write_text(enabled)
    return Hierarchy(Layout("v2", dict.fromkeys(V2_CONTROLLERS, str(tmp_path))), "ours")


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "-x", ".hidden", "a\n", "a\0", "ä", "a" * 129])
def test_a_name_that_could_climb_is_refused(hierarchy: Hierarchy, name: str) -> None:
    for operation in (hierarchy.create, hierarchy.open):
        with pytest.raises(ValueError, match="not a name for a cgroup"):
            operation(name)
    with pytest.raises(ValueError, match="not a name for a cgroup"):
        Hierarchy(hierarchy.layout, name)


def test_a_missing_controller_is_named() -> None:
    with pytest.raises(Unsupported) as caught:
        Hierarchy(Layout("hybrid", {"cpu": "/c", "cpuset": "/s", "pids": "/p", "freezer": "/f"}), "ours")
    assert caught.value.message == "cgroup controllers are missing on this hybrid host: memory, cpuacct"
    assert caught.value.feature == "cgroup"


def test_the_parent_stays_while_containers_are_there(hierarchy: Hierarchy) -> None:
    cgroup = hierarchy.create("0123456789ab")
    assert hierarchy.containers() == [("0123456789ab", "")]
    assert hierarchy.remove_parent() is False
    cgroup.delete()
    assert hierarchy.containers() == []


def test_create_makes_a_parent_that_vanished(hierarchy: Hierarchy, tmp_path: Path) -> None:
    hierarchy.create("c1").delete()
    (tmp_path / "ours" / "cgroup.subtree_control").rename(tmp_path / "kept")
    assert hierarchy.remove_parent() is True
    assert not (tmp_path / "ours").exists()
    assert hierarchy.remove_parent() is True
    with pytest.raises(FileNotFoundError, match="ours/cgroup.subtree_control"):  # a real mkdir would bring the file
        hierarchy.create("c2")
    assert (tmp_path / "ours").is_dir()
