"""What a container may do by default, and how options change it: capabilities, hidden and read-only paths.

The capability list is Podman's eleven; with the user namespace each of them holds only inside. Paths are Docker's newest
list and those that tell about the host's memory layout.
"""

from pycontainer.linux.capabilities import NAMES, mask

DEFAULT_CAPABILITIES = frozenset(
    {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def capability_mask(*, add: tuple[str, ...], drop: tuple[str, ...], privileged: bool) -> int:
    """Return the bounding set as a bit mask; `ALL` may stand in `add` and `drop`, single names win over it."""
    everything = frozenset(NAMES)
    names = everything if privileged or "ALL" in add else DEFAULT_CAPABILITIES
    if "ALL" in drop:
        names = frozenset()
    names = (names - (frozenset(drop) - {"ALL"})) | (frozenset(add) - {"ALL"})
    return mask(names)
