"""What a filter is found to say is what its rules say."""

import struct

import pytest

from pycontainer.linux.libc import syscall_number
from pycontainer.security import seccomp_bundle, seccomp_verdict

CLONE_NEWUSER, CLONE_PARENT = 0x10000000, 0x8000


def program(*rules: dict[str, object], default: str = "SCMP_ACT_ALLOW") -> bytes:
    section: dict[str, object] = {"defaultAction": default, "syscalls": list(rules)}
    return seccomp_bundle.loadable(section, capabilities=frozenset(), kernel=(6, 1), cache_dir="").program


def permits(made: bytes, name: str, *arguments: int) -> bool:
    return seccomp_verdict.permits(made, syscall_number(name), *arguments)


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_rules_of_names(default: str) -> None:
    action = "SCMP_ACT_ALLOW" if default in ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS") else "SCMP_ACT_ERRNO"
    made = program({"names": ["setsid", "getpid", "clone"], "action": action}, default=default)
    is_listed_permitted = action == "SCMP_ACT_ALLOW"
    assert permits(made, "setsid") is permits(made, "clone", 17) is is_listed_permitted
    assert permits(made, "read") is permits(made, "execve") is not is_listed_permitted


def test_rules_of_arguments() -> None:
    """As Docker's profile has it: no new namespaces."""
    masked = {"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    made = program(
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [masked]},
        {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_GT"}]},
        default="SCMP_ACT_ERRNO",
    )
    assert permits(made, "clone", CLONE_PARENT | 17) and not permits(made, "clone", CLONE_NEWUSER | 17)
    assert permits(made, "ioctl", 0, 1 << 40) and permits(made, "ioctl", 0, 6) and not permits(made, "ioctl", 0, 5)


@pytest.mark.parametrize("code", [0x00, 0x60, 0xFFFF])
def test_what_is_not_understood_is_not_permitted(code: int) -> None:
    assert not seccomp_verdict.permits(struct.pack("<HBBIHBBI", code, 0, 0, 0, 0x06, 0, 0, 0x7FFF0000), 0)
    assert not seccomp_verdict.permits(struct.pack("<HBBI", 0x05, 0, 0, 9), 0)
