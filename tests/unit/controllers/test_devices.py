"""What a spec makes of the policy, and what happens where it cannot be held."""

import os
from pathlib import Path

import pytest

from pycontainer.cgroup import devices
from pycontainer.cgroup.devicefilter import Rule
from pycontainer.controllers import registry
from pycontainer.controllers.devices import DEFAULT, DevicesController, describe
from pycontainer.controllers.protocol import Instance
from pycontainer.errors import InvalidInput
from pycontainer.spec.model import ContainerSpec, Device
from tests.unit.cgroup.test_devices import DevicesCgroup
from tests.unit.controllers.fake import host

BASICS = [f"c {number} rw" for number in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "136:*")]
FULL = Device("/dev/full", "/dev/whole", "rwm")  # every host has it, and its number is known


def test_the_default_is_the_documented_list() -> None:
    assert [str(rule) for rule in DEFAULT] == BASICS


def test_nothing_is_allowed_by_default_but_the_basics() -> None:
    cgroup = DevicesCgroup()
    assert DevicesController().apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.list.splitlines() == BASICS


def test_privileged_opens_no_device() -> None:
    cgroup = DevicesCgroup()
    DevicesController().apply(Instance(cgroup), ContainerSpec(privileged=True))
    assert cgroup.list.splitlines() == BASICS


def test_a_grant_is_of_the_number_and_the_access_asked(tmp_path: Path) -> None:
    link = tmp_path / "by-name"
    link.symlink_to("/dev/full")
    cgroup, spec = DevicesCgroup(), ContainerSpec(devices=(Device(str(link), "/dev/x", "m"),))
    DevicesController().apply(Instance(cgroup), spec)
    assert [line for line in cgroup.list.splitlines() if line not in BASICS] == ["c 1:7 rwm"]
    assert describe(Instance(cgroup), spec) == describe(None, spec) == cgroup.list.splitlines()


def test_a_tenant_has_no_policy_of_its_own() -> None:
    cgroup = DevicesCgroup()
    assert DevicesController().apply(Instance(cgroup, is_tenant=True), ContainerSpec()) == []
    assert cgroup.written == []
    assert (
        DevicesController().validate(ContainerSpec(), host()._replace(for_tenant=True, why_no_device_policy="x")) == []
    )


def test_a_device_that_is_missing_or_none_at_all(tmp_path: Path) -> None:
    missing = ContainerSpec(devices=(FULL, Device(f"{tmp_path}/gone", "/dev/x")))
    with pytest.raises(InvalidInput, match=rf"device '{tmp_path}/gone' does not exist on this host"):
        DevicesController().apply(Instance(DevicesCgroup()), missing)
    wrong = ContainerSpec(devices=(Device(str(tmp_path), "/dev/x"),))
    with pytest.raises(InvalidInput, match=rf"'{tmp_path}' is not a device node"):
        DevicesController().apply(Instance(DevicesCgroup()), wrong)
    assert describe(None, missing) == [line if "1:7" not in line else "c 1:7 rwm" for line in BASICS]
    assert describe(None, wrong) == BASICS


def test_a_device_that_went_while_it_ran_is_taken_back(tmp_path: Path) -> None:
    cgroup = DevicesCgroup()
    devices.hold(cgroup, (*DEFAULT, Rule("c", 240, 0, "rw")))
    spec = ContainerSpec(devices=(Device(f"{tmp_path}/gone", "/dev/x", "rw"),))
    assert DevicesController().apply(Instance(cgroup), spec) == [
        f"device '{tmp_path}/gone' is gone from this host, and may not be used any more"
    ]
    assert cgroup.list.splitlines() == BASICS


def test_without_a_way_to_hold_it_nothing_starts_but_with_best_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = host("v1")._replace(why_no_device_policy="no devices controller")
    (problem,) = registry.validate(ContainerSpec(), lacking)
    assert problem.startswith("devices: this host cannot hold which devices are used: no devices controller; ")
    assert registry.validate(ContainerSpec(best_effort=True), lacking) == []

    cgroup = DevicesCgroup()
    cgroup._paths.clear()
    monkeypatch.setattr(registry, "controllers", lambda: (DevicesController(),))
    (warning,) = registry.apply(Instance(cgroup), ContainerSpec(best_effort=True))
    assert warning.startswith("devices is not limited as asked: cannot hold which devices are used")
    assert describe(Instance(cgroup), ContainerSpec()) == ["a *:* rwm"]


def test_the_numbers_of_the_nodes_that_each_container_has() -> None:
    """The policy allows what init/steps.py makes."""
    for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx"):
        number = os.stat(f"/dev/{name}").st_rdev
        assert Rule("c", os.major(number), os.minor(number), "rw") in DEFAULT
