"""How a run ended, from the wait status of its first process."""

import signal

import pytest

from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.spec.model import ContainerSpec


@pytest.mark.parametrize(
    ("wait_status", "exit_code", "rebooting"),
    [
        (0, 0, False),
        (3 << 8, 3, False),
        (signal.SIGKILL, 137, False),
        (signal.SIGINT, 0, False),  # something inside powered off
        (signal.SIGHUP, 0, True),
        (129 << 8, 129, False),  # a program's own code, which a shell would also show for SIGHUP
    ],
)
def test_how_it_ended(wait_status: int, exit_code: int, rebooting: bool) -> None:
    container = Container(HostPaths("/nowhere"), "c1", ContainerSpec(), None, base=65536, created=0)
    container.ended(wait_status)
    assert (container.exit_code, container.rebooting) == (exit_code, rebooting)
