"""Seccomp profiles as Docker, Podman and the OCI runtime specification write them, read strictly into a Policy.

Both forms are taken: `syscalls` with `names` (or the old `name`), conditions `includes` and `excludes` (`caps`, `arches`,
`minKernel`), `archMap` or `architectures`, `defaultErrnoRet`, `flags`. Source: OCI runtime-spec config-linux.md, Seccomp.
"""

from __future__ import annotations

import errno

from pycontainer import jsontext
from pycontainer.errors import InvalidInput
from pycontainer.linux.libc import MACHINE
from pycontainer.security import seccomp
from pycontainer.security.seccomp import Comparison, Policy, Rule
from pycontainer.security.seccomp_compile import number_of
from pycontainer.units import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_BYTES = 1 << 20
_MAX_RULES, _MAX_NAMES, _MAX_NAME = 4096, 2048, 64
_ACTIONS = {
    "SCMP_ACT_ALLOW": seccomp.ALLOW,
    "SCMP_ACT_LOG": seccomp.LOG,
    "SCMP_ACT_TRAP": seccomp.TRAP,
    "SCMP_ACT_KILL": seccomp.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": seccomp.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": seccomp.KILL_PROCESS,
    "SCMP_ACT_ERRNO": seccomp.ERRNO,
    "SCMP_ACT_TRACE": seccomp.TRACE,
    "SCMP_ACT_NOTIFY": seccomp.NOTIFY,
}
_WITH_NUMBER = (seccomp.ERRNO, seccomp.TRACE)
_OPERATORS = {
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_LE": seccomp.LE,
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_GE": seccomp.GE,
    "SCMP_CMP_GT": seccomp.GT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # as `includes` names them
_SCMP_ARCHITECTURES = frozenset(  # as the runtime specification has them
    ("X86", "X86_64", "X32", "ARM", "AARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC",
     "PPC64", "PPC64LE", "S390", "S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K", "SH", "SHEB", "NATIVE"),
)  # fmt: skip
TOP_KEYS = frozenset(("defaultAction", "defaultErrnoRet", "archMap", "architectures", "flags", "syscalls", "comment"))
_RULE = frozenset(("names", "name", "action", "errnoRet", "args", "includes", "excludes", "comment"))
_ARGUMENT = frozenset(("index", "value", "valueTwo", "op"))
_CONDITION = frozenset(("caps", "arches", "minKernel"))


def parse(text: str, *, capabilities: frozenset[str], kernel: tuple[int, int]) -> Policy:
    """Return the policy of a profile for a container with `capabilities`; InvalidInput says where it is wrong."""
    try:
        data = jsontext.loads(text, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise _wrong("", str(error)) from None
    return policy_of(data, capabilities=capabilities, kernel=kernel)


def policy_of(
    data: object, *, capabilities: frozenset[str], kernel: tuple[int, int], has_listener: bool = False
) -> Policy:
    """Return the policy of a profile that was read already. `has_listener`: SCMP_ACT_NOTIFY has somebody who answers."""
    top = _mapping(data, "", TOP_KEYS)
    default = _action(top.get("defaultAction"), top.get("defaultErrnoRet"), "defaultAction", errno.EPERM)
    if default == seccomp.NOTIFY:
        _check_notify((), "defaultAction", has_listener=has_listener)
        raise _wrong("defaultAction", "SCMP_ACT_NOTIFY is for single calls: nobody could answer for all of them")
    rules = []
    newest = 0
    for index, entry in enumerate(_list(top.get("syscalls", []), "syscalls", _MAX_RULES)):
        where = f"syscalls[{index}]"
        rule = _mapping(entry, where, _RULE)
        names = _names(rule, where)
        newest = max([newest, *(number_of(name) for name in names)])
        if _applies(rule, where, capabilities, kernel):
            action = _action(rule.get("action"), rule.get("errnoRet"), f"{where}.action", errno.EPERM)
            if action == seccomp.NOTIFY:
                _check_notify(names, f"{where}.action", has_listener=has_listener)
            rules.append(Rule(names, action, tuple(_comparisons(rule, where))))
    refuses = default not in (seccomp.ALLOW, seccomp.LOG)
    return Policy(
        default,
        tuple(rules),
        foreign=tuple(_architectures(top)),
        newest_number=newest if refuses else None,  # what the author cannot have known of does not exist
        flags=_flags(top),
    )


def _check_notify(names: tuple[str, ...], where: str, *, has_listener: bool) -> None:
    if not has_listener:
        raise _wrong(where, "SCMP_ACT_NOTIFY needs a listener, which a container here has none of")
    if "write" in names:  # by which the listener's descriptor, and what fails on the way, is told
        raise _wrong(where, "SCMP_ACT_NOTIFY cannot be for 'write'")


def _names(rule: dict[str, Any], where: str) -> tuple[str, ...]:
    names = [rule["name"]] if "name" in rule else _list(rule.get("names"), f"{where}.names", _MAX_NAMES)
    for name in names:
        if not isinstance(name, str) or len(name) > _MAX_NAME or not name.isascii() or not name.isidentifier():
            raise _wrong(f"{where}.names", f"{shown(name)} is not the name of a system call")
    if not names:
        raise _wrong(f"{where}.names", "there is none")
    return tuple(names)


def _comparisons(rule: dict[str, Any], where: str) -> Iterator[Comparison]:
    for number, entry in enumerate(_list(_or(rule.get("args"), []), f"{where}.args", 6)):
        at = f"{where}.args[{number}]"
        argument = _mapping(entry, at, _ARGUMENT)
        op = _choice(argument.get("op"), _OPERATORS, f"{at}.op")
        index = _number(argument.get("index"), f"{at}.index", 5)
        value = _number(argument.get("value"), f"{at}.value", (1 << 64) - 1)
        second = _number(argument.get("valueTwo", 0), f"{at}.valueTwo", (1 << 64) - 1)
        yield Comparison(index, op, value, second)


def _applies(rule: dict[str, Any], where: str, capabilities: frozenset[str], kernel: tuple[int, int]) -> bool:
    """Say whether the conditions of a rule hold for this container on this host."""
    for key, wanted in (("includes", True), ("excludes", False)):
        condition = _mapping(_or(rule.get(key), {}), f"{where}.{key}", _CONDITION)
        caps = _texts(condition, "caps", f"{where}.{key}.caps")
        arches = _texts(condition, "arches", f"{where}.{key}.arches")
        facts = [capabilities >= set(caps)] if caps and wanted else [cap in capabilities for cap in caps]
        facts += [_ARCHITECTURES[MACHINE] in arches] if arches else []
        if condition.get("minKernel") not in (None, ""):
            facts.append(kernel >= _kernel(condition["minKernel"], f"{where}.{key}.minKernel"))
        if (wanted and not all(facts)) or (not wanted and any(facts)):
            return False
    return True


def _architectures(top: dict[str, Any]) -> Iterator[str]:
    """Yield the architectures as libseccomp names them; of a map, those beside the one of this machine."""
    names = list(_list(_or(top.get("architectures"), []), "architectures", 32))
    for index, entry in enumerate(_list(_or(top.get("archMap"), []), "archMap", 32)):
        where = f"archMap[{index}]"
        pair = _mapping(entry, where, frozenset(("architecture", "subArchitectures")))
        if pair.get("architecture") == f"SCMP_ARCH_{MACHINE.upper()}":
            names += _list(_or(pair.get("subArchitectures"), []), f"{where}.subArchitectures", 8)
    for index, name in enumerate(names):
        if not isinstance(name, str) or name.removeprefix("SCMP_ARCH_") not in _SCMP_ARCHITECTURES:
            raise _wrong(f"architectures[{index}]", f"{shown(name)} is not an architecture, such as SCMP_ARCH_X86_64")
        yield name.removeprefix("SCMP_ARCH_").lower()


def _flags(top: dict[str, Any]) -> int:
    flags = 0
    for name in _list(_or(top.get("flags"), []), "flags", 8):
        flags |= _choice(name, _FLAGS, "flags")
    return flags


def _action(name: Any, number: Any, where: str, default_number: int) -> int:
    action = _choice(name, _ACTIONS, where)
    if action not in _WITH_NUMBER:
        return action
    return action | (default_number if number is None else _number(number, where, 4095))


def _choice(name: Any, choices: dict[str, int], where: str) -> int:
    if not isinstance(name, str) or name not in choices:
        raise _wrong(where, f"{shown(name)} is not one of {', '.join(choices)}")
    return choices[name]


def _kernel(text: Any, where: str) -> tuple[int, int]:
    major, _, minor = text.partition(".") if isinstance(text, str) else ("", "", "")
    if not all(part.isascii() and part.isdecimal() and len(part) <= 5 for part in (major, minor)):
        raise _wrong(where, f"{shown(text)} is not a version, such as 4.8")
    return int(major), int(minor)


def _number(value: Any, where: str, maximum: int) -> int:
    if type(value) is not int or not 0 <= value <= maximum:
        raise _wrong(where, f"{shown(value)} is not a number from 0 to {maximum}")
    return value


def _or(value: Any, default: Any) -> Any:
    """Return the default for null, which Go's encoder writes for what is empty; not for 0, false or another empty value."""
    return default if value is None else value


def _texts(condition: dict[str, Any], key: str, where: str) -> list[str]:
    texts = _list(_or(condition.get(key), []), where, 64)
    for text in texts:
        if not isinstance(text, str):
            raise _wrong(where, f"{shown(text)} is not text")
    return texts


def _list(value: Any, where: str, maximum: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > maximum:
        raise _wrong(where, f"not a list of at most {maximum} entries")
    return value


def _mapping(value: Any, where: str, keys: frozenset[str]) -> dict[str, Any]:
    """Return `value` if it is an object with these keys alone: a misspelt one would silently change what is allowed."""
    if not isinstance(value, dict):
        raise _wrong(where, "not an object")
    if unknown := [key for key in value if key not in keys]:
        raise _wrong(where, f"unknown key {shown(unknown[0])}")
    return value


def _wrong(where: str, why: str) -> InvalidInput:
    return InvalidInput(f"seccomp profile: {where + ': ' if where else ''}{why}", field="security_opt")
