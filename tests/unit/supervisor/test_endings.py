"""The ends of runs, and who waits for one."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from pycontainer.runtime.container import Container
from pycontainer.supervisor.endings import Endings
from pycontainer.supervisor.world import World


@pytest.mark.parametrize("ends", [True, False])
def test_an_end_in_the_moment_in_which_the_time_is_over_is_one(ends: bool) -> None:
    """Who is told otherwise sends a signal to a descriptor that is closed, and may be another run's by now."""

    async def wait() -> bool:
        endings = Endings(cast(World, SimpleNamespace()))
        endings._exits["one"] = event = asyncio.Event()
        if ends:
            asyncio.get_running_loop().call_soon(event.set)
        return await endings.wait_exit(cast(Container, SimpleNamespace(id="one")), 0)

    assert asyncio.run(wait()) is ends
