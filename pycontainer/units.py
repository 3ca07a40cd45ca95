"""Sizes, CPU shares, CPU lists, durations and counts: text or numbers become exact integers, and back.

The grammar is small, ASCII and documented (docs/spec.md); everything else is refused with InvalidInput: blanks,
signs, exponents, underscores, hexadecimal, leading zeros, digits of other scripts, nan. All arithmetic is on
integers. Nothing here means "no limit": that is the absence of a value, or the word `unlimited` where a field has it.
"""

from __future__ import annotations

from pycontainer.errors import InvalidInput
from pycontainer.errors import shown as shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

MAX_INTEGER = 2**63 - 1
CPU_PERIOD_USEC = 100_000
CPU_QUOTA_MIN_USEC = 1_000  # the kernel's least bandwidth, 1 ms: 0.01 CPUs
CPUS_MAX = 8_192  # the most a Linux kernel can be built for (NR_CPUS)
OPS_MAX = 2**32 - 1  # blkio.throttle.*_iops_device holds 32 bits
BIT_RATE_MIN, BIT_RATE_MAX = 8_000, 100 * 10**9  # per second: one packet in 1.5 s; more than a link here carries
DURATION_MAX_SECONDS = 2**31 - 1

RLIMIT_NAMES = (
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)

_NO_LIMIT_HINT = "write 'unlimited' where there may be no limit, or leave it out"
_BYTE_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_NUMBER = r"(0|[1-9][0-9]{0,19})"
_SIZE = r"(?i)" + _NUMBER + r"(?:\.([0-9]{1,9}))?(?:(b)|([kmgtp])(?:i|ib)?)?"
_DECIMAL_RATE = r"(?i)" + _NUMBER + r"(?:\.([0-9]{1,9}))?([kmg])b/s"
_BIT_RATE = r"(?i)" + _NUMBER + r"(?:\.([0-9]{1,9}))?([kmg]?)bit(?:/s)?"
_DECIMAL_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9}
_DECIMAL_SIZE = r"(?i)[0-9.]+([kmgtp])b"
_CPUS = _NUMBER + r"(?:\.([0-9]{1,9}))?(%)?"
_CPU_RANGE = r"([0-9]{1,9})(?:-([0-9]{1,9}))?"
_DURATION = rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?"


def parse_bytes(value: object, *, minimum: int = 1) -> int:
    """Return a size in bytes: `1024`, `200M`, `200MiB`, `1.5G`.

    K, M, G, T and P are powers of 1024 in either case, as Docker has them; `Ki` and `KiB` say the same. `KB` and its
    kin are refused, because half the world means 1000. A fraction needs a unit and is rounded down to whole bytes.
    """
    hint = "write a number and a unit (K M G T, powers of 1024), such as 200M or 1.5G"
    text = _number_text(value, "a size", hint)
    match = _match(_SIZE, text)
    if match is None:
        if decimal := _match(_DECIMAL_SIZE, text):
            unit = decimal[1].upper()
            raise InvalidInput(
                f"{text!r} is ambiguous: 1000 or 1024", hint=f"write {unit} or {unit}iB, a power of 1024"
            )
        raise InvalidInput(f"{shown(value)} is not a size", hint=hint)
    whole, fraction, _, unit = match.groups()
    if fraction and not unit:
        raise InvalidInput(
            f"{text!r} is not a whole number of bytes", hint="write a unit after a fraction, such as 1.5G"
        )
    count = _scaled(whole, fraction, _BYTE_UNITS[(unit or "").lower()])
    if count == 0:
        raise InvalidInput("the size is 0, which is not 'no limit'", hint=_NO_LIMIT_HINT)
    if count < minimum:
        raise InvalidInput(f"{text!r} is less than the least size, {format_bytes(minimum)}")
    return _bounded(count, text, MAX_INTEGER)


def parse_rate(value: object) -> int:
    """Return bytes per second: `20M`, `20M/s` and `20MiB/s` are the same, `20MB/s` is 20 000 000.

    A rate with `B/s` is decimal, as disks and networks are sold; one without is a size, and `20MB` alone is refused.
    """
    if isinstance(value, str) and value.endswith("/s"):
        match = _match(_DECIMAL_RATE, value)
        if match is None:
            return parse_bytes(value.removesuffix("/s"))
        whole, fraction, unit = match.groups()
        rate = _scaled(whole, fraction, _DECIMAL_UNITS[unit.lower()])
        if rate == 0:
            raise InvalidInput("the rate is 0, which is not 'no limit'", hint=_NO_LIMIT_HINT)
        return _bounded(rate, value, MAX_INTEGER)
    return parse_bytes(value)


def parse_bit_rate(value: object) -> int:
    """Return bits per second: `10mbit`, `1.5gbit`, `100kbit`, with or without `/s`; `1MB/s` is 8 000 000.

    Networks are sold in powers of 1000. A number alone, and `10M`, are refused: bits or bytes is not to be guessed.
    """
    hint = "write bits per second, such as 10mbit, or bytes, such as 1MB/s"
    match = _match(_BIT_RATE, value) if isinstance(value, str) else None
    if match is not None:
        whole, fraction, unit = match.groups()
        rate = _scaled(whole, fraction, _DECIMAL_UNITS.get(unit.lower(), 1))
    else:
        match = _match(_DECIMAL_RATE, value) if isinstance(value, str) else None
        if match is None:
            raise InvalidInput(f"{shown(value)} is not a rate of a network", hint=hint)
        whole, fraction, unit = match.groups()
        rate = 8 * _scaled(whole, fraction, _DECIMAL_UNITS[unit.lower()])
    if rate < BIT_RATE_MIN:
        raise InvalidInput(f"{value!r} is less than the least rate, {format_bit_rate(BIT_RATE_MIN)}", hint=hint)
    if rate > BIT_RATE_MAX:
        raise InvalidInput(f"{value!r} is more than the largest rate, {format_bit_rate(BIT_RATE_MAX)}", hint=hint)
    return rate


def format_bit_rate(bits_per_second: int) -> str:
    """Return the shortest exact text of a network's rate, which `parse_bit_rate` reads back: 10000000 is `10mbit`."""
    for unit in ("g", "m", "k"):
        if bits_per_second and bits_per_second % _DECIMAL_UNITS[unit] == 0:
            return f"{bits_per_second // _DECIMAL_UNITS[unit]}{unit}bit"
    return f"{bits_per_second}bit"


def parse_ops(value: object) -> int:
    """Return operations per second: `200`, `200iops`."""
    if isinstance(value, str):
        value = value.removesuffix("iops")
    return parse_count(value, maximum=OPS_MAX)


def format_bytes(count: int) -> str:
    """Return the shortest exact text of a size, which `parse_bytes` reads back: 209715200 is `200MiB`."""
    for unit in ("p", "t", "g", "m", "k"):
        if count and count % _BYTE_UNITS[unit] == 0:
            return f"{count // _BYTE_UNITS[unit]}{unit.upper()}iB"
    return f"{count}B"


def format_bytes_short(count: int) -> str:
    """Return a size for people, three digits of it, rounded to nearest: 1536 is `1.5KiB`."""
    unit = max(count.bit_length() - 1, 0) // 10
    if unit == 0:
        return f"{count}B"
    unit = min(unit, 5)
    value = count / 2 ** (10 * unit)
    if value >= 1023.5 and unit < 5:
        unit, value = unit + 1, value / 1024
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    text = f"{value:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if digits else text}{'KMGTP'[unit - 1]}iB"


def parse_cpus(value: object) -> int:
    """Return the CPU time granted per CPU_PERIOD_USEC, in microseconds: `0.5`, `50%` and 0.5 are 50000, `2` is 200000.

    More than nine decimals are refused, less than a microsecond is rounded down; at least 0.01 CPUs, at most 8192.
    """
    hint = "write a number of CPUs or a percentage of one, such as 0.5, 50% or 2"
    text = repr(value) if isinstance(value, float) else _number_text(value, "a number of CPUs", hint)
    match = _match(_CPUS, text)
    if match is None:
        raise InvalidInput(f"{shown(value)} is not a number of CPUs", hint=hint)
    whole, fraction, percent = match.groups()
    quota_usec = _scaled(whole, fraction, CPU_PERIOD_USEC // 100 if percent else CPU_PERIOD_USEC)
    if quota_usec < CPU_QUOTA_MIN_USEC:
        raise InvalidInput(
            f"{text!r} is less than the least share, 0.01 CPUs", hint="leave the setting out for no limit"
        )
    if quota_usec > CPUS_MAX * CPU_PERIOD_USEC:
        raise InvalidInput(f"{text!r} is more than {CPUS_MAX} CPUs", hint=hint)
    return quota_usec


def format_cpus(quota_usec: int, period_usec: int = CPU_PERIOD_USEC) -> str:
    """Return a quota as a number of CPUs, which `parse_cpus` reads back when the period is CPU_PERIOD_USEC: `0.5`."""
    whole, rest = divmod(quota_usec, period_usec)
    return f"{whole}.{rest * 10**9 // period_usec:09d}".rstrip("0").rstrip(".")


def parse_cpuset(value: object) -> str:
    """Return the canonical list of CPU numbers, sorted and merged: `3,1,0-1` is `0-1,3`. cpuset(7), List format."""
    hint = "write CPU numbers and ranges, such as 0-1,3"
    text = _number_text(value, "a list of CPUs", hint)
    cpus: set[int] = set()
    for part in text.split(","):
        match = _match(_CPU_RANGE, part)
        if match is None:
            raise InvalidInput(f"{shown(value)} is not a list of CPUs: {part!r}", hint=hint)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InvalidInput(f"CPU range {part!r} runs backwards", hint=f"write {last}-{first}")
        if last >= CPUS_MAX:
            raise InvalidInput(f"CPU {last} in {part!r} cannot exist: the highest number is {CPUS_MAX - 1}")
        cpus.update(range(first, last + 1))
    return format_cpuset(cpus)


def format_cpuset(cpus: set[int]) -> str:
    """Return CPU numbers in the canonical list format, `0-1,3`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def parse_duration_seconds(value: object) -> int:
    """Return whole seconds: `10`, `90s`, `1m30s`, `2h`, `1d`. 0 is allowed and means at once."""
    hint = "write whole seconds, or hours, minutes and seconds, such as 10 or 1m30s"
    text = _number_text(value, "a duration", hint)
    if _match(_NUMBER, text):
        seconds = int(text)
    else:
        match = _match(_DURATION, text)
        if match is None or not text:
            raise InvalidInput(f"{shown(value)} is not a duration", hint=hint)
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = days * 86400 + hours * 3600 + minutes * 60 + rest
    return _bounded(seconds, text, DURATION_MAX_SECONDS)


def format_duration(seconds: int) -> str:
    """Return a duration that `parse_duration_seconds` reads back: 90 is `1m30s`."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = (f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number)
    return "".join(parts) or "0s"


def parse_count(value: object, *, minimum: int = 1, maximum: int = MAX_INTEGER) -> int:
    """Return a whole number from `minimum` to `maximum`, given as a number or as decimal digits."""
    limits = f"from {minimum} to {maximum}" if maximum < MAX_INTEGER else f"of at least {minimum}"
    text = _number_text(value, "a whole number", f"write a whole number {limits}")
    if _match(_NUMBER, text) is None:
        raise InvalidInput(f"{shown(value)} is not a whole number", hint=f"write a whole number {limits}")
    count = int(text)
    if not minimum <= count <= maximum:
        raise InvalidInput(f"{text} is out of range", hint=f"write a whole number {limits}")
    return count


def _match(pattern: str, text: str) -> re.Match[str] | None:
    import re  # 7 ms that who only quotes values saves

    return re.fullmatch(pattern, text, re.ASCII)


def _number_text(value: object, kind: str, hint: str) -> str:
    """Return the digits of a text or an int; other types, and text that could not be a number's, are refused."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidInput(f"{shown(value)} is not {kind}", hint=hint)
    if isinstance(value, int):
        if value.bit_length() > 128:  # str() of a huge integer is slow, or refused by the interpreter
            raise InvalidInput(f"the number is too large for {kind}", hint=hint)
        return str(value)
    if len(value) > 4096:
        raise InvalidInput(f"{shown(value)} is not {kind}", hint=hint)
    return value


def _scaled(whole: str, fraction: str | None, unit: int) -> int:
    """Return `whole.fraction` times `unit`, rounded down, in integers."""
    fraction = fraction or ""
    scale: int = 10 ** len(fraction)
    return int(whole + fraction) * unit // scale


def _bounded(count: int, text: str, maximum: int) -> int:
    if count > maximum:
        raise InvalidInput(f"{text!r} is too large", hint=f"the most is {maximum}")
    return count


def parse_ratio(value: object) -> int:
    """Return thousandths: `1.5`, 1.5 and `150%` are 1500. From 0.001 to 1000; what is less than 0.001 is rounded down."""
    hint = "write a number such as 1.5, from 0.001 to 1000"
    text = repr(value) if isinstance(value, float) else _number_text(value, "a ratio", hint)
    match = _match(_CPUS, text)
    if match is None:
        raise InvalidInput(f"{shown(value)} is not a ratio", hint=hint)
    whole, fraction, percent = match.groups()
    thousandths = _scaled(whole, fraction, 10 if percent else 1000)
    if not 1 <= thousandths <= 1_000_000:
        raise InvalidInput(f"{shown(value)} is out of range", hint=hint)
    return thousandths


def format_ratio(thousandths: int) -> str:
    """Return the shortest text of a ratio, which `parse_ratio` reads back: 1500 is `1.5`."""
    whole, rest = divmod(thousandths, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".")
