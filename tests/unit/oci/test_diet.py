"""What a call of the OCI command line may load: a cold `run` has 19 ms, of which the bare interpreter takes 8 (OCI-09).

Sets of modules are compared, not times. `_json` and its kin are the halves in C of what is forbidden here.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer

ROOT = Path(pycontainer.__file__).parent

# All that the modules shared with the supervisor and the monitor load of the standard library, no more and no less.
SHARED_LIBRARY = {
    "__future__", "_collections_abc", "_ctypes", "_json", "_operator", "_stat", "_struct", "errno", "fcntl",
    "genericpath", "os", "os.path", "posixpath", "stat", "struct",
}  # fmt: skip
# What modules of `oci` may load beside that; each is in C, and most are part of the interpreter.
OCI_LIBRARY = SHARED_LIBRARY | {"_socket", "select", "_blake2", "resource", "termios", "grp", "pwd"}

SHARED = [
    *("errors", "jsontext", "paths", "record", "units"),
    *(
        f"linux.{name}"
        for name in (
            "bpf", "capabilities", "descriptors", "ffi", "files", "landlock", "libc", "memory", "mounts", "named",
            "namespaces", "process", "sockets", "tty",
        )
    ),
    *(
        f"init.{name}"
        for name in ("birth", "child", "interpreter", "machine", "procfs", "sealed", "stage", "steps", "table")
    ),
    *(
        f"cgroup.{name}"
        for name in (
            "base", "delegation", "detect", "devicefilter", "devices", "hierarchy", "reserve", "scope", "v1", "v2",
        )
    ),
    *(f"security.{name}" for name in ("seccomp_bundle", "seccomp_cache")),
]  # fmt: skip
# Modules of `oci` that no call on the fast path loads, and why they may load more.
RARE = {
    "launcher",  # runs once, at the installation
}


def loaded_by(*modules: str) -> set[str]:
    """Return the modules that a bare interpreter loads with these of the package."""
    program = f"import sys; before = set(sys.modules); sys.path.insert(0, {str(ROOT.parent)!r})\n"
    program += "".join(f"import pycontainer.{name}\n" for name in modules)
    program += "print('\\n'.join(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def library(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] != "pycontainer"}


def oci_modules() -> list[str]:
    paths = sorted((ROOT / "oci").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name for name in names if not name.endswith("__init__") and name.split(".")[-1] not in RARE]


def test_what_is_shared_loads_exactly_this() -> None:
    loaded = loaded_by(*SHARED)
    assert library(loaded) == SHARED_LIBRARY
    ours = {name.removeprefix("pycontainer.") for name in loaded - library(loaded)}
    assert ours - set(SHARED) == {"pycontainer", "linux", "init", "cgroup", "security"}


@pytest.mark.parametrize("name", oci_modules())
def test_a_module_of_the_front_door(name: str) -> None:
    loaded = loaded_by(name)
    assert library(loaded) - OCI_LIBRARY == set()
    packages = {each.split(".")[1] for each in loaded if each.startswith("pycontainer.")}
    assert packages <= {"oci", "linux", "init", "cgroup", "security", "errors", "jsontext", "paths", "record", "units"}


def test_the_guard_sees_what_is_heavy() -> None:
    assert {"ctypes", "re", "enum", "contextlib"} <= library(
        loaded_by("linux.blockdevices", "linux.zstd", "security.lsm")
    )
