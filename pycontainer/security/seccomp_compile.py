"""A policy as the program that the kernel takes: libseccomp makes it, a short head of ours goes before it.

    head     calls that are newer than the policy: ENOSYS; what ioctl(2) may not be asked by the lower half of the argument,
             for the kernel looks at no more (CVE-2019-10063), and libseccomp cannot say "all but these" of a half
    body     the rules, as a tree: the kernel evaluates it once for each call number when it is loaded

It costs some 15 ms, so it is made once: kept in memory, and in a file that is named by its content. Loading is one raw call
in the child (init/child.py). Source: seccomp(2), seccomp_rule_add(3), <linux/filter.h>.
"""

from __future__ import annotations

import errno
import os
import struct

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.linux import ffi
from pycontainer.linux.libc import MACHINE, syscall_number
from pycontainer.security import seccomp_cache
from pycontainer.security.seccomp import ALLOW, KILL_PROCESS, LOG, Policy, Rule, refuse
from pycontainer.security.seccomp_verdict import AUDIT_ARCH
from pycontainer.security.syscalls import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_NUMBER_AT, _ARCH_AT, _SECOND_ARGUMENT_AT = 0, 4, 24  # in struct seccomp_data; the lower half, little endian
_X32_BIT = 0x40000000
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_MAX_KEPT = 64
_ATTRIBUTE_BAD_ARCH, _ATTRIBUTE_OPTIMIZE, _BY_TREE = 2, 8, 2
_NO_NUMBER = -1  # __NR_SCMP_ERROR; other negative numbers stand for calls of other architectures
_FIELD = "security_opt"
_HINT = "install it: apt-get install libseccomp2"
_context, _u32 = ffi.c_void_p, ffi.c_uint32
_SIGNATURES: dict[str, tuple[tuple[type, ...], type]] = {  # arguments, result
    "seccomp_version": ((), ffi.c_void_p),
    "seccomp_init": ((_u32,), _context),
    "seccomp_release": ((_context,), ffi.c_int),  # nothing
    "seccomp_attr_set": ((_context, ffi.c_int, _u32), ffi.c_int),
    "seccomp_arch_add": ((_context, _u32), ffi.c_int),
    "seccomp_arch_resolve_name": ((ffi.c_char_p,), _u32),
    "seccomp_syscall_resolve_name": ((ffi.c_char_p,), ffi.c_int),
    "seccomp_rule_add_array": ((_context, _u32, ffi.c_int, ffi.c_uint, ffi.c_void_p), ffi.c_int),
    "seccomp_export_bpf": ((_context, ffi.c_int), ffi.c_int),
}

_functions: dict[str, Callable[..., Any]] = {}
_kept: dict[tuple[Policy, str], bytes] = {}


class _Argument(ffi.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = (("index", ffi.c_uint), ("op", ffi.c_int), ("value", ffi.c_uint64), ("second", ffi.c_uint64))


def loadable(policy: Policy | None, cache_dir: str = "") -> tuple[int, bytes] | None:
    """Return what the child loads: (flags of seccomp(2), program); None without a policy."""
    return None if policy is None else (policy.flags, program(policy, cache_dir))


def program(policy: Policy, cache_dir: str = "") -> bytes:
    """Return the compiled filter; `cache_dir` keeps it for other processes.

    Raises InvalidInput for a policy that libseccomp refuses or that is longer than the kernel takes.
    """
    key = policy, cache_dir
    if key not in _kept:
        while len(_kept) >= _MAX_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = _found_or_made(policy, cache_dir) if cache_dir else _compile(policy)
    return _kept[key]


def _found_or_made(policy: Policy, cache_dir: str) -> bytes:
    content = f"{MACHINE} {_library_version()} {policy!r}"
    made = seccomp_cache.find(cache_dir, content)
    if not made or len(made) % _INSTRUCTION.size:
        made = _compile(policy)
        seccomp_cache.keep(cache_dir, content, made)
    return made


def _compile(policy: Policy) -> bytes:
    context = _function("seccomp_init")(policy.default_action)
    if not context:
        raise InvalidInput(f"seccomp: no action {policy.default_action:#x}", field=_FIELD)
    try:
        _call("seccomp_attr_set", context, _ATTRIBUTE_BAD_ARCH, KILL_PROCESS)
        _call("seccomp_attr_set", context, _ATTRIBUTE_OPTIMIZE, _BY_TREE)
        for name in policy.foreign:
            token = _function("seccomp_arch_resolve_name")(name.encode())
            if not token:
                raise InvalidInput(f"seccomp: no architecture {name!r}", field=_FIELD)
            code = _function("seccomp_arch_add")(context, token)
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
        _function("seccomp_release")(context)
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
    number = int(_function("seccomp_syscall_resolve_name")(name.encode()))
    return NUMBERS.get(name, number) if number == _NO_NUMBER and native_only else number


def _head(policy: Policy) -> bytes:
    """Return the instructions before libseccomp's; jumps count from the next instruction."""
    newest, denied = policy.newest_number, policy.denied_ioctls
    if newest is None and not denied:
        return b""
    above = 0xFFFFFFFF if newest is None else newest
    ioctl = syscall_number("ioctl") if denied else 0xFFFFFFFF
    count = len(denied)
    rows = (
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 0, count + 7, AUDIT_ARCH[MACHINE]),  # another: the body knows what to do
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, count + 5, 0, _X32_BIT),
        (_GREATER, count + 2, 0, above),
        (_EQUAL, 0, count + 3, ioctl),
        (_LOAD, 0, 0, _SECOND_ARGUMENT_AT),
        *(
            (_EQUAL, left, 2 if left == 1 else 0, value)
            for left, value in zip(range(count, 0, -1), denied, strict=True)
        ),
        (_RETURN, 0, 0, refuse(errno.ENOSYS)),
        (_RETURN, 0, 0, refuse(errno.EPERM)),
    )
    return b"".join(_INSTRUCTION.pack(*row) for row in rows)


def _call(name: str, *arguments: object, of: str = "") -> None:
    code = _function(name)(*arguments)
    if code < 0:
        text = os.strerror(-code)
        raise InvalidInput(f"seccomp: {f'rule for {of!r}' if of else name}: {text}", field=_FIELD)


def _library_version() -> str:
    major, minor, micro = (ffi.c_uint * 3).from_address(_function("seccomp_version")())
    return f"{major}.{minor}.{micro}"


def _function(name: str) -> Callable[..., Any]:
    """Return a function of libseccomp, which is loaded with the first of them."""
    if name not in _functions:
        try:
            library = ffi.open_library("libseccomp.so.2")
        except OSError as error:
            raise Unsupported("cannot load libseccomp.so.2", hint=_HINT, feature="libseccomp") from error
        _functions[name] = ffi.function(library, name, *_SIGNATURES[name])
    return _functions[name]
