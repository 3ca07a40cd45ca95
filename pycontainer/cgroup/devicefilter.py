"""Which devices may be used: rules, as the lines of cgroup v1, and as the program that v2 wants instead. Pure.

A line is `c 10:200 rw`: kind (c character, b block), major:minor (* for all), and the access that is allowed: r to
read, w to write, m to make a node. What no line allows is refused with EPERM.

The program is called with struct bpf_cgroup_dev_ctx in register 1 and answers 1 or 0. Source: include/uapi/linux/bpf.h.
"""

from __future__ import annotations

from pycontainer.linux.bpf import INSTRUCTION_BYTES, instruction
from pycontainer.linux.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ACCESS = "rwm"  # in the order in which the kernel writes it
_ACCESS_BIT = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
_ALL_ACCESS = 7
_KIND_NUMBER = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

_LOAD_WORD, _COPY, _AND_32, _SHIFT_RIGHT_32 = 0x61, 0xBF, 0x54, 0x74  # BPF_LDX|MEM|W, ALU64|MOV|X, ALU|AND|K, ALU|RSH|K
_JUMP_IF_NOT, _JUMP_IF, _SET, _RETURN = 0x55, 0x15, 0xB7, 0x95  # JMP|JNE|K, JMP|JEQ|K, ALU64|MOV|K, JMP|EXIT
_KIND, _WANTED, _MAJOR, _MINOR = 2, 3, 4, 5  # registers; 0 is the answer, 1 the context and then scratch
_HEAD = (
    instruction(_LOAD_WORD, _KIND, 1, 0, 0)  # access_type: the access wanted << 16 | the kind
    + instruction(_LOAD_WORD, _MAJOR, 1, 4, 0)
    + instruction(_LOAD_WORD, _MINOR, 1, 8, 0)
    + instruction(_COPY, _WANTED, _KIND, 0, 0)
    + instruction(_AND_32, _KIND, 0, 0, 0xFFFF)
    + instruction(_SHIFT_RIGHT_32, _WANTED, 0, 0, 16)
)
_ALLOW = instruction(_SET, 0, 0, 0, 1) + instruction(_RETURN, 0, 0, 0, 0)
_REFUSE = instruction(_SET, 0, 0, 0, 0) + instruction(_RETURN, 0, 0, 0, 0)


class Rule(NamedTuple):
    """One device, or all of a major number, or all of a kind, and what may be done with it."""

    kind: str  # c or b
    major: int | None  # None: all
    minor: int | None  # None: all
    access: str  # of r, w, m, in this order

    def __str__(self) -> str:
        kind, major, minor, access = self
        return f"{kind} {'*' if major is None else major}:{'*' if minor is None else minor} {access}"


_latest: tuple[str, tuple[Rule, ...] | None] = ("", ())  # what was parsed, and what came of it


def merged(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules with what is said of one device put together, in the order in which each was first named."""
    access: dict[tuple[str, int | None, int | None], set[str]] = {}
    for rule in rules:
        access.setdefault(rule[:3], set()).update(rule.access)
    return tuple(Rule(*device, "".join(a for a in ACCESS if a in found)) for device, found in access.items())


def parse(text: str) -> tuple[Rule, ...] | None:
    """Return the rules of a v1 devices.list; None for `a *:* rwm`, by which everything is allowed.

    All containers of a profile have the same text: the last one is remembered.
    """
    global _latest
    if _latest[0] != text:
        rules = [_rule(line) for line in text.splitlines()]
        _latest = text, None if None in rules else tuple(filter(None, rules))
    return _latest[1]


def _rule(line: str) -> Rule | None:
    kind, _, rest = line.partition(" ")
    device, blank, access = rest.partition(" ")
    major, _, minor = device.partition(":")
    is_whole = kind in _KIND_NUMBER and blank and all(number == "*" or number.isdecimal() for number in (major, minor))
    if not is_whole or access != "".join(letter for letter in ACCESS if letter in access):
        return None
    return Rule(kind, None if major == "*" else int(major), None if minor == "*" else int(minor), access)


def program(rules: Iterable[Rule]) -> bytes:
    """Return the instructions that allow what the rules do, and refuse the rest.

    Rule after rule is tried; each test that fails jumps to the next rule.
    """
    return _HEAD + b"".join(map(_block, rules)) + _REFUSE


def program_in_order(steps: Iterable[tuple[bool, Rule]]) -> bytes:
    """Return the instructions for steps that each allow or refuse, of which the last one that names a device decides.

    A rule of kind `a` is for both. What no step names is refused. The last is asked first: what it allows is taken from
    what is wanted, and when nothing of that is left the answer is yes; if it refuses anything of that, it is no.
    """
    code = _HEAD
    for allow, rule in reversed(list(steps)):
        code += _step(allow, rule)
        if rule[:3] == ("a", None, None) and rule.access == ACCESS:
            return code  # nothing comes to what was said before, and the kernel takes no instructions that nothing comes to
    return code + _REFUSE


def rules_of(code: bytes) -> tuple[Rule, ...] | None:
    """Return the rules from which `program` made these instructions; None if it did not make them."""
    found = []
    at = len(_HEAD)
    while len(code) - at > len(_REFUSE):
        length = (code[at + 2] + 1) * INSTRUCTION_BYTES  # the first test jumps to the next rule
        block = code[at : at + length]
        immediates = [int.from_bytes(block[i + 4 : i + 8], "little") for i in range(0, len(block), INSTRUCTION_BYTES)]
        rule = _rule_of(immediates)
        if rule is None or _block(rule) != block:
            return None
        found.append(rule)
        at += length
    return tuple(found) if program(found) == code else None


def _step(allow: bool, rule: Rule) -> bytes:
    mask = sum(_ACCESS_BIT[letter] for letter in rule.access)
    answer = _ALLOW if allow else _REFUSE
    if mask != _ALL_ACCESS and allow:
        answer = (
            instruction(_AND_32, _WANTED, 0, 0, _ALL_ACCESS & ~mask)
            + instruction(_JUMP_IF_NOT, _WANTED, 0, 2, 0)
            + answer
        )
    elif mask != _ALL_ACCESS:
        answer = (
            instruction(_COPY, 1, _WANTED, 0, 0)
            + instruction(_AND_32, 1, 0, 0, mask)
            + instruction(_JUMP_IF, 1, 0, 2, 0)
            + answer
        )
    return _tested(rule, answer)


def _tested(rule: Rule, rest: bytes) -> bytes:
    """Return instructions that come to `rest` for the devices of the rule, and else jump over it."""
    tests = [(_KIND, _KIND_NUMBER.get(rule.kind)), (_MAJOR, rule.major), (_MINOR, rule.minor)]
    for register, value in reversed(tests):
        if value is not None:
            rest = instruction(_JUMP_IF_NOT, register, 0, len(rest) // INSTRUCTION_BYTES, value) + rest
    return rest


def _block(rule: Rule) -> bytes:
    forbidden = _ALL_ACCESS & ~sum(_ACCESS_BIT[letter] for letter in rule.access)
    masking = b""
    if forbidden:
        masking = instruction(_COPY, 1, _WANTED, 0, 0) + instruction(_AND_32, 1, 0, 0, forbidden)
    return _tested(rule, masking + (instruction(_JUMP_IF_NOT, 1, 0, 2, 0) if forbidden else b"") + _ALLOW)


def _rule_of(immediates: list[int]) -> Rule | None:
    """Return the rule of a block with these immediates, if it is one: kind, major, [minor,] [0, forbidden, 0,] 1, 0."""
    kinds = {number: kind for kind, number in _KIND_NUMBER.items()}
    has_minor, has_mask = len(immediates) in (5, 8), len(immediates) in (7, 8)
    if len(immediates) not in (4, 5, 7, 8) or immediates[0] not in kinds:
        return None
    forbidden = immediates[-4] if has_mask else 0
    access = "".join(letter for letter in ACCESS if not forbidden & _ACCESS_BIT[letter])
    return Rule(kinds[immediates[0]], immediates[1], immediates[2] if has_minor else None, access)
