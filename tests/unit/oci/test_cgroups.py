"""Where a container's cgroup lies, and what is made and removed again, in hierarchies drawn as plain directories."""

from pathlib import Path
from typing import Any

import pytest

from pycontainer.cgroup.base import own_cgroups
from pycontainer.errors import InvalidInput, NotPermitted, Unsupported
from pycontainer.oci import cgroups
from pycontainer.oci.cgroups import V2_CONTROLLERS, Group, PlainV2, locate, make


@pytest.fixture
def host(tmp_path: Path) -> tuple[str, str]:
    """Return the roots of a drawn /sys/fs/cgroup and /proc."""
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "proc" / "self").mkdir(parents=True)
    return str(tmp_path / "cgroup"), str(tmp_path / "proc")


def draw(host: tuple[str, str], mounts: dict[str, tuple[str, str]], own: str) -> None:
    """Draw hierarchies: name -> (directory below the root, which cgroup is seen there); cgroup2 is v2."""
    root, procfs = host
    lines = [
        f"30 23 0:{number} {shown} {root}/{name} rw - {kind} {kind} rw,{option}\n"
        for number, (option, (name, shown)) in enumerate(mounts.items())
        for kind in ["cgroup2" if option == "cgroup2" else "cgroup"]
    ]
    Path(procfs, "self", "mountinfo").write_text("".join(lines).replace(f"{root}/ ", f"{root} "))
    Path(procfs, "self", "cgroup").write_text(own)
    if list(mounts) == ["cgroup2"]:
        Path(root, "cgroup.controllers").touch()


def located(path: str, host: tuple[str, str]) -> dict[str, str]:
    root, procfs = host
    _, paths = locate(path, "c1", root, procfs)
    return {name: directory.removeprefix(root) for name, directory in paths.items()}


def test_v2(host: tuple[str, str]) -> None:
    draw(host, {"cgroup2": ("", "/")}, "0::/user.slice/shell\n")
    assert set(located("/a/b", host).values()) == {"/a/b"}
    assert set(located("/a//./b/", host).values()) == {"/a/b"}
    assert set(located("a/b", host).values()) == {"/user.slice/a/b"}
    assert set(located("", host).values()) == {"/user.slice/c1"}
    assert set(located("", host)) == set(V2_CONTROLLERS)


@pytest.mark.parametrize("own", ["/", "/c", "/../x", "/../../x/y"])
def test_v2_at_the_top(host: tuple[str, str], own: str) -> None:
    """The last two are a cgroup outside of the namespace that is mounted."""
    draw(host, {"cgroup2": ("", "/")}, f"0::{own}\n")
    assert set(located("", host).values()) == {"/c1"}


def test_v2_in_a_container_without_a_namespace(host: tuple[str, str]) -> None:
    """Its own cgroup is what it sees mounted, under a name that is the host's."""
    draw(host, {"cgroup2": ("", "/docker/77")}, "0::/docker/77/init\n")
    assert set(located("", host).values()) == {"/c1"}
    draw(host, {"cgroup2": ("", "/docker/77")}, "0::/docker/77/a/b\n")
    assert set(located("", host).values()) == {"/a/c1"}
    draw(host, {"cgroup2": ("", "/docker/77")}, "0::/docker/777/a/b\n")
    assert set(located("", host).values()) == {"/c1"}


def test_hybrid(host: tuple[str, str]) -> None:
    mounts = {
        "cpu,cpuacct": ("cpu,cpuacct", "/"),
        "memory": ("memory", "/"),
        "freezer": ("freezer", "/lxc"),
        "name=systemd": ("systemd", "/"),
        "name=other": ("other", "/"),
        "cgroup2": ("unified", "/"),
    }
    draw(host, mounts, "5:name=systemd:/s\n4:memory:/m/n\n2:cpu,cpuacct:/c\n1:freezer:/lxc/f\n0::/u\n")
    expected = {
        "cpu": "/cpu,cpuacct/c/c1",
        "cpuacct": "/cpu,cpuacct/c/c1",
        "memory": "/memory/m/n/c1",
        "freezer": "/freezer/f/c1",
        "name=systemd": "/systemd/s/c1",
        "": "/unified/u/c1",
    }
    assert located("", host) == expected
    assert list(located("", host))[0] == "freezer"
    assert located("/p/q", host) == {name: f"/{path.split('/')[1]}/p/q" for name, path in expected.items()}


def test_no_hierarchy(host: tuple[str, str]) -> None:
    draw(host, {}, "0::/\n")
    with pytest.raises(Unsupported, match="no cgroup file system is mounted"):
        located("/a", host)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/a/../b", "has a '..'"),
        ("..", "has a '..'"),
        ("../../etc", "has a '..'"),
        ("/", "is the root of the hierarchy"),
        ("//./", "is the root of the hierarchy"),
        ("/a\0b", "control characters"),
        ("/a\nb", "control characters"),
        ("/" + 256 * "x", "more than 255 bytes"),
        ("/" + "/".join(40 * [100 * "x"]), "too long"),
    ],
)
def test_paths_that_are_refused(path: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=r"config\.json: linux\.cgroupsPath: .*" + message):
        make(path, "c1")


def test_a_comma_and_a_colon_in_names_of_cgroups(host: tuple[str, str]) -> None:
    draw(host, {}, "4:cpu,cpuacct:/a:b,c\n3:name=systemd:/\n0::/x:y\n")
    assert own_cgroups("self", host[1]) == {"cpu": "/a:b,c", "cpuacct": "/a:b,c", "name=systemd": "/", "": "/x:y"}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A v2 hierarchy in which the kernel's files do not appear by themselves: without controllers to pass on."""
    monkeypatch.setattr(cgroups, "ROOT", str(tmp_path))
    monkeypatch.setattr(cgroups, "_make_passed_on", cgroups._make_directory)
    return tmp_path


def group(directory: Path, *, is_optional: bool = False) -> Group:
    return Group("c1", PlainV2("c1", {"memory": str(directory)}), is_optional=is_optional)


def test_what_was_made_on_the_way_goes_too_unless_somebody_uses_it(tree: Path) -> None:
    first, second = group(tree / "a" / "b" / "c1"), group(tree / "a" / "c2")
    first.create()
    second.create()
    assert first.record()["intermediate"] == [f"{tree}/a", f"{tree}/a/b"]
    assert second.record()["intermediate"] == []
    Group.reopen(first.record()).delete()
    assert sorted(tree.rglob("*")) == [tree / "a", tree / "a" / "c2"]
    Group.reopen(second.record()).delete()
    Group.reopen(first.record()).delete()  # as `delete --force` does
    assert list(tree.rglob("*")) == []


def test_a_directory_that_was_there_stays(tree: Path) -> None:
    (tree / "pods").mkdir()
    made = group(tree / "pods" / "c1")
    made.create()
    made.delete()
    assert list(tree.rglob("*")) == [tree / "pods"]


def test_a_failure_removes_what_was_made(tree: Path) -> None:
    paths = {"freezer": f"{tree}/freezer/a/c1", "memory": f"{tree}/memory/a/c1"}
    (tree / "freezer").mkdir()
    (tree / "memory").touch()
    made = Group("c1", cgroups.PlainV1("c1", paths))
    with pytest.raises(Exception, match="cannot make the cgroup"):
        made.create()
    assert sorted(tree.rglob("*")) == [tree / "freezer", tree / "memory"]


def test_without_rights_there_is_no_cgroup_and_no_limit(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise PermissionError(13, "Permission denied", f"{tree}/c1")

    monkeypatch.setattr(cgroups, "_make_passed_on", refuse)
    with pytest.raises(NotPermitted, match="cannot make the cgroup"):
        group(tree / "c1").create()
    optional = group(tree / "c1", is_optional=True)
    optional.create()
    optional.apply({"devices": [{"allow": False, "access": "rwm"}], "memory": {"disableOOMKiller": False}})
    with pytest.raises(NotPermitted, match=r"pids\.limit: the container has no cgroup"):
        optional.apply({"pids": {"limit": 5}})
    with pytest.raises(Unsupported, match="cannot freeze the processes of container 'c1': it has no cgroup"):
        optional.freeze()
    again = Group.reopen(optional.record())
    assert (again.pids(), again.is_frozen(), again.mount_sources(), again.oom_kills()) == ([], False, [], 0)
    entrance = again.entrance(lambda fd: fd)
    assert (entrance.born_fd, entrance.doors) == (-1, ())
    again.see_in(1, entrance)
    again.attach(1)
    again.kill()
    again.delete()


@pytest.mark.parametrize(
    "change",
    [
        {"paths": {"memory": "/etc"}},
        {"paths": {"memory": "/sys/fs/cgroup/../../../etc"}},
        {"paths": {"memory": "/sys/fs/cgroup/a/.."}},
        {"paths": {"memory": 5}},
        {"paths": []},
        {"paths": {}},
        {"intermediate": ["/home"]},
        {"intermediate": "x"},
        {"container_id": None},
        {"version": 3},
    ],
)
def test_a_record_that_is_not_ours(change: dict[str, Any]) -> None:
    record = {
        "driver": "cgroupfs",
        "container_id": "c1",
        "version": 2,
        "paths": {"memory": "/sys/fs/cgroup/a"},
        "intermediate": [],
    }
    assert Group.reopen(record).record() == record
    with pytest.raises(ValueError, match="record of a cgroup"):
        Group.reopen(record | change)


def test_a_joining_process_goes_to_where_init_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With controllers passed on inside, v2 takes no process at the top; names from inside lead nowhere else."""
    monkeypatch.setattr(cgroups, "ROOT", str(tmp_path))
    (tmp_path / "a" / "c1" / "init.scope").mkdir(parents=True)
    cgroup = PlainV2("c1", {"memory": str(tmp_path / "a" / "c1")})
    for path, expected in [
        ("/a/c1/init.scope", "/init.scope"),
        ("/host/a/c1/init.scope", "/init.scope"),  # in a container without a cgroup namespace
        ("/a/c1", ""),
        ("/c1/init.scope", ""),
        ("/elsewhere", ""),
        ("/a/c1/../../b", ""),
        ("/a/c1/gone", ""),
    ]:
        monkeypatch.setattr(cgroups, "own_cgroups", lambda _pid, path=path: {"": path})
        assert cgroup._landing(42) == f"{tmp_path}/a/c1{expected}"
    assert cgroup._landing(0) == f"{tmp_path}/a/c1"
