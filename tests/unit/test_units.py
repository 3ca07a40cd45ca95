"""Exact values and exact refusals of the units (VAL-02, VAL-03); the properties are hypothesis'."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycontainer.units as units
from pycontainer.errors import InvalidInput
from pycontainer.units import format_bit_rate, parse_bit_rate, parse_ops, parse_rate

NO_LIMIT_HINT = "write 'unlimited' where there may be no limit, or leave it out"
SIZE_HINT = "write a number and a unit (K M G T, powers of 1024), such as 200M or 1.5G"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        (1024, 1024),
        ("1024b", 1024),
        ("1k", 1024),
        ("1K", 1024),
        ("1Ki", 1024),
        ("1KiB", 1024),
        ("1kib", 1024),
        ("200m", 209_715_200),
        ("200M", 209_715_200),
        ("200MiB", 209_715_200),
        ("1.5G", 1_610_612_736),
        ("2t", 2 * 2**40),
        ("1P", 2**50),
        ("0.3k", 307),  # 307.2, rounded down
        ("0.999999999M", 1_048_575),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes(text: object, expected: int) -> None:
    """VAL-02"""
    assert units.parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "'' is not a size"),
        ("200Q", "'200Q' is not a size"),
        ("-1", "'-1' is not a size"),
        (-1, "-1 is not a size"),
        ("+1", "'+1' is not a size"),
        ("max", "'max' is not a size"),
        ("1e9", "'1e9' is not a size"),
        (" 5 ", "' 5 ' is not a size"),
        ("5\n", "'5\\n' is not a size"),
        ("\uff15", "'\uff15' is not a size"),
        ("\u0665", "'\u0665' is not a size"),
        ("5\u212a", "'5\u212a' is not a size"),  # the Kelvin sign folds to k
        ("1_000", "'1_000' is not a size"),
        ("nan", "'nan' is not a size"),
        ("inf", "'inf' is not a size"),
        ("0x10", "'0x10' is not a size"),
        ("010", "'010' is not a size"),
        ("5%", "'5%' is not a size"),
        ("5 GB", "'5 GB' is not a size"),
        ("1GG", "'1GG' is not a size"),
        (".5G", "'.5G' is not a size"),
        ("1.G", "'1.G' is not a size"),
        ("1.2.3G", "'1.2.3G' is not a size"),
        (True, "True is not a size"),
        (1.5, "1.5 is not a size"),
        (None, "None is not a size"),
        (["1"], "['1'] is not a size"),
        ("9" * 30, f"'{'9' * 30}' is not a size"),
        ("9" * 5000, f"'{'9' * 75}...' is not a size"),
    ],
)
def test_what_is_no_size(value: object, message: str) -> None:
    """VAL-02"""
    with pytest.raises(InvalidInput) as caught:
        units.parse_bytes(value)
    assert (caught.value.message, caught.value.hint) == (message, SIZE_HINT)


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ("200MB", "'200MB' is ambiguous: 1000 or 1024", "write M or MiB, a power of 1024"),
        ("1.5gb", "'1.5gb' is ambiguous: 1000 or 1024", "write G or GiB, a power of 1024"),
        ("1.5", "'1.5' is not a whole number of bytes", "write a unit after a fraction, such as 1.5G"),
        ("1.5b", "'1.5b' is not a whole number of bytes", "write a unit after a fraction, such as 1.5G"),
        (
            "0",
            "the size is 0, which is not 'no limit'",
            "write 'unlimited' where there may be no limit, or leave it out",
        ),
        (0, "the size is 0, which is not 'no limit'", NO_LIMIT_HINT),
        (
            "0G",
            "the size is 0, which is not 'no limit'",
            "write 'unlimited' where there may be no limit, or leave it out",
        ),
        (
            "0.000000001k",
            "the size is 0, which is not 'no limit'",
            "write 'unlimited' where there may be no limit, or leave it out",
        ),
        ("9223372036854775808", "'9223372036854775808' is too large", "the most is 9223372036854775807"),
        ("8192P", "'8192P' is too large", "the most is 9223372036854775807"),
        (2**200, "the number is too large for a size", SIZE_HINT),
    ],
)
def test_sizes_that_are_refused_for_a_reason(value: object, message: str, hint: str) -> None:
    """VAL-02: 0 and negative never mean "unlimited"."""
    with pytest.raises(InvalidInput) as caught:
        units.parse_bytes(value)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_size_below_the_least() -> None:
    with pytest.raises(InvalidInput, match=r"^'4k' is less than the least size, 1MiB$"):
        units.parse_bytes("4k", minimum=2**20)
    assert units.parse_bytes("1M", minimum=2**20) == 2**20


@settings(deadline=None)
@given(st.integers(1, units.MAX_INTEGER))
def test_format_bytes_is_read_back(count: int) -> None:
    assert units.parse_bytes(units.format_bytes(count)) == count


@settings(deadline=None)
@given(st.integers(0, 8191), st.integers(0, 10**9 - 1), st.sampled_from("kmgt"))
def test_fractions_round_down_exactly(whole: int, billionths: int, unit: str) -> None:
    expected = (whole * 10**9 + billionths) * 2 ** (10 * ("kmgt".index(unit) + 1)) // 10**9
    if expected:
        assert units.parse_bytes(f"{whole}.{billionths:09d}{unit}") == expected


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_positive_size_or_invalid_input(text: str) -> None:
    try:
        assert 1 <= units.parse_bytes(text) <= units.MAX_INTEGER
    except InvalidInput:
        return
    assert text.isascii() and "_" not in text and text.strip() == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (12_900_000, "12.3MiB"),
        (209_715_200, "200MiB"),
        (2**20 - 1, "1MiB"),
        (2**63 - 1, "8192PiB"),
    ],
)
def test_short_sizes_for_people(count: int, text: str) -> None:
    assert units.format_bytes_short(count) == text


@pytest.mark.parametrize(
    ("value", "quota_usec"),
    [
        ("0.5", 50_000),
        (0.5, 50_000),
        ("50%", 50_000),
        ("12.5%", 12_500),
        (2, 200_000),
        ("2", 200_000),
        ("0.29", 29_000),  # as a float, 28999.999999999996
        (0.29, 29_000),
        ("1.999999999", 199_999),
        ("0.01", 1_000),
        ("1%", 1_000),
        ("8192", 819_200_000),
    ],
)
def test_cpus(value: object, quota_usec: int) -> None:
    assert units.parse_cpus(value) == quota_usec


CPUS_HINT = "write a number of CPUs or a percentage of one, such as 0.5, 50% or 2"
CPUS_LIMIT_HINT = "leave the setting out for no limit"


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ("0", "'0' is less than the least share, 0.01 CPUs", CPUS_LIMIT_HINT),
        (0, "'0' is less than the least share, 0.01 CPUs", CPUS_LIMIT_HINT),
        (0.0, "'0.0' is less than the least share, 0.01 CPUs", CPUS_LIMIT_HINT),
        ("0.009999999", "'0.009999999' is less than the least share, 0.01 CPUs", CPUS_LIMIT_HINT),
        ("8192.1", "'8192.1' is more than 8192 CPUs", CPUS_HINT),
        ("-1", "'-1' is not a number of CPUs", CPUS_HINT),
        (-1.0, "-1.0 is not a number of CPUs", CPUS_HINT),
        (float("nan"), "nan is not a number of CPUs", CPUS_HINT),
        (float("inf"), "inf is not a number of CPUs", CPUS_HINT),
        (1e-9, "1e-09 is not a number of CPUs", CPUS_HINT),
        ("1e3", "'1e3' is not a number of CPUs", CPUS_HINT),
        ("half", "'half' is not a number of CPUs", CPUS_HINT),
        ("50 %", "'50 %' is not a number of CPUs", CPUS_HINT),
        ("0.1234567891", "'0.1234567891' is not a number of CPUs", CPUS_HINT),
        (True, "True is not a number of CPUs", CPUS_HINT),
    ],
)
def test_what_is_no_number_of_cpus(value: object, message: str, hint: str) -> None:
    """VAL-03"""
    with pytest.raises(InvalidInput) as caught:
        units.parse_cpus(value)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@settings(deadline=None)
@given(st.integers(units.CPU_QUOTA_MIN_USEC, units.CPUS_MAX * units.CPU_PERIOD_USEC))
def test_format_cpus_is_read_back(quota_usec: int) -> None:
    assert units.parse_cpus(units.format_cpus(quota_usec)) == quota_usec


@pytest.mark.parametrize(
    ("value", "canonical"),
    [("0-1,3", "0-1,3"), ("3,1,0-1", "0-1,3"), ("0", "0"), (0, "0"), ("0-3,2-5", "0-5"), ("8191", "8191")],
)
def test_cpusets(value: object, canonical: str) -> None:
    assert units.parse_cpuset(value) == canonical


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "'' is not a list of CPUs: ''"),
        ("0-", "'0-' is not a list of CPUs: '0-'"),
        ("0,,1", "'0,,1' is not a list of CPUs: ''"),
        ("1-3:2/4", "'1-3:2/4' is not a list of CPUs: '1-3:2/4'"),
        ("0 ,1", "'0 ,1' is not a list of CPUs: '0 '"),
        ("-1", "'-1' is not a list of CPUs: '-1'"),
        ("\u0661", "'\u0661' is not a list of CPUs: '\u0661'"),
        ("0\n", "'0\\n' is not a list of CPUs: '0\\n'"),
        ("3-1", "CPU range '3-1' runs backwards"),
        ("0-100000", "CPU 100000 in '0-100000' cannot exist: the highest number is 8191"),
        ("0-9999999999", "'0-9999999999' is not a list of CPUs: '0-9999999999'"),
        (",".join(["0"] * 2049), f"'{'0,' * 37}0...' is not a list of CPUs"),
    ],
)
def test_what_is_no_cpuset(value: object, message: str) -> None:
    """VAL-03"""
    with pytest.raises(InvalidInput) as caught:
        units.parse_cpuset(value)
    assert caught.value.message == message


@settings(deadline=None)
@given(st.sets(st.integers(0, 200), min_size=1))
def test_format_cpuset_is_read_back(cpus: set[int]) -> None:
    text = units.format_cpuset(cpus)
    assert units.parse_cpuset(text) == text
    assert units.parse_cpuset(",".join(map(str, cpus))) == text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("10", 10), (10, 10), (0, 0), ("0", 0), ("90s", 90), ("1m30s", 90), ("2h", 7200), ("1h0m5s", 3605)],
)
def test_durations(value: object, seconds: int) -> None:
    assert units.parse_duration_seconds(value) == seconds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "'' is not a duration"),
        ("-1", "'-1' is not a duration"),
        (-1, "-1 is not a duration"),
        ("1.5", "'1.5' is not a duration"),
        ("30s1m", "'30s1m' is not a duration"),
        ("10ms", "'10ms' is not a duration"),
        ("1:30", "'1:30' is not a duration"),
        ("10 s", "'10 s' is not a duration"),
        (1.5, "1.5 is not a duration"),
        ("2147483648", "'2147483648' is too large"),
    ],
)
def test_what_is_no_duration(value: object, message: str) -> None:
    """VAL-03"""
    with pytest.raises(InvalidInput) as caught:
        units.parse_duration_seconds(value)
    assert caught.value.message == message


@settings(deadline=None)
@given(st.integers(0, units.DURATION_MAX_SECONDS))
def test_format_duration_is_read_back(seconds: int) -> None:
    assert units.parse_duration_seconds(units.format_duration(seconds)) == seconds


def test_counts() -> None:
    assert units.parse_count("100") == 100
    assert units.parse_count(1, maximum=1) == 1
    assert units.parse_count(0, minimum=0) == 0


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (0, "0 is out of range", "write a whole number from 1 to 9"),
        ("10", "10 is out of range", "write a whole number from 1 to 9"),
        ("-1", "'-1' is not a whole number", "write a whole number from 1 to 9"),
        ("1.0", "'1.0' is not a whole number", "write a whole number from 1 to 9"),
        ("01", "'01' is not a whole number", "write a whole number from 1 to 9"),
        ("\u00b2", "'\u00b2' is not a whole number", "write a whole number from 1 to 9"),
        (True, "True is not a whole number", "write a whole number from 1 to 9"),
    ],
)
def test_what_is_no_count(value: object, message: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        units.parse_count(value, maximum=9)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_the_ulimit_names_are_the_kernels() -> None:
    import resource

    known = {name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")}
    assert known - {"ofile"} <= set(units.RLIMIT_NAMES)  # OFILE is NOFILE's old name
    assert len(set(units.RLIMIT_NAMES)) == 16


def test_shown_escapes_and_shortens() -> None:
    assert units.shown("a\x1b[31m") == "'a\\x1b[31m'"
    assert units.shown(10**5000) == "<int>"
    assert units.shown("x" * 200) == "'" + "x" * 75 + "...'"


# -- rates


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20M", 20 << 20),
        ("20M/s", 20 << 20),
        ("20MiB/s", 20 << 20),
        ("20MB/s", 20_000_000),
        ("1.5kB/s", 1500),
        (4096, 4096),
        ("1GB/s", 10**9),
    ],
)
def test_parse_rate(text: object, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        "20MB",
        "0MB/s",
        "0.0001kB/s",
        "MB/s",
        "20 MB/s",
        "20mbit",
        "-1M/s",
        "nan",
        "",
        True,
        None,
        1.5,
    ],
)
def test_parse_rate_refuses(text: object) -> None:
    with pytest.raises(InvalidInput):
        parse_rate(text)


@pytest.mark.parametrize(("text", "count"), [("200", 200), ("200iops", 200), (1, 1)])
def test_parse_ops(text: object, count: int) -> None:
    assert parse_ops(text) == count


@pytest.mark.parametrize("text", ["0", "0iops", "iops", "2 iops", str(2**32), "-1", "1.5", True])
def test_parse_ops_refuses(text: object) -> None:
    with pytest.raises(InvalidInput):
        parse_ops(text)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("10mbit", 10_000_000),
        ("10Mbit/s", 10_000_000),
        ("1.5gbit", 1_500_000_000),
        ("64kbit", 64_000),
        ("8000bit", 8_000),
        ("1MB/s", 8_000_000),
        ("100gbit", 100 * 10**9),
    ],
)
def test_parse_bit_rate(text: str, bits: int) -> None:
    assert parse_bit_rate(text) == bits
    assert parse_bit_rate(format_bit_rate(bits)) == bits


@pytest.mark.parametrize(
    "text",
    ["10", 10, "10M", "10MB", "10mbits", "1e6bit", "-1mbit", "nan", "", "0mbit", "7999bit", "101gbit", None],
)
def test_parse_bit_rate_refuses(text: object) -> None:
    with pytest.raises(InvalidInput):
        parse_bit_rate(text)


def test_format_bit_rate() -> None:
    rates = (10_000_000, 1_500_000_000, 64_000, 8_001)
    assert [format_bit_rate(rate) for rate in rates] == ["10mbit", "1500mbit", "64kbit", "8001bit"]


@pytest.mark.parametrize(
    ("value", "thousandths"),
    [
        (1, 1000),
        ("1.5", 1500),
        (1.5, 1500),
        ("150%", 1500),
        ("0.001", 1),
        ("0.1%", 1),
        ("1000", 1_000_000),
        ("0.0019", 1),
    ],
)
def test_ratios(value: object, thousandths: int) -> None:
    assert units.parse_ratio(value) == thousandths


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", "'0' is out of range"),
        ("0.0009", "'0.0009' is out of range"),
        (1001, "1001 is out of range"),
        ("-1", "'-1' is not a ratio"),
        ("1,5", "'1,5' is not a ratio"),
        ("1e3", "'1e3' is not a ratio"),
        ("٣", "'٣' is not a ratio"),
        ("", "'' is not a ratio"),
        (None, "None is not a ratio"),
        (True, "True is not a ratio"),
        (float("nan"), "nan is not a ratio"),
        ("9" * 5000, "is not a ratio"),
    ],
)
def test_what_is_no_ratio(value: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        units.parse_ratio(value)
    assert message in caught.value.message
    assert caught.value.hint == "write a number such as 1.5, from 0.001 to 1000"


@given(st.integers(1, 1_000_000))
def test_format_ratio_is_read_back(thousandths: int) -> None:
    assert units.parse_ratio(units.format_ratio(thousandths)) == thousandths
