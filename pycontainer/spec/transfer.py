"""The transfer that a tenant is sold by the month, and what follows when it is used up: plain data, and the text of it.

transfer: 1T                      both ways together; unlimited takes it away
transfer_action: warn             tell of it
                 slow:1mbit       cap the tenant's network each way until the month is over
                 stop             stop its containers, and start none until the month is over
                 hook:/PATH       run a program of the host
"""

import os
from typing import NamedTuple

from pycontainer.errors import InvalidInput
from pycontainer.units import format_bit_rate, parse_bit_rate, shown

_KINDS = ("warn", "slow", "stop", "hook")


class Action(NamedTuple):
    kind: str = "warn"
    bits: int = 0  # per second, of slow
    program: str = ""  # of hook

    def __str__(self) -> str:
        argument = format_bit_rate(self.bits) if self.kind == "slow" else self.program
        return f"{self.kind}:{argument}" if argument else self.kind


class Allowance(NamedTuple):
    """`size_bytes` a month; None is no limit."""

    size_bytes: int | None = None
    action: Action = Action()


class Measure(NamedTuple):
    """What was done against a tenant that used up its transfer in `month`; `stopped` are containers to be started again."""

    month: str
    action: Action
    stopped: tuple[str, ...] = ()


def parse_action(value: object) -> Action:
    """Return what follows when a transfer is used up."""
    hint = "write warn, slow:RATE (slow:1mbit), stop or hook:PATH"
    kind, colon, argument = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind not in _KINDS or bool(colon) != (kind in ("slow", "hook")):
        raise InvalidInput(f"{shown(value)} is no action", hint=hint)
    if kind == "slow":
        return Action(kind, bits=parse_bit_rate(argument))
    if kind == "hook" and (not os.path.isabs(argument) or os.path.normpath(argument) != argument or "\0" in argument):
        raise InvalidInput(f"{shown(argument)} is not the absolute path of a program", hint=hint)
    return Action(kind, program=argument)
