"""The default filters, on the kernel: each probe runs in a child that has loaded the filter and makes one raw call."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from pycontainer.linux.libc import MACHINE
from pycontainer.security import seccomp_compile
from pycontainer.security.seccomp import ALLOW, Policy, Rule, default_policy, refuse
from pycontainer.security.seccomp_compile import number_of, program
from pycontainer.security.syscalls import ABSENT, COMMON, SYSTEM

pytestmark = pytest.mark.requires("seccomp")

APP = default_policy(is_system=False, has_packet_sockets=False)
SYSTEM_POLICY = default_policy(is_system=True, has_packet_sockets=False)
_PR_SET_NO_NEW_PRIVS, _SET_MODE_FILTER = 38, 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def answer(policy: Policy, number: int, *arguments: int) -> int:
    """Return the error number of one call under the filter, 0 for success, or -signal."""
    code = program(policy)
    buffer = ctypes.create_string_buffer(code, len(code))
    loaded = _Program(len(code) // 8, ctypes.addressof(buffer))
    words = [ctypes.c_long(value) for value in arguments]
    pid = os.fork()
    if pid == 0:
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if _LIBC.syscall(number_of("seccomp"), _SET_MODE_FILTER, 0, ctypes.byref(loaded)):
            os._exit(255)
        ctypes.set_errno(0)
        result = _LIBC.syscall(ctypes.c_long(number), *words)
        os._exit(ctypes.get_errno() if result == -1 else 0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status != 255, "the kernel refused the filter"
    return status


BAD = -1  # a descriptor or pointer that makes an allowed call fail with EBADF or EFAULT, never do anything


@pytest.mark.parametrize(
    "name",
    [
        "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup", "kexec_load",
        "init_module", "finit_module", "delete_module", "open_by_handle_at", "quotactl", "swapon", "settimeofday",
        "clock_settime", "acct", "syslog", "fanotify_init", "move_pages", "lookup_dcookie", "nfsservctl", "vserver",
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", [APP, SYSTEM_POLICY], ids=["app", "system"])
def test_never_allowed(policy: Policy, name: str) -> None:
    """SEC-01"""
    assert answer(policy, number_of(name), BAD, BAD, BAD, BAD, BAD) == errno.EPERM


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_as_if_the_kernel_had_it_not(name: str) -> None:
    """SEC-01"""
    assert answer(APP, number_of(name), BAD, BAD) == errno.ENOSYS


@pytest.mark.parametrize("number", [470, 500, 10_000])
def test_newer_calls_do_not_exist(number: int) -> None:
    """SEC-01"""
    assert answer(APP, number, BAD) == errno.ENOSYS


@pytest.mark.parametrize("name", sorted(SYSTEM))
def test_what_a_system_may_do_an_app_may_not(name: str) -> None:
    if name in ("reboot", "vhangup"):
        assert answer(APP, number_of(name), 0) == errno.EPERM
        return
    assert answer(APP, number_of(name), BAD, BAD, BAD, BAD, BAD) == errno.EPERM
    assert answer(SYSTEM_POLICY, number_of(name), BAD, BAD, BAD, BAD, BAD) in (errno.EFAULT, errno.EINVAL, errno.EBADF)


NEWUSER, NEWNS, NEWNET, NEWTIME, FS = 0x10000000, 0x00020000, 0x40000000, 0x80, 0x200


@pytest.mark.parametrize(
    ("policy", "flags", "expected"),
    [
        (APP, FS, 0),
        (APP, NEWUSER, errno.EPERM),
        (APP, NEWNS, errno.EPERM),
        (APP, NEWTIME, errno.EPERM),
        (APP, NEWUSER | FS, errno.EPERM),
        (SYSTEM_POLICY, NEWUSER, errno.EPERM),
        (SYSTEM_POLICY, NEWUSER | NEWNS | NEWNET, errno.EPERM),
        (SYSTEM_POLICY, NEWNS | FS, 0),
    ],
)
def test_namespaces(policy: Policy, flags: int, expected: int) -> None:
    """SEC-01: no nested user namespace in either profile, none of any kind in an app."""
    assert answer(policy, number_of("unshare"), flags) == expected


@pytest.mark.parametrize("family", range(46))
def test_socket_families(family: int) -> None:
    """SEC-01: the class of CVE-2026-31431 (AF_ALG) among them."""
    allowed = {1, 2, 10}  # UNIX, INET, INET6
    code = answer(APP, number_of("socket"), family, 2, 0)
    assert code == (0 if family in allowed or family == 16 else errno.EAFNOSUPPORT)


@pytest.mark.parametrize(
    ("policy", "protocol", "expected"),
    [
        (APP, 0, 0),
        (APP, 12, errno.EPERM),
        (SYSTEM_POLICY, 12, 0),
        (SYSTEM_POLICY, 9, errno.EAFNOSUPPORT),
        (SYSTEM_POLICY, 21, errno.EPERM),
    ],
)
def test_netlink_protocols(policy: Policy, protocol: int, expected: int) -> None:
    assert answer(policy, number_of("socket"), 16, 3, protocol) == expected


def test_packet_sockets_are_for_those_who_were_granted_them() -> None:
    granted = default_policy(is_system=False, has_packet_sockets=True)
    assert answer(granted, number_of("socket"), 17, 3, 0) == 0
    assert answer(SYSTEM_POLICY, number_of("socket"), 17, 3, 0) == errno.EAFNOSUPPORT


def test_a_family_with_an_odd_upper_half_is_refused() -> None:
    assert answer(APP, number_of("socket"), 1 << 32 | 38, 5, 0) == errno.EAFNOSUPPORT


@pytest.mark.parametrize("command", [0x5412, 0x541C, 1 << 32 | 0x5412, -1 << 32 | 0x541C])
def test_nobody_types_into_a_terminal(command: int) -> None:
    """SEC-06: also with an upper half that the kernel ignores (CVE-2019-10063)."""
    assert answer(SYSTEM_POLICY, number_of("ioctl"), BAD, command, 0) == errno.EPERM
    assert answer(SYSTEM_POLICY, number_of("ioctl"), BAD, 0x5413, 0) == errno.EBADF


@pytest.mark.parametrize("policy", [APP, SYSTEM_POLICY], ids=["app", "system"])
@pytest.mark.parametrize("command", [0x5000940E, 0x50009418, 0x50009401, 0x50009417, 1 << 32 | 0x5000940E])
def test_nobody_makes_subvolumes_of_btrfs(policy: Policy, command: int) -> None:
    """No quota group of ours would count what is written there."""
    assert answer(policy, number_of("ioctl"), BAD, command, 0) == errno.EPERM
    assert answer(policy, number_of("ioctl"), BAD, 0x5000940F, 0) == errno.EBADF  # to remove one is harmless


@pytest.mark.parametrize(("persona", "expected"), [(0xFFFFFFFF, 0), (0x8, 0), (0x0040000, errno.EPERM)])
def test_personality(persona: int, expected: int) -> None:
    assert answer(APP, number_of("personality"), persona) == expected


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is an ABI of x86-64")
def test_calls_of_another_abi_end_the_process() -> None:
    assert answer(APP, 0x40000000 | number_of("getpid")) == -31  # SIGSYS


@pytest.mark.skipif(MACHINE != "x86_64", reason="i386 is an ABI of x86-64")
def test_calls_of_32_bits_end_the_process() -> None:
    """int 0x80 with the number of getpid (20) of i386."""
    import mmap

    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(area)))
    code = program(APP)
    buffer = ctypes.create_string_buffer(code, len(code))
    loaded = _Program(len(code) // 8, ctypes.addressof(buffer))
    pid = os.fork()
    if pid == 0:
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _LIBC.syscall(number_of("seccomp"), _SET_MODE_FILTER, 0, ctypes.byref(loaded))
        call()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -31


def test_every_name_has_a_number() -> None:
    assert [name for name in sorted(COMMON | SYSTEM | ABSENT) if number_of(name) == -1] == []


def test_equal_policies_are_compiled_once_and_kept(tmp_path: Path) -> None:
    policy = Policy(refuse(errno.EPERM), (Rule(("exit",), ALLOW),), newest_number=60)
    made = program(policy, str(tmp_path))
    (name,) = os.listdir(str(tmp_path))
    assert os.stat(f"{tmp_path}/{name}").st_mode & 0o777 == 0o600
    seccomp_compile._kept.clear()
    with open(f"{tmp_path}/{name}", "rb") as file:
        assert file.read() == made == program(policy, str(tmp_path))


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(70):
        (tmp_path / f"{number}.bpf").write_bytes(bytes(8))
        os.utime(tmp_path / f"{number}.bpf", (number, number))
    seccomp_compile._kept.clear()
    program(Policy(refuse(errno.EPERM), (Rule(("exit",), ALLOW),), newest_number=61), str(tmp_path))
    kept = {path.name for path in tmp_path.iterdir()}
    assert len(kept) == 64
    assert {"0.bpf", "6.bpf"} & kept == set() and "7.bpf" in kept
