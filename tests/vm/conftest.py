"""Starts the machines when the session begins: they work beside the tests of this host."""

import pytest

from tests.support.features import why_not
from tests.vm.suite import Machines

_MACHINES = pytest.StashKey[Machines]()


class _Hurry:
    """Brings the second worker when what is left on this host holds nothing against the clock: as a plugin it hears of
    every test, not of those beside this file alone."""

    def __init__(self, machines: Machines, measuring: set[str]) -> None:
        self._machines, self._measuring = machines, measuring

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._measuring.discard(nodeid)
        if not self._measuring:
            self._machines.hurry()


def pytest_collection_finish(session: pytest.Session) -> None:
    names = [
        str(item.callspec.params["name"])
        for item in session.items
        if isinstance(item, pytest.Function) and "machines" in item.fixturenames
    ]
    if names and not session.config.option.collectonly and not why_not("vm"):
        machines = session.config.stash[_MACHINES] = Machines(names)
        measuring = {item.nodeid for item in session.items if item.get_closest_marker("measures")}
        session.config.pluginmanager.register(_Hurry(machines, measuring))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if machines := session.config.stash.get(_MACHINES, None):
        machines.close()


@pytest.fixture
def machines(request: pytest.FixtureRequest) -> Machines:
    """Those that the selected tests ask for; they work since the session began."""
    return request.config.stash[_MACHINES]
