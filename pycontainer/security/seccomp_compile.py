"""A policy as the program that the kernel takes: libseccomp makes it, a short head of ours goes before it.

    head     calls that are newer than the policy: ENOSYS; TIOCSTI and TIOCLINUX by the lower half of the argument, for the
             kernel looks at no more (CVE-2019-10063), and libseccomp cannot say "all but these two" of a half
    body     the rules, as a tree: the kernel evaluates it once for each call number when it is loaded

It costs some 15 ms, so it is made once: kept in memory, and in a file that is named by its content. Loading is one raw call
in the child (init/child.py). Source: seccomp(2), seccomp_rule_add(3), <linux/filter.h>.
"""

import ctypes
import errno
import functools
import hashlib
import os
import struct

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.linux.files import read_bounded, write_atomically
from pycontainer.linux.libc import MACHINE, syscall_number
from pycontainer.security.seccomp import ALLOW, KILL_PROCESS, LOG, Policy, Rule, refuse
from pycontainer.security.syscalls import NUMBERS

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_NUMBER_AT, _ARCH_AT, _SECOND_ARGUMENT_AT = 0, 4, 24  # in struct seccomp_data; the lower half, little endian
_X32_BIT = 0x40000000
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_MAX_KEPT = 64  # files; at most 2 MiB
_ATTRIBUTE_BAD_ARCH, _ATTRIBUTE_OPTIMIZE, _BY_TREE = 2, 8, 2
_NO_NUMBER = -1  # __NR_SCMP_ERROR; other negative numbers stand for calls of other architectures
_FIELD = "security_opt"
_HINT = "install it: apt-get install libseccomp2"


class _Argument(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = (("index", ctypes.c_uint), ("op", ctypes.c_int), ("value", ctypes.c_uint64), ("second", ctypes.c_uint64))


def loadable(policy: Policy | None, cache_dir: str = "") -> tuple[int, bytes] | None:
    """Return what the child loads: (flags of seccomp(2), program); None without a policy."""
    return None if policy is None else (policy.flags, program(policy, cache_dir))


@functools.lru_cache(maxsize=_MAX_KEPT)
def program(policy: Policy, cache_dir: str = "") -> bytes:
    """Return the compiled filter; `cache_dir` keeps it for other processes.

    Raises InvalidInput for a policy that libseccomp refuses or that is longer than the kernel takes.
    """
    if not cache_dir:
        return _compile(policy)
    content = f"{MACHINE} {_library_version()} {policy!r}"
    path = f"{cache_dir}/{hashlib.sha256(content.encode()).hexdigest()}.bpf"
    try:
        found = read_bounded(path, _MAX_INSTRUCTIONS * _INSTRUCTION.size)
        if found and len(found) % _INSTRUCTION.size == 0:
            return found
    except FileNotFoundError:
        pass
    made = _compile(policy)
    os.makedirs(cache_dir, mode=0o700, exist_ok=True)
    write_atomically(path, made, sync=False)
    _keep_newest(cache_dir)
    return made


def _keep_newest(cache_dir: str) -> None:
    """Remove the oldest filters beyond _MAX_KEPT: each own profile makes one, and the directory is in memory."""
    with os.scandir(cache_dir) as entries:
        files = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
    for _, path in files[:-_MAX_KEPT]:
        os.unlink(path)


def _compile(policy: Policy) -> bytes:
    library = _library()
    context = library.seccomp_init(policy.default_action)
    if not context:
        raise InvalidInput(f"seccomp: no action {policy.default_action:#x}", field=_FIELD)
    try:
        _call("seccomp_attr_set", context, _ATTRIBUTE_BAD_ARCH, KILL_PROCESS)
        _call("seccomp_attr_set", context, _ATTRIBUTE_OPTIMIZE, _BY_TREE)
        for name in policy.foreign:
            token = library.seccomp_arch_resolve_name(name.encode())
            if not token:
                raise InvalidInput(f"seccomp: no architecture {name!r}", field=_FIELD)
            code = library.seccomp_arch_add(context, token)
            if code and -code != errno.EEXIST:  # the native one is there already
                raise InvalidInput(f"seccomp: architecture {name!r}: {os.strerror(-code)}", field=_FIELD)
        for rule in policy.rules:
            _add(context, rule, policy.default_action, native_only=not policy.foreign)
        fd = os.memfd_create("seccomp")
        try:
            _call("seccomp_export_bpf", context, fd)
            body = os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)
    finally:
        library.seccomp_release(context)
    made = _head(policy) + body
    if len(made) > _MAX_INSTRUCTIONS * _INSTRUCTION.size:
        raise InvalidInput(f"seccomp: the filter is longer than {_MAX_INSTRUCTIONS} instructions", field=_FIELD)
    return made


def _add(context: int, rule: Rule, default_action: int, *, native_only: bool) -> None:
    if rule.action == default_action:
        return  # libseccomp refuses a rule that changes nothing
    arguments = (_Argument * len(rule.comparisons))(*(_Argument(*comparison) for comparison in rule.comparisons))
    for name in rule.names:
        number = number_of(name, native_only=native_only)
        if number == _NO_NUMBER:
            if rule.action in (ALLOW, LOG):
                continue  # a call that nobody can make
            raise InvalidInput(f"seccomp: system call {name!r} is not known, so it cannot be refused", field=_FIELD)
        _call("seccomp_rule_add_array", context, rule.action, number, len(arguments), arguments, of=name)


def number_of(name: str, *, native_only: bool = True) -> int:
    """Return the number of a system call here, negative for one of another architecture, -1 for an unknown one.

    What libseccomp does not know by name it cannot translate for other architectures.
    """
    number = int(_library().seccomp_syscall_resolve_name(name.encode()))
    return NUMBERS.get(name, number) if number == _NO_NUMBER and native_only else number


def _head(policy: Policy) -> bytes:
    """Return the instructions before libseccomp's; jumps count from the next instruction."""
    newest, denies = policy.newest_number, policy.denies_terminal_input
    if newest is None and not denies:
        return b""
    above = 0xFFFFFFFF if newest is None else newest
    ioctl = syscall_number("ioctl") if denies else 0xFFFFFFFF
    rows = (
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 0, 9, _AUDIT_ARCH[MACHINE]),  # another: the body knows what to do
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 7, 0, _X32_BIT),
        (_GREATER, 4, 0, above),
        (_EQUAL, 0, 5, ioctl),
        (_LOAD, 0, 0, _SECOND_ARGUMENT_AT),
        (_EQUAL, 2, 0, _TIOCSTI),
        (_EQUAL, 1, 2, _TIOCLINUX),
        (_RETURN, 0, 0, refuse(errno.ENOSYS)),
        (_RETURN, 0, 0, refuse(errno.EPERM)),
    )
    return b"".join(_INSTRUCTION.pack(*row) for row in rows)


def _call(name: str, *arguments: object, of: str = "") -> None:
    code = getattr(_library(), name)(*arguments)
    if code < 0:
        text = os.strerror(-code)
        raise InvalidInput(f"seccomp: {f'rule for {of!r}' if of else name}: {text}", field=_FIELD)


def _library_version() -> str:
    class Version(ctypes.Structure):
        _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))

    library = _library()
    library.seccomp_version.restype = ctypes.POINTER(Version)
    version = library.seccomp_version().contents
    return f"{version.major}.{version.minor}.{version.micro}"


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise Unsupported("cannot load libseccomp.so.2", hint=_HINT, feature="libseccomp") from error
    context, u32 = ctypes.c_void_p, ctypes.c_uint32
    library.seccomp_init.argtypes, library.seccomp_init.restype = [u32], context
    library.seccomp_release.argtypes, library.seccomp_release.restype = [context], None
    library.seccomp_attr_set.argtypes = [context, ctypes.c_int, u32]
    library.seccomp_arch_add.argtypes = [context, u32]
    library.seccomp_arch_resolve_name.argtypes, library.seccomp_arch_resolve_name.restype = [ctypes.c_char_p], u32
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [context, u32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Argument)]
    library.seccomp_export_bpf.argtypes = [context, ctypes.c_int]
    return library
