"""Controllers are found, ordered and loaded; one that cannot be loaded is an error."""

import errno

import pytest

from pycontainer.controllers import registry
from pycontainer.controllers.memory import MemoryController
from pycontainer.controllers.pids import PidsController
from pycontainer.controllers.protocol import Instance
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import FakeCgroup, host

OURS = {
    "pids": "pycontainer.controllers.pids:PidsController",
    "memory": "pycontainer.controllers.memory:MemoryController",
}


class Extra:
    """A controller of somebody else's."""

    name = "extra"


def test_ours_come_first_and_others_by_name() -> None:
    target = f"{__name__}:Extra"
    loaded = registry.load({"zeta": target, "alpha": target} | OURS)
    names = [type(controller).__name__ for controller in loaded]
    assert names == ["MemoryController", "PidsController", "Extra", "Extra"]


@pytest.mark.parametrize("target", ["no.such.module:X", f"{__name__}:Missing", f"{__name__}:"])
def test_one_that_cannot_be_loaded(target: str) -> None:
    with pytest.raises(Unsupported, match="cannot load the resource controller 'extra'") as caught:
        registry.load({"extra": target})
    assert caught.value.feature == "extra"


def test_the_built_in_ones_are_there_and_all_validate() -> None:
    assert [controller.name for controller in registry.controllers()][:4] == ["memory", "cpu", "cpuset", "cpuset_mems"]
    assert registry.controllers() is registry.controllers()
    spec = ContainerSpec(memory_bytes=1, cpu_quota_usec=1, cpuset_cpus="9", pids_max=0)
    assert [problem.partition(":")[0] for problem in registry.validate(spec, host())] == [
        "memory",
        "cpus",
        "cpuset_cpus",
        "pids",
    ]


def test_a_limit_that_no_controller_knows() -> None:
    assert registry.validate(ContainerSpec(limits=(("idle", "yes"),)), host()) == [
        "limit idle: no controller has this name; no package with more controllers is installed"
    ]


class Refusing(PidsController):
    """A controller whose limit the kernel refuses, and which cannot give it back."""

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        raise OSError(errno.EINVAL, "write '7': invalid argument", "pids.max")

    def release(self, instance: Instance) -> None:
        raise OSError(errno.EBUSY, "busy")


class Warning(MemoryController):
    """A controller that says what it holds less than it may seem, and notes that it was released."""

    released = 0

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        return ["swap is not capped"]

    def release(self, instance: Instance) -> None:
        Warning.released += 1


def test_best_effort_turns_a_refusal_into_a_warning_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "controllers", lambda: (Refusing(), Warning()))
    instance = Instance(FakeCgroup(2, {}))
    with pytest.raises(OSError, match="write '7'"):
        registry.apply(instance, ContainerSpec())
    assert registry.apply(instance, ContainerSpec(best_effort=True)) == [
        "pids is not limited as asked: write '7': invalid argument",
        "swap is not capped",
    ]
    with pytest.raises(OSError, match="busy"):
        registry.release(instance)
    assert Warning.released == 1
