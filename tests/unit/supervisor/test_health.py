"""Who waits for whom when containers do not answer."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.runtime.healthcheck import Check, Result
from pycontainer.spec.model import ContainerSpec
from pycontainer.supervisor import health as module
from pycontainer.supervisor.health import Health
from pycontainer.supervisor.probes import NoVerdict

PATHS = HostPaths("/nowhere")
SILENT, GOOD = Check("tcp", port=1, timeout_seconds=0.2), Check("tcp", port=2)
BAD, LOST = Check("tcp", port=3), Check("tcp", port=4)


async def ask_port(run: object, check: Check, addresses: Iterable[str]) -> str:
    if check.port == SILENT.port:
        await asyncio.Event().wait()
    if check.port == BAD.port:
        raise OSError(111, "nobody listens")
    if check.port == LOST.port:
        raise NoVerdict
    return "connected"


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> Health:
    monkeypatch.setattr(module, "ask_port", ask_port)
    monkeypatch.setattr(module, "_PLACES", 2)
    monkeypatch.setattr(module, "_SLOW_PLACES", 1)
    return Health(cast(Any, SimpleNamespace()))


async def ask(health: Health, name: str, check: Check) -> Result | None:
    container = Container(PATHS, name, ContainerSpec(name=name, image="x"), None, base=0x10000000, created=0.0)
    return await health._ask(container, cast(Any, None), check, cast(Any, None))


def test_answers(health: Health) -> None:
    async def all_of_them() -> list[Result | None]:
        return [await ask(health, check.describe(), check) for check in (GOOD, BAD, SILENT, LOST)]

    good, bad, silent, lost = asyncio.run(all_of_them())
    assert good is not None and good.is_good and good.output == "connected"
    assert bad is not None and not bad.is_good and bad.output == "nobody listens"
    assert silent is not None and not silent.is_good and silent.output == "no answer within 0.2 seconds"
    assert lost is None, "the monitor's death is not the container's fault"


def test_who_never_answers_keeps_nobody_else_waiting(health: Health) -> None:
    """RES-04: there are more of them than places; once each has been found out, one that answers has its place."""

    async def crowd() -> None:
        names = [str(number) for number in range(6)]
        await asyncio.gather(*(ask(health, name, SILENT) for name in names))
        waiting = [asyncio.create_task(ask(health, name, SILENT)) for name in names]
        await asyncio.sleep(0)
        found = await ask(health, "good", GOOD)
        assert found is not None and found.is_good
        assert not any(task.done() for task in waiting), "it did not wait for any of them"
        await asyncio.gather(*waiting)
        assert found.seconds < SILENT.timeout_seconds

    asyncio.run(crowd())


def test_who_answers_again_is_believed(health: Health) -> None:
    async def ask_twice() -> None:
        await ask(health, "a", SILENT)
        assert health._is_slow == {"a"}
        await ask(health, "a", GOOD)
        assert health._is_slow == set()

    asyncio.run(ask_twice())
