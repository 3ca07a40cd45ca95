"""The program that allows devices, run by a small interpreter; the lines of v1; and back from either to rules."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.cgroup.devicefilter import Rule, merged, parse, program, program_in_order, rules_of

NULL, TUN, PTYS = Rule("c", 1, 3, "rw"), Rule("c", 10, 200, "r"), Rule("c", 136, None, "rw")
LOOP = Rule("b", 7, 1, "rwm")
RULES = (NULL, TUN, PTYS, LOOP)
ACCESS_BITS = {"m": 1, "r": 2, "w": 4}
KINDS = {"b": 1, "c": 2}

rules = st.builds(
    Rule,
    st.sampled_from("bc"),
    st.integers(0, 4095),
    st.none() | st.integers(0, (1 << 20) - 1),
    st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"]),
)


def run(code: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """Interpret the program as the kernel would. Source: Documentation/bpf/standardization/instruction-set.rst."""
    wanted = sum(ACCESS_BITS[letter] for letter in access)
    context = struct.pack("<III", wanted << 16 | KINDS[kind], major, minor)
    instructions = list(struct.iter_unpack("<BBhi", code))
    registers: list[int | None] = [None] * 11
    registers[1] = 0  # the address of the context, which is all that can be loaded
    at = 0
    while True:
        opcode, numbers, offset, immediate = instructions[at]
        source, destination = numbers >> 4, numbers & 15
        at += 1
        value = registers[destination]
        if opcode == 0x95:
            assert registers[0] is not None
            return registers[0]
        if opcode == 0x61:
            assert registers[source] == 0
            registers[destination] = struct.unpack_from("<I", context, offset)[0]
        elif opcode == 0xBF:
            assert registers[source] is not None
            registers[destination] = registers[source]
        elif opcode == 0xB7:
            registers[destination] = immediate
        elif opcode in (0x54, 0x74, 0x55, 0x15):
            assert value is not None, "a register is read before it was written"
            if opcode == 0x54:
                registers[destination] = value & immediate
            elif opcode == 0x74:
                registers[destination] = value >> immediate
            elif (value != immediate) == (opcode == 0x55):
                assert offset >= 0, "a loop"
                at += offset
        else:
            raise AssertionError(f"opcode {opcode:#x}")


@pytest.mark.parametrize(
    ("kind", "major", "minor", "access", "allowed"),
    [
        ("c", 1, 3, "r", True),
        ("c", 1, 3, "w", True),
        ("c", 1, 3, "rw", True),
        ("c", 1, 3, "m", False),
        ("c", 1, 3, "rwm", False),
        ("b", 1, 3, "r", False),
        ("c", 1, 4, "r", False),
        ("c", 2, 3, "r", False),
        ("c", 10, 200, "r", True),
        ("c", 10, 200, "w", False),
        ("c", 10, 200, "rw", False),
        ("c", 136, 0, "rw", True),
        ("c", 136, 1023, "w", True),
        ("c", 136, 0, "m", False),
        ("c", 137, 0, "r", False),
        ("b", 7, 1, "m", True),
        ("b", 7, 1, "rwm", True),
        ("b", 7, 0, "r", False),
        ("c", 7, 1, "r", False),
        ("c", 0, 0, "r", False),
    ],
)
def test_what_the_program_decides(kind: str, major: int, minor: int, access: str, allowed: bool) -> None:
    assert run(program(RULES), kind, major, minor, access) == allowed


def test_nothing_is_allowed_without_a_rule() -> None:
    assert run(program(()), "c", 1, 3, "r") == 0


def test_the_bytes_of_one_rule() -> None:
    """Written out, so that a change of the encoder cannot hide in the interpreter."""
    assert program((TUN,)).hex(" ", 8).split() == [
        "6112000000000000",  # r2 = access_type
        "6114040000000000",  # r4 = major
        "6115080000000000",  # r5 = minor
        "bf23000000000000",  # r3 = r2
        "54020000ffff0000",  # w2 &= 0xffff
        "7403000010000000",  # w3 >>= 16
        "5502070002000000",  # if r2 != char goto next
        "550406000a000000",  # if r4 != 10 goto next
        "55050500c8000000",  # if r5 != 200 goto next
        "bf31000000000000",  # r1 = r3
        "5401000005000000",  # w1 &= write | mknod
        "5501020000000000",  # if r1 != 0 goto next
        "b700000001000000",  # r0 = 1
        "9500000000000000",  # return
        "b700000000000000",  # r0 = 0
        "9500000000000000",  # return
    ]


@given(st.lists(rules, max_size=8), rules)
def test_the_program_does_what_the_rules_say(given_rules: list[Rule], asked: Rule) -> None:
    assert asked.major is not None
    minor = asked.minor or 0
    expected = any(
        rule.kind == asked.kind
        and rule.major == asked.major
        and rule.minor in (None, minor)
        and set(asked.access) <= set(rule.access)
        for rule in given_rules
    )
    assert run(program(given_rules), asked.kind, asked.major, minor, asked.access) == expected


any_rules = st.builds(
    Rule,
    st.sampled_from("abc"),
    st.none() | st.integers(0, 2),
    st.none() | st.integers(0, 2),
    st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"]),
)
exact = st.builds(
    Rule, st.sampled_from("bc"), st.integers(0, 2), st.integers(0, 2), st.sampled_from(["r", "w", "rw", "rwm"])
)


def decided(steps: list[tuple[bool, Rule]], asked: Rule) -> bool:
    """Say whether each access asked for is allowed by the last step that speaks of it."""
    verdict = dict.fromkeys("rwm", False)
    for allow, rule in steps:
        if rule.kind in ("a", asked.kind) and rule.major in (None, asked.major) and rule.minor in (None, asked.minor):
            verdict |= dict.fromkeys(rule.access, allow)
    return all(verdict[letter] for letter in asked.access)


@given(st.lists(st.tuples(st.booleans(), any_rules), max_size=8), exact)
def test_the_last_step_that_names_a_device_decides(steps: list[tuple[bool, Rule]], asked: Rule) -> None:
    assert asked.major is not None and asked.minor is not None
    code = program_in_order(steps)
    assert run(code, asked.kind, asked.major, asked.minor, asked.access) == decided(steps, asked)


def test_nothing_follows_a_step_that_is_for_everything() -> None:
    """The kernel refuses a program with instructions that nothing comes to."""
    everything = Rule("a", None, None, "rwm")
    head = program(())[: -2 * 8]
    assert program_in_order([(True, NULL), (False, everything)]) == head + program(())[-2 * 8 :]
    assert (
        program_in_order([(False, NULL), (True, everything)])[len(head) :].hex() == "b7000000010000009500000000000000"
    )


@given(st.lists(rules, max_size=8))
def test_rules_come_back_from_the_program_and_from_the_lines(given_rules: list[Rule]) -> None:
    assert rules_of(program(given_rules)) == tuple(given_rules)
    assert parse("".join(f"{rule}\n" for rule in given_rules)) == tuple(given_rules)


@pytest.mark.parametrize(
    "code",
    [
        b"",
        program(RULES)[:-8],
        program(RULES)[8:],
        program(RULES)[:48] + bytes(8) + program(RULES)[56:],
        program(RULES).replace(b"\xb7\x00\x00\x00\x00", b"\xb7\x00\x00\x00\x01"),  # it ends with "allow"
        b"\xb7\x00\x00\x00\x01\x00\x00\x00\x95" + bytes(7),
    ],
)
def test_another_program_is_not_taken_for_one_of_ours(code: bytes) -> None:
    assert rules_of(code) is None


def test_what_was_parsed_last_does_not_matter() -> None:
    one, everything = "c 1:3 rwm", "a *:* rwm"
    for text in (one, one, everything, everything, one, "", one):
        expected = None if text == everything else tuple([Rule("c", 1, 3, "rwm")] if text else [])
        assert parse(text) == expected


def test_lines() -> None:
    assert [str(rule) for rule in RULES] == ["c 1:3 rw", "c 10:200 r", "c 136:* rw", "b 7:1 rwm"]
    assert parse("a *:* rwm\n") is None
    assert parse("") == ()


def test_what_is_said_of_one_device_is_put_together() -> None:
    assert merged([NULL, TUN, Rule("c", 1, 3, "m"), Rule("c", 10, 200, "w"), Rule("b", 10, 200, "r")]) == (
        Rule("c", 1, 3, "rwm"),
        Rule("c", 10, 200, "rw"),
        Rule("b", 10, 200, "r"),
    )
