"""What is told of a request, to whom, and what is followed to its end."""

import pytest

from pycontainer import trace
from pycontainer.errors import NotFound
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import Caller, calling
from pycontainer.supervisor.tracing import TracedRequest, Traces
from pycontainer.trace import recording, step

ACME, BETA = Caller("acme"), Caller("beta")


async def unused(event: object, fds: list[int]) -> None:
    raise AssertionError


def request(*, is_traced: bool = True) -> TracedRequest:
    call = Call("start", {}, [], unused)
    call.is_traced = is_traced
    return TracedRequest(call)


def told(traced: TracedRequest) -> dict[str, object]:
    found = traced.told()["trace"]
    assert isinstance(found, dict)
    return found


def names(spans: object) -> list[str]:
    assert isinstance(spans, list)
    return [name for _, name, _, _ in spans]


def started(traces: Traces, container_id: str) -> str:
    traced = request()
    with traced:
        traces.follow(container_id)
    return str(told(traced)["token"])


def test_a_request_that_is_not_traced() -> None:
    traces, traced = Traces(), request(is_traced=False)
    outer = trace.Recorder("supervisor")
    with recording(outer), traced:
        step("x")
        traces.follow("a")
    outer.close()
    assert (traced.told(), outer.spans, trace.recorders) == ({}, [], 0)
    with traces.ending("a", [["monitor", "x", 1, 2]]):
        assert trace.current() is None


def test_what_a_reply_says() -> None:
    traced = request()
    with pytest.raises(NotFound), traced:
        step("start:cgroup")
        raise NotFound("x")
    assert names(told(traced)["spans"]) == ["start:cgroup", "start"]
    assert (told(traced)["lost"], told(traced)["token"], trace.recorders) == (0, "", 0)


def test_the_end_of_a_run_is_told_once_to_who_began_it() -> None:
    traces = Traces()
    with calling(ACME):
        token = started(traces, "a")
    with traces.ending("a", [["monitor", "monitor:reaped", 1, 2]]):
        step("end:heard")
    step("not of the end")
    for other in (None, BETA):
        with calling(other), pytest.raises(NotFound):
            traces.take(token)
    with calling(ACME):
        with pytest.raises(NotFound):
            traces.take("0" * 32)
        found = traces.take(token)
        assert names(found["spans"]) == ["monitor:reaped", "end:heard"]
        with pytest.raises(NotFound):
            traces.take(token)
    assert trace.recorders == 0


def test_an_end_that_is_heard_during_anothers_request_is_not_in_his_trace() -> None:
    """The callback that hears of ends runs in the context of whoever connected to the monitor."""
    traces, traced = Traces(), request()
    token = started(traces, "followed")
    with traced:
        with traces.ending("somebody's", None):
            step("end:heard")
        with traces.ending("followed", None):
            step("end:over")
    assert names(told(traced)["spans"]) == ["start"]
    assert names(traces.take(token)["spans"]) == ["end:over"]


def test_a_restart_is_followed_over_both_runs() -> None:
    traces, traced = Traces(), request()
    with traced:
        traces.follow("a")
        with traces.ending("a", None):
            step("end:over")
        traces.follow("a")
    with traces.ending("a", None):
        step("end:heard")
    traces.follow("a")  # by its policy, which nobody traces
    assert names(traces.take(str(told(traced)["token"]))["spans"]) == ["end:over", "end:heard"]


def test_so_many_runs_of_each_tenant_are_followed() -> None:
    traces = Traces()
    with calling(BETA):
        of_beta = started(traces, "beta")
    with calling(ACME):
        tokens = [started(traces, f"a{number}") for number in range(40)]
        assert trace.recorders == 17
        for token in tokens[:24]:
            with pytest.raises(NotFound):
                traces.take(token)
        for token in tokens[24:]:
            traces.take(token)
    with calling(BETA):
        traces.take(of_beta)
    assert trace.recorders == 0
