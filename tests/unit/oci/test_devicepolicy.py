"""The list of devices: what it says, and the form of v1."""

from typing import Any

import pytest

from pycontainer.cgroup.devicefilter import Rule
from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.oci.devicepolicy import DEFAULT, folded, steps

NOTHING = {"allow": False, "access": "rwm"}
EVERYTHING = {"allow": True, "access": "rwm"}
NULL = Rule("c", 1, 3, "rw")


def entry(allow: bool, text: str) -> dict[str, Any]:
    """Return the entry of a line as v1 has it."""
    kind, numbers, access = text.split()
    found: dict[str, Any] = {"allow": allow, "type": kind, "access": access}
    for name, number in zip(("major", "minor"), numbers.split(":"), strict=True):
        if number != "*":
            found[name] = int(number)
    return found


def form(*entries: dict[str, Any]) -> tuple[bool, list[str]]:
    """Return the form of v1 without the defaults."""
    allowed, exceptions = folded(steps(list(entries), "r")[: len(entries)], "r")
    return allowed, list(map(str, exceptions))


def test_nothing_but_the_defaults_is_allowed_to_begin_with() -> None:
    assert steps(None, "r") == steps([], "r") == [(True, rule) for rule in DEFAULT]
    assert folded(steps(None, "r"), "r") == (False, list(DEFAULT))


def test_the_fields_and_what_they_are_without() -> None:
    assert steps([{"allow": True}], "r")[0] == (True, Rule("a", None, None, "rwm"))
    assert steps([{"allow": False, "type": "c", "major": -1, "minor": 0, "access": "mr"}], "r")[0] == (
        False,
        Rule("c", None, 0, "rm"),
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"allow": True, "type": "p"}, "r.devices[0].type: 'p' is none of a, b and c"),
        ({"allow": True, "access": ""}, "r.devices[0].access: '' is not made of the letters r, w and m"),
        ({"allow": True, "access": "rx"}, "r.devices[0].access: 'rx' is not made of the letters r, w and m"),
        (
            {"allow": True, "major": 4096},
            "r.devices[0].major: 4096 is no number of a device: they go from 0 to 4095",
        ),
        (
            {"allow": True, "minor": 1 << 20},
            "r.devices[0].minor: 1048576 is no number of a device: they go from 0 to 1048575",
        ),
        ({"allow": True, "minor": -2}, "r.devices[0].minor: -2 is no number of a device: they go from 0 to 1048575"),
    ],
)
def test_what_is_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        steps([bad], "r")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([NOTHING, entry(True, "c 1:3 rw")], (False, ["c 1:3 rw"])),
        ([entry(True, "c 1:3 rw"), NOTHING], (False, [])),
        ([EVERYTHING], (True, [])),
        ([EVERYTHING, entry(False, "b 8:* w")], (True, ["b 8:* w"])),
        ([entry(True, "c 1:3 r"), entry(True, "c 1:3 m")], (False, ["c 1:3 rm"])),
        ([entry(True, "c 1:3 rwm"), entry(False, "c 1:3 w")], (False, ["c 1:3 rm"])),
        ([entry(True, "c 1:3 rw"), entry(False, "c 1:3 rwm")], (False, [])),
        ([entry(True, "c 1:3 rw"), entry(False, "c 1:* w")], (False, ["c 1:3 r"])),
        ([entry(True, "c 1:3 rw"), entry(False, "a *:* w")], (False, ["c 1:3 r"])),
        ([entry(True, "a 1:3 rw")], (False, ["c 1:3 rw", "b 1:3 rw"])),
        ([entry(True, "c 1:* m"), entry(False, "c 1:3 rw")], (False, ["c 1:* m"])),
        ([entry(True, "c 1:* rw"), entry(False, "c 2:3 rw")], (False, ["c 1:* rw"])),
        ([EVERYTHING, entry(False, "c 1:3 rw"), entry(True, "c 1:* r")], (True, ["c 1:3 w"])),
    ],
)
def test_the_form_of_v1(entries: list[dict[str, Any]], expected: tuple[bool, list[str]]) -> None:
    assert form(*entries) == expected


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            [entry(True, "c 10:* rw"), entry(False, "c 10:200 w")],
            "r.devices: cgroup v1 cannot refuse 'c 10:200 w' as a part of 'c 10:* rw'",
        ),
        (
            [entry(True, "c *:3 r"), entry(False, "c 1:* r")],
            "r.devices: cgroup v1 cannot refuse 'c 1:* r' as a part of 'c *:3 r'",
        ),
        (
            [EVERYTHING, entry(False, "b 8:* rwm"), entry(True, "b 8:1 r")],
            "r.devices: cgroup v1 cannot allow 'b 8:1 r' as a part of 'b 8:* rwm'",
        ),
    ],
)
def test_what_v1_would_not_hold_and_not_say(entries: list[dict[str, Any]], message: str) -> None:
    """The kernel takes such a line and does nothing."""
    with pytest.raises(Unsupported) as caught:
        form(*entries)
    assert caught.value.message == message
