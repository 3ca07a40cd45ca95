"""SELinux: the label of a container's processes, and that of the files that are made for it.

    user : role : type : level            system_u:system_r:container_t:s0:c8,c533      processes
                                          system_u:object_r:container_file_t:s0:c8,c533 files (mount option `context`)

The types are those of the package container-selinux, which Podman and Docker use as well. The level keeps containers apart
from one another: two categories that follow from the container's id range, which no two containers of a host share.
Source: kernel Documentation/admin-guide/LSM/SELinux.rst; selinux(8); mount(8), context.
"""

import os

DEFAULTS = {"user": "system_u", "role": "system_r", "type": "container_t", "filetype": "container_file_t"}
_FILE_ROLE = "object_r"
_CATEGORIES = 512  # of 1024: one of the lower half and one of the upper, so they are two, and in order


def is_enabled(sys_dir: str = "/sys") -> bool:
    """Tell whether the kernel has SELinux switched on: its file system is there only then."""
    return os.path.exists(f"{sys_dir}/fs/selinux/enforce")


def is_enforcing(sys_dir: str = "/sys") -> bool:
    """Tell whether it forbids, or merely writes down what it would forbid."""
    with open(f"{sys_dir}/fs/selinux/enforce", encoding="ascii") as file:
        return file.read().strip() == "1"


def labels(parts: dict[str, str], base: int) -> tuple[str, str]:
    """Return the label of processes and that of files; `base` is the first id of the container's range."""
    given = {**DEFAULTS, **parts}
    level = given.get("level") or default_level(base)
    process = f"{given['user']}:{given['role']}:{given['type']}:{level}"
    return process, f"{given['user']}:{_FILE_ROLE}:{given['filetype']}:{level}"


def default_level(base: int) -> str:
    """Return a level that no other container of this host has."""
    number = base >> 16
    return f"s0:c{number // _CATEGORIES},c{_CATEGORIES + number % _CATEGORIES}"
