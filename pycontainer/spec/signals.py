"""Signals by name or number: `TERM`, `SIGTERM` and 15 are the same; real-time ones are `SIGRTMIN+3`. signal(7)"""

import re

from pycontainer.errors import InvalidInput, did_you_mean
from pycontainer.units import shown

# <asm-generic/signal.h>, which x86, arm, riscv, power and s390 share; the real-time range is the C library's view of it
NUMBERS = {
    "SIGHUP": 1,
    "SIGINT": 2,
    "SIGQUIT": 3,
    "SIGILL": 4,
    "SIGTRAP": 5,
    "SIGABRT": 6,
    "SIGBUS": 7,
    "SIGFPE": 8,
    "SIGKILL": 9,
    "SIGUSR1": 10,
    "SIGSEGV": 11,
    "SIGUSR2": 12,
    "SIGPIPE": 13,
    "SIGALRM": 14,
    "SIGTERM": 15,
    "SIGSTKFLT": 16,
    "SIGCHLD": 17,
    "SIGCONT": 18,
    "SIGSTOP": 19,
    "SIGTSTP": 20,
    "SIGTTIN": 21,
    "SIGTTOU": 22,
    "SIGURG": 23,
    "SIGXCPU": 24,
    "SIGXFSZ": 25,
    "SIGVTALRM": 26,
    "SIGPROF": 27,
    "SIGWINCH": 28,
    "SIGIO": 29,
    "SIGPWR": 30,
    "SIGSYS": 31,
}
RTMIN, RTMAX = 34, 64
_NAMES = {number: name for name, number in NUMBERS.items()}
_ALIASES = {"SIGPOLL": "SIGIO", "SIGIOT": "SIGABRT", "SIGCLD": "SIGCHLD"}
_REALTIME = re.compile(r"SIGRT(?:MIN(?:\+([1-9][0-9]?))?|MAX(?:-([1-9][0-9]?))?)", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]?", re.ASCII)


def parse_signal(value: object) -> str:
    """Return the canonical name of a signal: `SIGTERM`, `SIGRTMIN+3`."""
    number = signal_number(value)
    if number in _NAMES:
        return _NAMES[number]
    return "SIGRTMIN" if number == RTMIN else f"SIGRTMIN+{number - RTMIN}"


def signal_number(value: object) -> int:
    """Return the number of a signal, given by name, with or without SIG, or by number."""
    hint = "write a name such as TERM, or a number from 1 to 64"
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidInput(f"{shown(value)} is not a signal", hint=hint)
    text = str(value) if isinstance(value, str) or 0 < value <= RTMAX else ""
    if _NUMBER.fullmatch(text):
        number = int(text)
        if number in _NAMES or RTMIN <= number <= RTMAX:
            return number
        raise InvalidInput(f"{shown(value)} is not a signal", hint=hint)
    name = text.upper() if text.isascii() else text
    name = name if name.startswith("SIG") else f"SIG{name}"
    name = _ALIASES.get(name, name)
    if name in NUMBERS:
        return NUMBERS[name]
    if match := _REALTIME.fullmatch(name):
        number = RTMAX - int(match[2] or 0) if "MAX" in name else RTMIN + int(match[1] or 0)
        if RTMIN <= number <= RTMAX:
            return number
    raise InvalidInput(f"{shown(value)} is not a signal{did_you_mean(name, NUMBERS, prefix='SIG')}", hint=hint)
