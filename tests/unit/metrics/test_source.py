"""Asking the supervisor: one request over a connection that is kept, over its restarts."""

import pytest

from pycontainer.errors import InvalidInput, NotPermitted, SupervisorUnavailable
from pycontainer.metrics.source import Supervisor
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor, HangUp

RESULT = {"containers": [{"id": "z"}], "tenants": [], "cgroup_version": 2, "supervisor": {}}


def answer(exchange: Exchange) -> object:
    exchange.event({"containers": [{"id": "a"}, {"id": "b"}]})
    exchange.event({"containers": [{"id": "c"}]})
    return RESULT


def test_all_pieces_of_an_answer() -> None:
    with FakeSupervisor({"metrics": answer}) as fake:
        supervisor = Supervisor(fake.paths)
        found = supervisor.ask()
        assert [row["id"] for row in found.containers] == ["a", "b", "c", "z"] and found.rest == RESULT
        supervisor.ask()
        supervisor.close()
        assert fake.requests == [("metrics", {})] * 2 and fake.connection_count == 1


def test_one_that_is_not_there_is_not_started() -> None:
    with FakeSupervisor() as fake:
        paths = fake.paths
    with pytest.raises(SupervisorUnavailable, match="not running"):
        Supervisor(paths).ask()


def test_a_supervisor_that_was_restarted() -> None:
    """The connection is lost between two requests, or in the midst of one: the next one asks the new supervisor."""
    replies = iter([answer, None, answer])

    def by_turns(exchange: Exchange) -> object:
        if (reply := next(replies)) is None:
            raise HangUp
        return reply(exchange)

    with FakeSupervisor({"metrics": by_turns}) as fake:
        supervisor = Supervisor(fake.paths)
        supervisor.ask()
        assert len(supervisor.ask().containers) == 4  # hung up on, and asked again
        assert fake.connection_count == 2
        supervisor.close()


def test_one_that_hangs_up_each_time() -> None:
    def hang_up(exchange: Exchange) -> object:
        raise HangUp

    with FakeSupervisor({"metrics": hang_up}) as fake:
        supervisor = Supervisor(fake.paths)
        for _ in range(2):
            with pytest.raises(SupervisorUnavailable, match="closed the connection"):
                supervisor.ask()


def test_one_that_does_not_answer() -> None:
    import threading

    end = threading.Event()

    def hang(exchange: Exchange) -> object:
        end.wait()
        raise HangUp

    with FakeSupervisor({"metrics": hang}) as fake:
        with pytest.raises(SupervisorUnavailable, match="gave no answer"):
            Supervisor(fake.paths, timeout_seconds=0.2).ask()
        end.set()


@pytest.mark.parametrize("error", [NotPermitted("user 5 may not"), InvalidInput("unknown verb 'metrics'")])
def test_its_errors_are_raised(error: Exception) -> None:
    def refuse(exchange: Exchange) -> object:
        raise error

    with FakeSupervisor({"metrics": refuse}) as fake:
        with pytest.raises(type(error), match=str(error)):
            Supervisor(fake.paths).ask()


@pytest.mark.parametrize("reply", [{}, {"containers": None}, []])
def test_an_answer_of_another_shape(reply: object) -> None:
    with FakeSupervisor({"metrics": lambda exchange: reply}) as fake:
        with pytest.raises(SupervisorUnavailable, match="gave no answer"):
            Supervisor(fake.paths).ask()
