"""A handler that fails is called again, until it has failed a hundred times in a row."""

import os
import select

import pytest

from pycontainer.monitor.poller import Poller


class Source:
    """A descriptor that always has something to say, and a handler that fails as it is told."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.fd, self._writer = os.pipe()
        os.write(self._writer, b"x")
        self.calls, self.fails = 0, True
        self.poller.add(self.fd, select.EPOLLIN, self._handle)

    def _handle(self, events: int) -> None:
        self.calls += 1
        if self.fails:
            raise OSError("of this one")

    def poll(self, times: int) -> int:
        """Return how often the handler was called."""
        before = self.calls
        for _ in range(times):
            self.poller.wait(0)
        return self.calls - before


def test_what_always_fails_is_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    source = Source()
    assert source.poll(150) == 100
    assert "OSError: of this one" in capfd.readouterr().err


def test_failures_of_years_do_not_add_up(capfd: pytest.CaptureFixture[str]) -> None:
    """The supervisor's own descriptor would be given up with them."""
    source = Source()
    for _ in range(3):
        source.fails = True
        assert source.poll(99) == 99
        source.fails = False
        assert source.poll(1) == 1
