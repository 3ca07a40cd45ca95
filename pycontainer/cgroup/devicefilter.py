"""Which devices may be used: rules, as the lines of cgroup v1, and as the program that v2 wants instead. Pure.

A line is `c 10:200 rw`: kind (c character, b block), major:minor (minor * for all), and the access that is allowed: r to
read, w to write, m to make a node. What no line allows is refused with EPERM.

The program is called with struct bpf_cgroup_dev_ctx in register 1 and answers 1 or 0. Source: include/uapi/linux/bpf.h.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from pycontainer.linux.bpf import INSTRUCTION_BYTES, instruction

ACCESS = "rwm"  # in the order in which the kernel writes it
_ACCESS_BIT = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
_ALL_ACCESS = 7
_KIND_NUMBER = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
_LINE = re.compile(r"([bc]) (\d+):(\d+|\*) (r?w?m?)")

_LOAD_WORD, _COPY, _AND_32, _SHIFT_RIGHT_32 = 0x61, 0xBF, 0x54, 0x74  # BPF_LDX|MEM|W, ALU64|MOV|X, ALU|AND|K, ALU|RSH|K
_JUMP_IF_NOT, _JUMP, _SET, _RETURN = 0x55, 0x05, 0xB7, 0x95  # JMP|JNE|K, JMP|JA, ALU64|MOV|K, JMP|EXIT
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
    """One device, or all of a major number, and what may be done with it."""

    kind: str  # c or b
    major: int
    minor: int | None  # None: all
    access: str  # of r, w, m, in this order

    def __str__(self) -> str:
        return f"{self.kind} {self.major}:{'*' if self.minor is None else self.minor} {self.access}"


def merged(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules with what is said of one device put together, in the order in which each was first named."""
    access: dict[tuple[str, int, int | None], set[str]] = {}
    for rule in rules:
        access.setdefault(rule[:3], set()).update(rule.access)
    return tuple(Rule(*device, "".join(a for a in ACCESS if a in found)) for device, found in access.items())


def parse(text: str) -> tuple[Rule, ...] | None:
    """Return the rules of a v1 devices.list; None for `a *:* rwm`, by which everything is allowed."""
    rules = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        rules.append(Rule(match[1], int(match[2]), None if match[3] == "*" else int(match[3]), match[4]))
    return tuple(rules)


def program(rules: Iterable[Rule]) -> bytes:
    """Return the instructions that allow what the rules do, and refuse the rest.

    Rule after rule is tried; each test that fails jumps to the next rule.
    """
    return _HEAD + b"".join(map(_block, rules)) + _REFUSE


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


def _block(rule: Rule) -> bytes:
    tests = [(_KIND, _KIND_NUMBER[rule.kind]), (_MAJOR, rule.major)]
    if rule.minor is not None:
        tests.append((_MINOR, rule.minor))
    forbidden = _ALL_ACCESS & ~sum(_ACCESS_BIT[letter] for letter in rule.access)
    masking = b""
    if forbidden:
        masking = instruction(_COPY, 1, _WANTED, 0, 0) + instruction(_AND_32, 1, 0, 0, forbidden)
    rest = masking + (instruction(_JUMP_IF_NOT, 1, 0, 2, 0) if forbidden else b"") + _ALLOW
    for register, value in reversed(tests):
        rest = instruction(_JUMP_IF_NOT, register, 0, len(rest) // INSTRUCTION_BYTES, value) + rest
    return rest


def _rule_of(immediates: list[int]) -> Rule | None:
    """Return the rule of a block with these immediates, if it is one: kind, major, [minor,] [0, forbidden, 0,] 1, 0."""
    kinds = {number: kind for kind, number in _KIND_NUMBER.items()}
    has_minor, has_mask = len(immediates) in (5, 8), len(immediates) in (7, 8)
    if len(immediates) not in (4, 5, 7, 8) or immediates[0] not in kinds:
        return None
    forbidden = immediates[-4] if has_mask else 0
    access = "".join(letter for letter in ACCESS if not forbidden & _ACCESS_BIT[letter])
    return Rule(kinds[immediates[0]], immediates[1], immediates[2] if has_minor else None, access)
