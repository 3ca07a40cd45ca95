"""The policy in the kernel, on every hierarchy that is mounted: a v2 tree without controllers takes programs as well."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.cgroup import devices
from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.delegation import PAYLOAD
from pycontainer.cgroup.devicefilter import Rule, merged, program
from pycontainer.cgroup.v1 import CgroupV1
from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.controllers.devices import DEFAULT
from pycontainer.linux import bpf
from tests.support.devices import make_nodes, opened_in
from tests.support.features import cgroup_mount

pytestmark = pytest.mark.vm

KMSG, FULL_READ, ZERO = Rule("c", 1, 11, "rw"), Rule("c", 1, 7, "r"), Rule("c", 1, 5, "rw")
MODES = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)


@pytest.fixture(
    params=[
        pytest.param(1, marks=pytest.mark.requires("devices_v1")),
        pytest.param(2, marks=pytest.mark.requires("cgroup2_tree")),
    ]
)
def cgroup(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    mount = cgroup_mount("cgroup", "devices") if request.param == 1 else cgroup_mount("cgroup2", "rw")
    directory = f"{mount}/pycontainer-t{os.getpid()}"
    os.mkdir(directory)
    made = CgroupV1("t", {"devices": directory}) if request.param == 1 else CgroupV2("t", {"memory": directory})
    try:
        yield made
    finally:
        made.delete()
    assert not os.path.exists(directory)


@pytest.fixture
def nodes(tmp_path: Path) -> dict[tuple[str, int, int], str]:
    made = make_nodes(str(tmp_path), [("c", 1, 5), ("c", 1, 7), ("c", 1, 3)])
    return {node: path for path, node in made.items()}


def directory_of(cgroup: Cgroup) -> str:
    return next(iter(cgroup.paths().values()))


def modes(cgroup: Cgroup, path: str, *, beneath: str = "") -> list[str]:
    return opened_in(directory_of(cgroup) + beneath, [(path, flags) for flags in MODES])


def test_access_is_what_the_rules_say(cgroup: Cgroup, nodes: dict[tuple[str, int, int], str]) -> None:
    zero, full, null = nodes["c", 1, 5], nodes["c", 1, 7], nodes["c", 1, 3]
    assert (devices.is_held(cgroup), devices.held(cgroup)) == (False, None)
    assert modes(cgroup, null) == ["ok"] * 3
    devices.hold(cgroup, (ZERO, FULL_READ))
    assert (devices.is_held(cgroup), devices.held(cgroup)) == (True, (ZERO, FULL_READ))
    assert modes(cgroup, zero) == ["ok"] * 3
    assert modes(cgroup, full) == ["ok", "EPERM", "EPERM"]
    assert modes(cgroup, null) == ["EPERM"] * 3
    devices.hold(cgroup, (Rule("c", 1, None, "w"),))
    assert modes(cgroup, zero) == modes(cgroup, null) == ["EPERM", "ok", "EPERM"]


def test_making_a_node_needs_its_m(cgroup: Cgroup, tmp_path: Path) -> None:
    def make_in_cgroup(minor: int) -> int:
        pid = os.fork()
        if pid == 0:
            code = 9
            try:
                Path(f"{directory_of(cgroup)}/cgroup.procs").write_text("0")
                os.mknod(f"{tmp_path}/n{minor}", 0o020600, os.makedev(1, minor))
                code = 0
            except PermissionError:
                code = 1
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    devices.hold(cgroup, (ZERO, Rule("c", 1, 7, "m")))
    assert (make_in_cgroup(5), make_in_cgroup(7), make_in_cgroup(3)) == (1, 0, 1)


def test_a_change_holds_at_once_and_beneath(cgroup: Cgroup, nodes: dict[tuple[str, int, int], str]) -> None:
    devices.hold(cgroup, DEFAULT)
    os.mkdir(f"{directory_of(cgroup)}/nested")
    zero = nodes["c", 1, 5]
    assert modes(cgroup, zero, beneath="/nested") == ["ok"] * 3
    devices.hold(cgroup, (FULL_READ,))
    assert modes(cgroup, zero) == modes(cgroup, zero, beneath="/nested") == ["EPERM"] * 3
    assert devices.held(cgroup) == (FULL_READ,)
    devices.hold(cgroup, (*DEFAULT, Rule("b", 7, 0, "rwm"), KMSG))
    assert modes(cgroup, zero) == ["ok"] * 3
    assert set(devices.held(cgroup) or ()) == {*DEFAULT, Rule("b", 7, 0, "rwm"), KMSG}


def test_what_was_delegated_beneath_does_not_take_the_policys_place(
    cgroup: Cgroup, nodes: dict[tuple[str, int, int], str]
) -> None:
    """A system instance arranges cgroups of its own, and may remove them."""
    devices.hold(cgroup, DEFAULT)
    os.mkdir(f"{directory_of(cgroup)}/{PAYLOAD}")
    assert devices.held(cgroup) == DEFAULT
    devices.hold(cgroup, (FULL_READ,))
    os.rmdir(f"{directory_of(cgroup)}/{PAYLOAD}")
    assert devices.held(cgroup) == (FULL_READ,)
    assert len(attached(cgroup)) <= 1
    assert modes(cgroup, nodes["c", 1, 5]) == ["EPERM"] * 3


def test_another_supervisor_finds_what_is_held(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = merged((*DEFAULT, KMSG))
    devices.hold(cgroup, rules)
    before = attached(cgroup)
    cached = devices._cached.copy()
    devices._cached.clear()  # as a new process begins
    try:
        assert devices.held(cgroup) == rules
        devices.hold(cgroup, rules)
        assert attached(cgroup) == before
        devices.hold(cgroup, DEFAULT)
        assert devices.held(cgroup) == DEFAULT
        assert len(attached(cgroup)) == len(before)
    finally:
        for program_fd, _ in devices._cached.values():
            os.close(program_fd)
        devices._cached.clear()
        devices._cached.update(cached)


def test_many_different_policies_keep_few_programs_open(cgroup: Cgroup) -> None:
    for minor in range(200):
        devices.hold(cgroup, (*DEFAULT, Rule("c", 10, minor, "r")))
        assert len(devices._cached) <= 64
    assert devices.held(cgroup) == (*DEFAULT, Rule("c", 10, 199, "r"))
    assert len(attached(cgroup)) <= 1


def test_programs_of_others_stay_and_only_narrow(cgroup: Cgroup, nodes: dict[tuple[str, int, int], str]) -> None:
    """systemd's DeviceAllow= above or beside ours, or an administrator's program."""
    if cgroup.version == 1:
        return  # there is one list, and no others
    directory_fd = cgroup.dirfd()
    assert directory_fd is not None
    foreign_fd = bpf.load_device_filter(program((ZERO, FULL_READ)), "somebody_elses")
    try:
        bpf.attach_device_filter(directory_fd, foreign_fd)
        foreign = attached(cgroup)
        assert devices.is_held(cgroup) is False
        devices.hold(cgroup, DEFAULT)
        devices.hold(cgroup, (*DEFAULT, KMSG))
        assert devices.held(cgroup) == (*DEFAULT, KMSG)
        assert set(foreign) < set(attached(cgroup))
        assert len(attached(cgroup)) == 2
        assert modes(cgroup, nodes["c", 1, 5]) == ["ok"] * 3
        assert modes(cgroup, nodes["c", 1, 7]) == ["ok", "EPERM", "EPERM"]
        assert modes(cgroup, nodes["c", 1, 3]) == ["EPERM"] * 3
    finally:
        os.close(foreign_fd)
        os.close(directory_fd)


def attached(cgroup: Cgroup) -> list[int]:
    """Return the ids of the programs that hang on the cgroup; none on v1."""
    if cgroup.version == 1:
        return []
    directory_fd = os.open(directory_of(cgroup), os.O_RDONLY | os.O_DIRECTORY)
    try:
        return bpf.attached_device_filters(directory_fd)
    finally:
        os.close(directory_fd)
