"""Which boot of the host this is. random(4)"""

import functools

from pycontainer.linux.process import start_time_ticks


@functools.cache
def name_of_boot() -> str:
    """Name the present boot of the host or, in a container with an init of its own, of that: its first process began then."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()}/{start_time_ticks(1)}"
