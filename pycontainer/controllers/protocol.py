"""What a resource controller is: set a cap and prove it, measure, account.

A controller is found through the entry-point group `pycontainer.controllers` (see `registry.py`), ours as anybody's.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pycontainer.cgroup.base import Cgroup, read_file
from pycontainer.cgroup.detect import Layout
from pycontainer.cgroup.devices import why_no_policy
from pycontainer.cgroup.reserve import total_memory_bytes
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec

Disks = Sequence[str]


class Reading(NamedTuple):
    """One look at a resource, in the controller's unit; None where it has no such value or the kernel does not say."""

    held: int | None  # in use now
    peak: int | None  # most ever in use
    limit: int | None  # None: no limit
    fail_count: int  # how often the limit said no
    pressure: float | None = None  # percent of the last 10 s in which some task waited for it; PSI, v2 alone
    soft_limit: int | None = None  # from which on it is slowed, or has a time of grace, or people are to know


class Lacking(str):
    """A problem that is not the wish's but the host's, which has nothing to hold it with; best effort goes on."""

    __slots__ = ()


class Host(NamedTuple):
    """What `validate` needs to know of the machine."""

    layout: Layout
    cpus: frozenset[int]  # online
    page_bytes: int
    for_tenant: bool = False  # the wishes are a tenant's, for all of its containers together
    memory_nodes: frozenset[int] = frozenset({0})  # online
    memory_bytes: int | None = None  # of RAM; None: not known
    huge_page_bytes: frozenset[int] = frozenset()  # the sizes there are
    why_no_device_policy: str = ""  # empty: it can hold which devices are used


class Traffic(Protocol):
    """What went through since a cap was set."""

    @property
    def sent_bytes(self) -> int: ...
    @property
    def dropped_packets(self) -> int: ...


class Bandwidth(Protocol):
    """The network of an instance, as net/bandwidth.py gives it; directions are "in" and "out", rates bits per second."""

    def cap(self, direction: str, guaranteed: int | None, ceiling: int | None) -> None: ...
    def ceiling(self, direction: str) -> int | None: ...
    def traffic(self, direction: str) -> Traffic: ...
    def guard(self, packets_per_second: int | None, /) -> None: ...
    def guarded(self) -> int | None: ...
    def guarded_packets(self) -> int: ...
    def share(self, connections: int | None, /) -> None: ...
    def shared(self) -> int | None: ...
    def refused(self) -> int: ...
    def release(self) -> None: ...


class DiskUsage(Protocol):
    """What a writable layer holds, and the caps in force."""

    @property
    def used_bytes(self) -> int: ...
    @property
    def used_inodes(self) -> int: ...
    @property
    def hard_bytes(self) -> int | None: ...
    @property
    def soft_bytes(self) -> int | None: ...
    @property
    def hard_inodes(self) -> int | None: ...
    @property
    def soft_inodes(self) -> int | None: ...


class Storage(Protocol):
    """The writable layer of a container, as disk/storage.py gives it, or the pool of a tenant."""

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None: ...
    def usage(self) -> DiskUsage | None: ...


class Instance(NamedTuple):
    """What a controller acts on: one container that runs, or a tenant with all of its containers."""

    cgroup: Cgroup
    find_disks: Callable[[], Disks] = tuple  # those that hold what it uses, as "major:minor"; costs 0.1 ms
    network: Bandwidth | None = None  # None: it has none of its own
    storage: Storage | None = None  # None: it writes into a directory of the host
    is_tenant: bool = False
    is_new: bool = False  # its cgroup was made just now: each file holds what the kernel begins with


class Controller(Protocol):
    """One resource. `spec` is a container's, or a tenant's, which asks for limits alone."""

    name: str
    unit: str  # of its readings: bytes, usec (per 100 ms), cpus, tasks, bytes/s, operations/s

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        """Return what is wrong with the spec's wishes on this host, one sentence each; nothing is touched.

        A sentence that is Lacking does not keep a spec with `best_effort` from starting: `apply` then raises
        Unsupported, after it has set all that the host can hold.
        """

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        """Say what is in use now beyond what the spec asks and cannot be taken back gently; empty if nothing is."""

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        """Set what the spec asks, read it back and compare; may be repeated with another spec.

        Raises OSError if the kernel refuses, Unsupported if it took something else, with the `difference`. Returns warnings
        for people: what holds less than they may think. In a cgroup that is_untouched nothing is changed: it then finds out
        whether what was set once is still there.
        """

    def read(self, instance: Instance) -> Reading | None:
        """Look at the resource now; None where this host or this instance has none."""

    def account(self, instance: Instance) -> dict[str, int]:
        """Return cumulative numbers, named with their unit; they restart at 0 with the cgroup."""

    def release(self, instance: Instance) -> None:
        """Give back what `apply` holds outside of the cgroup; called when a run has ended, and may be repeated."""


def read_host(layout: Layout, *, for_tenant: bool = False) -> Host:
    """Return the facts of this machine."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    try:
        nodes = parse_cpu_list(read_file("/sys/devices/system/node/online"))
    except FileNotFoundError:  # a kernel without NUMA has one
        nodes = frozenset({0})
    return Host(
        layout,
        parse_cpu_list(read_file("/sys/devices/system/cpu/online")),
        page_bytes,
        for_tenant,
        nodes,
        total_memory_bytes(),
        huge_page_bytes(),
        why_no_policy(layout),
    )


@functools.cache
def huge_page_bytes() -> frozenset[int]:
    """Return the sizes of huge pages that this kernel has."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")  # hugepages-2048kB
    except FileNotFoundError:
        return frozenset()
    return frozenset(int(name.removeprefix("hugepages-").removesuffix("kB")) << 10 for name in names)


def parse_cpu_list(text: str) -> frozenset[int]:
    """Return the numbers of a kernel list, "0-2,5"; ValueError if it is none. Source: cpuset(7), List format."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        if part:
            first, dash, last = part.partition("-")
            bounds = (first, last) if dash else (first, first)
            if not all(bound.isascii() and bound.isdigit() and len(bound) <= 5 for bound in bounds):
                raise ValueError(f"not a list of CPUs: {text.strip()!r}")
            if int(bounds[0]) > int(bounds[1]):
                raise ValueError(f"not a list of CPUs: {text.strip()!r}")
            numbers.update(range(int(bounds[0]), int(bounds[1]) + 1))
    return frozenset(numbers)


def parse_limit(text: str) -> int | None:
    """Return the number of a limit file; None for "max" and -1."""
    return None if text in ("max", "-1") else int(text)


def read_pressure(cgroup: Cgroup, controller: str) -> float | None:
    """Return the share of the last 10 s in which some task waited, percent; None where the kernel does not say.

    Pressure stall information, Documentation/accounting/psi.rst: "some avg10=0.12 avg60=... total=...".
    """
    if cgroup.version != 2:
        return None
    try:
        some = cgroup.read(controller, f"{controller}.pressure").splitlines()[0]
    except OSError:  # built without, or switched off (psi=0)
        return None
    return float(some.split()[1].removeprefix("avg10="))


def hold(instance: Instance, controller: str, name: str, value: int | None, default: str) -> None:
    """Make a file hold `value`, or its `default` if none is asked, as a `set` may take back what an earlier one asked.

    Nothing is written that is there already. A kernel without the file is Unsupported only if something is asked.
    """
    if value is None and instance.is_new:
        return
    cgroup = instance.cgroup
    wanted = default if value is None else str(value)
    try:
        held = cgroup.read(controller, name)
    except FileNotFoundError:
        if value is None:
            return
        raise Unsupported(
            f"cannot set {name}: this kernel has no such file",
            hint=f"leave that {controller} setting out",
            feature=controller,
        ) from None
    if held != wanted:
        set_and_compare(cgroup, controller, name, wanted)


def set_and_compare(
    cgroup: Cgroup, controller: str, name: str, value: str, *, same: Callable[[str], bool] | None = None
) -> None:
    """Write `value`, read the file again, and raise Unsupported unless it holds the value (or `same` accepts it)."""
    cgroup.write(controller, name, value)
    found = cgroup.read(controller, name)
    if not (same(found) if same else found == value):
        raise Unsupported(
            f"cannot set {name} to {value!r}: the kernel holds {found!r}",
            hint=f"ask for a value that this kernel can hold, or leave the {controller} limit out",
            feature=controller,
            difference=f"{name} is {found!r}, not {value!r}",
        )
