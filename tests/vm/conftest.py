"""Starts the machines when the session begins: they work beside the tests of this host."""

import pytest

from tests.support.features import why_not
from tests.vm.suite import Machines

_MACHINES = pytest.StashKey[Machines]()


def pytest_collection_finish(session: pytest.Session) -> None:
    names = [
        str(item.callspec.params["name"])
        for item in session.items
        if isinstance(item, pytest.Function) and "machines" in item.fixturenames
    ]
    if names and not session.config.option.collectonly and not why_not("vm"):
        session.config.stash[_MACHINES] = Machines(names)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if machines := session.config.stash.get(_MACHINES, None):
        machines.close()


@pytest.fixture
def machines(request: pytest.FixtureRequest) -> Machines:
    """Those that the selected tests ask for; they work since the session began."""
    return request.config.stash[_MACHINES]
