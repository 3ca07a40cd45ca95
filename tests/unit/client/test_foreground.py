"""`stay`: until a container has ended for good."""

import contextlib

import pytest

from pycontainer import Client
from pycontainer.errors import NotFound, PycontainerError
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor, HangUp, container_info

ID = container_info()["id"]
NEWS = {"id": ID, "type": "die"}


class Life:
    """What a supervisor answers: one status for each look; before each, an event was told."""

    def __init__(self, *statuses: str, hang_up_after: int = -1) -> None:
        self.statuses = list(statuses)
        self.hang_up_after = hang_up_after
        self.listens = 0
        self.started = 2.0

    def list(self, exchange: Exchange) -> object:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == "gone":
            return []
        exit_code = 143 if status == "stopped" else None
        return [container_info(status=status, started=self.started, exit_code=exit_code)]

    def events(self, exchange: Exchange) -> object:
        self.listens += 1
        exchange.event({"type": "listening"})
        for _ in range(8):
            exchange.event({"id": "another", "type": "die"})
            exchange.event(NEWS)
            if self.listens == self.hang_up_after:
                raise HangUp
        with contextlib.suppress(ConnectionError):
            exchange.sock.recv(1)
        raise HangUp


def supervisor(life: Life) -> FakeSupervisor:
    return FakeSupervisor(
        {
            "inspect": lambda exchange: {"id": ID},
            "list": life.list,
            "events": life.events,
            "start": lambda exchange: container_info(),
        }
    )


def stay(fake: FakeSupervisor) -> tuple[int, list[str]]:
    told: list[str] = []
    with Client(root=fake.root) as host:
        code = host.container("web").stay(lambda: told.append("started"))
    return code, told


def starts(fake: FakeSupervisor) -> int:
    return sum(verb == "start" for verb, _ in fake.requests)


@pytest.mark.parametrize(("first", "count"), [("created", 1), ("stopped", 1), ("running", 0), ("restarting", 0)])
def test_it_is_started_unless_it_runs(first: str, count: int) -> None:
    life = Life("created", first, "running", "restarting", "running", "stopped")  # the first look is for its name
    with supervisor(life) as fake:
        assert stay(fake) == (143, ["started"])
        assert starts(fake) == count


def test_a_supervisor_that_goes_away_ends_nothing() -> None:
    life = Life("created", "created", "running", "running", "running", "running", "stopped", hang_up_after=1)
    with supervisor(life) as fake:
        assert stay(fake) == (143, ["started"])
        assert (life.listens, starts(fake)) == (2, 1)


def test_a_start_whose_answer_is_lost_is_not_repeated() -> None:
    life = Life("created", "created", "stopped")

    def start(exchange: Exchange) -> object:
        life.started = 3.0
        raise HangUp

    with supervisor(life) as fake:
        fake.verbs["start"] = start
        assert stay(fake) == (143, ["started"])
        assert starts(fake) == 1


def test_one_that_is_removed_has_no_exit_code() -> None:
    with (
        supervisor(Life("running", "running", "running", "gone")) as fake,
        pytest.raises(PycontainerError, match="could not"),
    ):
        stay(fake)
    with supervisor(Life("running", "gone")) as fake, pytest.raises(NotFound):
        stay(fake)
