"""How the checks are judged and shown; the probes themselves are tested on a real kernel."""

import click
import pytest

from pycontainer.cli.commands.check import table
from pycontainer.linux.release import kernel_version
from pycontainer.runtime.check import is_usable
from pycontainer.runtime.finding import Check, Status

GOOD = Check("veth", Status.OK, "works", "", needed=True)
USEFUL = Check("criu", Status.MISSING, "not installed", "apt install criu", needed=False)
LACKING = Check("cgroups", Status.MISSING, "v2, without memory", "boot with cgroup_enable=memory", needed=True)
UNTRIED = Check("overlay", Status.DEGRADED, "not tried: needs root", "run it as root", needed=True)


@pytest.mark.parametrize(
    ("checks", "usable"),
    [([], True), ([GOOD], True), ([GOOD, USEFUL], True), ([GOOD, LACKING], False), ([GOOD, UNTRIED], False)],
)
def test_only_what_is_needed_counts(checks: list[Check], usable: bool) -> None:
    assert is_usable(checks) is usable


def test_table() -> None:
    lines = [click.unstyle(line) for line in table([GOOD, USEFUL, LACKING])]
    assert lines == [
        "ok        veth     works",
        "missing   criu     not installed",
        "                   fix: apt install criu",
        "missing   cgroups  v2, without memory",
        "                   fix: boot with cgroup_enable=memory",
        "containers cannot run here: cgroups",
    ]
    assert click.unstyle(table([GOOD, USEFUL])[-1]) == "containers can run here"


def test_a_section_has_a_heading() -> None:
    wall = Check("Landlock", Status.OK, "interface 7", "", needed=False, section="walls")
    lines = [click.unstyle(line) for line in table([GOOD, wall, wall])]
    assert lines[1:4] == ["walls:", "ok        Landlock  interface 7", "ok        Landlock  interface 7"]


def test_colours_tell_needed_from_useful() -> None:
    green, yellow, _, red, _, _ = table([GOOD, USEFUL, LACKING])
    assert [line[:5] for line in (green, yellow, red)] == ["\x1b[32m", "\x1b[33m", "\x1b[31m"]


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.12.117+deb12-cloud-amd64", (6, 12)), ("5.10.0-9-amd64", (5, 10)), ("6.1-rc3", (6, 1)), ("7.0rc1", (7, 0))],
)
def test_kernel_version(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version
