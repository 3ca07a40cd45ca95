"""Controllers are found, ordered and loaded; one that cannot be loaded is an error."""

import pytest

from pycontainer.controllers import registry
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import host

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
    assert [controller.name for controller in registry.controllers()][:4] == ["memory", "cpu", "cpuset", "pids"]
    assert registry.controllers() is registry.controllers()
    spec = ContainerSpec(memory_bytes=1, cpu_quota_usec=1, cpuset_cpus="9", pids_max=0)
    assert [problem.partition(":")[0] for problem in registry.validate(spec, host())] == [
        "memory", "cpus", "cpuset_cpus", "pids",
    ]
