"""The memory controller against files that behave as the kernel's do."""

import errno
import os

import pytest

from pycontainer.controllers import memory
from pycontainer.controllers.memory import MemoryController, working_set_bytes
from pycontainer.controllers.protocol import Instance, Reading
from pycontainer.errors import InvalidState, Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import PAGE_BYTES, FakeCgroup, host

V1_NONE = "9223372036854771712"
SOCKETS = "memory.kmem.tcp.limit_in_bytes"
MB = 1024 * 1024
CONTROLLER = MemoryController()


def whole_pages(value: str) -> str:
    return V1_NONE if value == "-1" else str(int(value) // PAGE_BYTES * PAGE_BYTES)


def v1(limit: str = V1_NONE, total: str | None = V1_NONE) -> FakeCgroup:
    """A v1 cgroup whose kernel keeps memory <= memory+swap."""
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    files = {names[0]: limit, SOCKETS: V1_NONE} | ({names[1]: total} if total is not None else {})
    cgroup = FakeCgroup(1, files)

    def checked(name: str, value: str) -> str:
        after = cgroup.files | {name: whole_pages(value)}
        if int(after[names[0]]) > int(after.get(names[1], V1_NONE)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        return after[name]

    cgroup.change = {name: lambda value, name=name: checked(name, value) for name in names}  # type: ignore[misc]
    cgroup.change[SOCKETS] = whole_pages
    return cgroup


def v2(limit: str = "max", swap: str | None = "max") -> FakeCgroup:
    return FakeCgroup(2, {"memory.max": limit} | ({"memory.swap.max": swap} if swap is not None else {}))


def test_validate() -> None:
    assert CONTROLLER.validate(ContainerSpec(), host(without="memory")) == []
    assert CONTROLLER.validate(ContainerSpec(memory_bytes=memory.MINIMUM_BYTES), host()) == []
    assert CONTROLLER.validate(ContainerSpec(memory_bytes=4096), host()) == [
        "memory: 4096 bytes are too few to start anything; ask for 1048576 or more"
    ]
    assert CONTROLLER.validate(ContainerSpec(memory_bytes=MB), host(without="memory")) == [
        "memory: this host has no memory controller; boot it with cgroup_enable=memory"
    ]


def test_v2_caps_swap_at_nothing() -> None:
    cgroup = v2()
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_bytes=200 * MB)) == []
    assert cgroup.files == {"memory.max": str(200 * MB), "memory.swap.max": "0"}


def test_v2_no_limit_touches_nothing() -> None:
    cgroup = v2()
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.written == []


def test_v2_limit_taken_off() -> None:
    cgroup = v2(str(MB), "0")
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.files == {"memory.max": "max", "memory.swap.max": "max"}


@pytest.mark.parametrize("limit", [200 * MB, 100 * MB + 1, None, 300 * MB])
def test_v1_limits_go_up_and_down_in_the_right_order(limit: int | None) -> None:
    cgroup = v1(str(200 * MB), str(200 * MB))
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_bytes=limit)) == []
    expected = V1_NONE if limit is None else str(limit // PAGE_BYTES * PAGE_BYTES)
    assert {value for name, value in cgroup.files.items() if name != SOCKETS} == {expected}


def test_v1_refuses_a_cap_below_what_it_cannot_take_back() -> None:
    def busy(value: str) -> str:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    cgroup = v1(str(200 * MB), str(200 * MB))
    cgroup.change["memory.limit_in_bytes"] = busy
    with pytest.raises(
        InvalidState, match="cannot cap memory at 20MiB: more is in use, and cgroup v1 kills nobody for it"
    ):
        CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_bytes=20 * MB))


def test_v1_first_limit() -> None:
    cgroup = v1()
    CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_bytes=MB))
    assert cgroup.written == [
        f"memory.limit_in_bytes={MB}",
        f"memory.memsw.limit_in_bytes={MB}",
        f"{SOCKETS}={4 * MB}",
    ]


@pytest.mark.parametrize("cgroup", [v1(total=None), v2(swap=None)])
@pytest.mark.parametrize("has_swap", [True, False])
def test_without_a_swap_cap_people_are_warned_if_there_is_swap(
    cgroup: FakeCgroup, has_swap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_host_has_swap", lambda: has_swap)
    warnings = CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_bytes=MB))
    assert [warning.startswith("swap is not capped: the kernel has no memory.") for warning in warnings] == (
        [True] if has_swap else []
    )


def test_a_kernel_that_holds_more_is_refused() -> None:
    cgroup = FakeCgroup(2, {"memory.max": "max"}, change={"memory.max": lambda value: str(int(value) + PAGE_BYTES)})
    with pytest.raises(Unsupported, match="cannot set memory.max to '1048576': the kernel holds '1052672'"):
        CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_bytes=MB))


def test_read_and_account() -> None:
    files = {
        "memory.current": "5",
        "memory.max": "max",
        "memory.high": "max",
        "memory.events": "low 0\nmax 3\noom_kill 1",
    }
    assert CONTROLLER.read(Instance(FakeCgroup(2, files))) == Reading(5, None, None, 3)
    files |= {"memory.peak": "9", "memory.max": "10", "memory.high": "8"}
    assert CONTROLLER.read(Instance(FakeCgroup(2, files))) == Reading(5, 9, 10, 3, soft_limit=8)
    v1_files = {
        "memory.usage_in_bytes": "5",
        "memory.max_usage_in_bytes": "9",
        "memory.limit_in_bytes": V1_NONE,
        "memory.failcnt": "3",
    }
    assert CONTROLLER.read(Instance(FakeCgroup(1, v1_files))) == Reading(5, 9, None, 5)  # no less than were killed
    v1_files |= {"memory.memsw.limit_in_bytes": V1_NONE, "memory.memsw.failcnt": "4"}
    assert CONTROLLER.read(Instance(FakeCgroup(1, v1_files))) == Reading(5, 9, None, 7)
    assert CONTROLLER.account(Instance(FakeCgroup(2, {}))) == {"memory_oom_kills": 5}


def test_working_set_is_what_docker_shows() -> None:
    v2_files = {"memory.current": "100", "memory.stat": "anon 60\ninactive_file 30\n"}
    v1_files = {"memory.usage_in_bytes": "100", "memory.stat": "inactive_file 1\ntotal_inactive_file 120\n"}
    assert working_set_bytes(FakeCgroup(2, v2_files)) == 70
    assert working_set_bytes(FakeCgroup(2, v2_files | {"memory.stat": "inactive_file 30"})) == 70
    assert working_set_bytes(FakeCgroup(2, v2_files | {"memory.stat": "total_inactive_file 30\n"})) == 100
    assert working_set_bytes(FakeCgroup(1, v1_files)) == 0


def test_excess_leaves_out_what_the_kernel_can_drop() -> None:
    cgroup = FakeCgroup(
        2, {"memory.current": str(40 * MB), "memory.stat": f"anon {30 * MB}\ninactive_file {10 * MB}\n"}
    )
    instance = Instance(cgroup)
    assert (
        CONTROLLER.excess(instance, ContainerSpec(memory_bytes=20 * MB)) == "memory: 30MiB are in use, more than 20MiB"
    )
    assert CONTROLLER.excess(instance, ContainerSpec(memory_bytes=30 * MB)) == ""
    assert CONTROLLER.excess(instance, ContainerSpec()) == ""


def test_v2_soft_limits_come_and_go() -> None:
    cgroup = FakeCgroup(2, {"memory.max": "max", "memory.high": "max", "memory.low": "0", "memory.min": "0"})
    asked = ContainerSpec(memory_high_bytes=3 * MB + 1, memory_low_bytes=2 * MB, memory_min_bytes=MB)
    CONTROLLER.apply(Instance(cgroup), asked)
    assert cgroup.files == {
        "memory.max": "max",
        "memory.high": str(3 * MB),
        "memory.low": str(2 * MB),
        "memory.min": str(MB),
    }
    CONTROLLER.apply(Instance(cgroup), ContainerSpec())
    assert cgroup.files == {"memory.max": "max", "memory.high": "max", "memory.low": "0", "memory.min": "0"}
    CONTROLLER.apply(Instance(cgroup), ContainerSpec())
    assert len(cgroup.written) == 6


def test_v1_has_a_reservation_alone() -> None:
    cgroup = v1()
    cgroup.files["memory.soft_limit_in_bytes"] = V1_NONE
    CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_low_bytes=2 * MB))
    assert cgroup.written == [f"memory.soft_limit_in_bytes={2 * MB}"]
    CONTROLLER.apply(Instance(cgroup), ContainerSpec())
    assert cgroup.files["memory.soft_limit_in_bytes"] == V1_NONE
    asked = ContainerSpec(memory_high_bytes=MB, memory_low_bytes=MB, memory_min_bytes=MB)
    assert CONTROLLER.validate(asked, host("v1")) == [
        "memory_high: cgroup v1 has no such limit",
        "memory_min: cgroup v1 has no such limit",
    ]
    assert CONTROLLER.validate(asked, host()) == []


def test_swap_on_top() -> None:
    spec = ContainerSpec(memory_bytes=2 * MB, memory_swap_bytes=3 * MB)
    two, one = v2(), v1()
    CONTROLLER.apply(Instance(two), spec)
    assert two.files == {"memory.max": str(2 * MB), "memory.swap.max": str(MB)}
    CONTROLLER.apply(Instance(one), spec)
    assert one.files == {
        "memory.limit_in_bytes": str(2 * MB),
        "memory.memsw.limit_in_bytes": str(3 * MB),
        SOCKETS: str(4 * MB),
    }


@pytest.mark.parametrize(
    ("limit_bytes", "held"), [(64 * MB, 16 * MB), (8 * MB, 4 * MB), (50 * MB + 5, 12 * MB + MB // 2)]
)
def test_v1_sockets_have_a_quarter_on_top(limit_bytes: int, held: int) -> None:
    """RES-02; and it goes with the cap."""
    cgroup = v1()
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_bytes=limit_bytes)) == []
    assert cgroup.files[SOCKETS] == str(held)
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.files[SOCKETS] == V1_NONE


def test_v1_without_a_count_of_sockets() -> None:
    cgroup = v1()
    del cgroup.files[SOCKETS]
    (warning,) = CONTROLLER.apply(Instance(cgroup), ContainerSpec(memory_bytes=64 * MB))
    assert warning == "the memory of sockets is not capped: the kernel has no memory.kmem.tcp.limit_in_bytes"
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
