"""Sizes, rates, shares, CPU lists, times and counts (units.py): exact numbers in bounds, and back again."""

from pycontainer import units
from tests.fuzz.inputs import is_strict, parsed, value_of

SEEDS = tuple(
    b"1.5G|200MiB|20MB/s|64kbit|1mbit/s|200iops|12.5%|0.5|0-3,7|1h30m5s|9223372036854775808|-1|1e9|0x10|nan|1_000|true".split(
        b"|"
    )
)
MAX_BYTES = 64

_INTEGERS = (
    (units.parse_bytes, units.format_bytes, 1, units.MAX_INTEGER),
    (units.parse_rate, units.format_bytes, 1, units.MAX_INTEGER),
    (units.parse_bit_rate, units.format_bit_rate, units.BIT_RATE_MIN, units.BIT_RATE_MAX),
    (units.parse_ops, str, 1, units.OPS_MAX),
    (units.parse_cpus, units.format_cpus, units.CPU_QUOTA_MIN_USEC, units.CPUS_MAX * units.CPU_PERIOD_USEC),
    (units.parse_duration_seconds, units.format_duration, 0, units.DURATION_MAX_SECONDS),
    (units.parse_count, str, 1, units.MAX_INTEGER),
)


def try_one(data: bytes) -> None:
    value = value_of(data)
    for parse, form, least, most in _INTEGERS:
        number = parsed(parse, value)
        if number is not None:
            assert type(number) is int and least <= number <= most
            assert parse(form(number)) == number
            assert not isinstance(value, bool) and (not isinstance(value, str) or is_strict(value))
            assert "_" not in str(value)
    cpus = parsed(units.parse_cpuset, value)
    if cpus is not None:
        assert units.parse_cpuset(cpus) == cpus
