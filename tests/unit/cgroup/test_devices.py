"""What is written to the devices controller of v1, as a kernel would take it."""

import errno
import os

import pytest

from pycontainer.cgroup.detect import Layout
from pycontainer.cgroup.devicefilter import Rule, merged, parse
from pycontainer.cgroup.devices import held, hold, is_held, why_no_policy
from pycontainer.cgroup.v1 import CgroupV1
from pycontainer.errors import Unsupported

NULL, TUN = Rule("c", 1, 3, "rw"), Rule("c", 10, 200, "rw")
EVERYTHING = "a *:* rwm"


class DevicesCgroup(CgroupV1):
    """devices.allow, .deny and .list of a cgroup. Source: kernel security/device_cgroup.c."""

    def __init__(self, above: str = EVERYTHING, *, ignores: str = "") -> None:
        super().__init__("c1", {"devices": "/cgroup/devices/c1"})
        self.above, self.list, self.ignores = above, above, ignores
        self.written: list[str] = []

    def read(self, controller: str, name: str) -> str:
        assert (controller, name) == ("devices", "devices.list")
        return self.list

    def write(self, controller: str, name: str, value: str) -> None:
        assert controller == "devices"
        self.written.append(f"{name.removeprefix('devices.')} {value}")
        if value == "a":
            self.list = ""
            return
        rules, (rule,) = parse(self.list) or (), parse(value) or ()
        if name == "devices.allow":
            if parse(self.above) is not None:
                raise OSError(errno.EPERM, f"write '{value}': {os.strerror(errno.EPERM)}", name)
            rules = () if value == self.ignores else merged((*rules, rule))
        else:
            left = [
                each._replace(access="".join(letter for letter in each.access if letter not in rule.access))
                if each[:3] == rule[:3]
                else each
                for each in rules
            ]
            rules = tuple(each for each in left if each.access)
        self.list = "\n".join(map(str, rules))

    def write_each(self, controller: str, name: str, values: list[str]) -> None:
        for value in values:
            self.write(controller, name, value)


def test_all_is_denied_before_some_is_allowed() -> None:
    cgroup = DevicesCgroup()
    assert (is_held(cgroup), held(cgroup)) == (False, None)
    hold(cgroup, (NULL, TUN))
    assert cgroup.written == ["deny a", "allow c 1:3 rw", "allow c 10:200 rw"]
    assert (is_held(cgroup), held(cgroup)) == (True, (NULL, TUN))


def test_nothing_is_written_that_is_there() -> None:
    cgroup = DevicesCgroup()
    hold(cgroup, (NULL, TUN))
    cgroup.written.clear()
    hold(cgroup, (TUN, NULL, NULL))
    assert cgroup.written == []


def test_a_change_is_never_wider_nor_narrower_than_before_and_after() -> None:
    cgroup = DevicesCgroup()
    hold(cgroup, (NULL, TUN))
    cgroup.written.clear()
    hold(cgroup, (Rule("c", 1, 3, "rm"), Rule("b", 7, 0, "r")))
    assert cgroup.written == ["allow c 1:3 m", "allow b 7:0 r", "deny c 1:3 w", "deny c 10:200 rw"]
    assert held(cgroup) == (Rule("c", 1, 3, "rm"), Rule("b", 7, 0, "r"))


def test_a_list_that_is_another_is_an_error() -> None:
    with pytest.raises(Unsupported, match="the kernel holds"):
        hold(DevicesCgroup(ignores="c 10:200 rw"), (NULL, TUN))


def test_what_the_cgroup_above_lacks_cannot_be_given() -> None:
    with pytest.raises(Unsupported, match="cannot allow the container its devices: write 'c 10:200 rw'") as caught:
        hold(DevicesCgroup(above="c 1:3 rw"), (NULL, TUN))
    assert caught.value.hint == "the cgroup above allows fewer devices; see devices.list there"


def test_a_host_without_the_controller() -> None:
    cgroup = CgroupV1("c1", {"freezer": "/cgroup/freezer/c1"})
    assert (is_held(cgroup), held(cgroup)) == (False, None)
    with pytest.raises(Unsupported, match="this host has no devices controller"):
        hold(cgroup, (NULL,))
    assert why_no_policy(Layout("v1", {"freezer": "/f"})) == "no devices controller"
    assert why_no_policy(Layout("hybrid", {"devices": "/d"})) == ""
