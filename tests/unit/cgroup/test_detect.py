"""Which hierarchies there are, from texts of other machines."""

from pathlib import Path

import pytest

from pycontainer.cgroup.detect import _read, detect
from pycontainer.cgroup.scope import Scope

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
34 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
36 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
37 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
38 31 0:39 / /srv/elsewhere/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_hybrid_with_a_combined_mount() -> None:
    layout = detect(mountinfo=HYBRID)
    assert layout.version == "hybrid"
    assert not layout.is_v2
    assert layout.controllers == {
        "pids": "/sys/fs/cgroup/pids",
        "memory": "/sys/fs/cgroup/memory",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuset": "/sys/fs/cgroup/cpuset",
        "freezer": "/sys/fs/cgroup/freezer",
    }
    assert layout.missing("memory", "blkio", "io") == ["blkio", "io"]


def test_v1_alone() -> None:
    without_v2 = "\n".join(line for line in HYBRID.splitlines() if "cgroup2" not in line)
    assert detect(mountinfo=without_v2).version == "v1"


def test_an_escaped_mount_point() -> None:
    mountinfo = r"32 31 0:29 / /odd\040place/pids rw - cgroup cgroup rw,pids"
    layout = detect("/odd place", mountinfo=mountinfo)
    assert layout.controllers == {"pids": "/odd place/pids"}


@pytest.mark.parametrize(
    "point",
    [
        "/home/u/a\x0cb",
        "/home/u/a\rb",
        "/home/u/a\u2028b",
        "/home/u/a\x85b",
        "/home/u/a\xa0b",
        "/home/u/\udcff",
        "/a\x1cb",
    ],
)
def test_names_of_other_mounts_are_one_word_on_one_line(point: str) -> None:
    """API-06: who may mount with fusermount chooses names; what Python takes for a blank or a line's end may be in them."""
    other = f"40 31 0:50 / {point} rw,nosuid - fuse.sshfs  rw,user_id=1000\n"  # and the source is empty
    assert detect(mountinfo=other + HYBRID).controllers == detect(mountinfo=HYBRID).controllers


@pytest.mark.parametrize("odd", ["\x0c", "\r", "\x1c", "\x85", "\xa0", "\u2028"])
def test_an_odd_mount_point_of_a_hierarchy(odd: str) -> None:
    mountinfo = f"32 31 0:29 / /odd{odd}place/pids rw - cgroup cgroup rw,pids\n"
    assert detect(f"/odd{odd}place", mountinfo=mountinfo).controllers == {"pids": f"/odd{odd}place/pids"}


def test_an_empty_source_and_lines_of_no_mount() -> None:
    mountinfo = HYBRID.replace("- cgroup cgroup rw", "- cgroup  rw") + "1 2 - cgroup x\n\n - \n"
    assert detect(mountinfo=mountinfo).controllers == detect(mountinfo=HYBRID).controllers


def test_the_file_is_read_as_it_is(tmp_path: Path) -> None:
    """A carriage return in a name does not become the end of a line."""
    (tmp_path / "x").write_bytes(b"a\rb\xff\n")
    assert _read(str(tmp_path / "x")) == "a\rb\udcff\n"


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma\n")
    return tmp_path


def v2_mountinfo(mount: Path) -> str:
    """A v2 mount, and a v1 hierarchy of systemd's that holds no controller."""
    return (
        f"31 23 0:28 / {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
        f"32 23 0:29 / {mount}/systemd rw - cgroup cgroup rw,name=systemd\n"
    )


def test_v2_at_the_root_of_the_machine(mount: Path) -> None:
    layout = detect(str(mount), mountinfo=v2_mountinfo(mount))
    assert (layout.version, layout.is_v2, layout.must_vacate) == ("v2", True, False)
    assert layout.controllers == dict.fromkeys(("cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"), str(mount))


def test_v2_in_a_cgroup_namespace_must_vacate(mount: Path) -> None:
    (mount / "cgroup.type").write_text("domain\n")
    layout = detect(str(mount), mountinfo=v2_mountinfo(mount))
    assert layout.must_vacate
    assert layout.controllers["memory"] == str(mount)


def test_v2_in_the_scope_of_systemd(mount: Path) -> None:
    """It comes with the monitor, so it need not be there yet; what the machine offers is offered there."""
    scope = Scope("ours.scope", f"{mount}/system.slice/ours.scope")
    layout = detect(str(mount), name="ours", mountinfo=v2_mountinfo(mount), scope_of=lambda *_: scope)
    assert (layout.must_vacate, layout.scope, layout.mount) == (True, scope, str(mount))
    assert set(layout.controllers.values()) == {scope.directory}
    assert {"io", "hugetlb"} <= set(layout.controllers)


def test_no_cgroup_at_all() -> None:
    with pytest.raises(FileNotFoundError, match="no cgroup file system is mounted") as caught:
        detect(mountinfo="23 1 8:1 / / rw - ext4 /dev/vda rw\n")
    assert caught.value.filename == "/sys/fs/cgroup"
