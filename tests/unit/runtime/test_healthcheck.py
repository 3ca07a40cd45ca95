"""What a container is asked, and what its answers amount to."""

import pytest

from pycontainer.runtime.healthcheck import HEALTHY, MOST_SECONDS, STARTING, UNHEALTHY, Check, Record, Result, check_of
from pycontainer.spec.model import ContainerSpec

GOOD, BAD = Result(True, "", 1764000000.0, 0.1), Result(False, "exit code 1", 1764000000.0, 0.1)


def image(**health: object) -> dict[str, object]:
    return {"healthcheck": {"test": ["CMD", "up"], **health}}


@pytest.mark.parametrize(
    ("spec", "config", "check"),
    [
        (ContainerSpec(), {}, None),
        (ContainerSpec(), {"healthcheck": {}}, None),
        (ContainerSpec(), {"healthcheck": {"test": ["NONE"]}}, None),
        (ContainerSpec(), {"healthcheck": {"test": ["CMD"]}}, None),
        (ContainerSpec(), {"healthcheck": {"test": ["CMD-SHELL"]}}, None),
        (ContainerSpec(), {"healthcheck": {"test": ["MAGIC", "x"]}}, None),
        (ContainerSpec(), image(), Check("command", ("up",))),
        (
            ContainerSpec(),
            {"healthcheck": {"test": ["CMD-SHELL", "a | b"]}},
            Check("command", ("/bin/sh", "-c", "a | b")),
        ),
        (ContainerSpec(health_cmd=("NONE",)), image(), None),
        (ContainerSpec(health_cmd=("CMD", "own")), image(retries=7), Check("command", ("own",), retries=7)),
        (ContainerSpec(health_tcp=5432), image(), Check("tcp", port=5432)),
        (ContainerSpec(health_http="80/up/x"), {}, Check("http", port=80, path="/up/x")),
        (
            ContainerSpec(health_interval_seconds=7, health_start_period_seconds=0),
            image(interval_seconds=60, timeout_seconds=2.5, start_period_seconds=9, start_interval_seconds=3),
            Check("command", ("up",), 0, "", 7, 2.5, 3, 0, 3),
        ),
        (  # an image may ask for anything
            ContainerSpec(),
            image(interval_seconds=1e-9, timeout_seconds=1e9, retries=10**9, start_period_seconds=1e9),
            Check("command", ("up",), 0, "", 1, MOST_SECONDS, 1000, MOST_SECONDS),
        ),
    ],
)
def test_which_check(spec: ContainerSpec, config: dict[str, object], check: Check | None) -> None:
    assert check_of(spec, config) == check


def statuses(check: Check, answers: list[tuple[float, Result]]) -> list[str]:
    """Return the status after each answer, which comes so many seconds after the start."""
    record, found = Record(STARTING), []
    for up_seconds, result in answers:
        before = record.status
        assert record.take(result, check, up_seconds=up_seconds) is (record.status != before)
        found.append(record.status)
    return found


def test_failures_in_a_row() -> None:
    check = Check("tcp", retries=2)
    answers = [(1.0, BAD), (2.0, GOOD), (3.0, BAD), (4.0, GOOD), (5.0, BAD), (6.0, BAD), (7.0, BAD), (8.0, GOOD)]
    assert statuses(check, answers) == [
        STARTING, HEALTHY, HEALTHY, HEALTHY, HEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY,
    ]  # fmt: skip


def test_in_the_start_period_failures_do_not_count_until_it_was_well_once() -> None:
    check = Check("tcp", retries=1, start_period_seconds=10)
    assert statuses(check, [(1.0, BAD), (9.9, BAD), (10.0, BAD)]) == [STARTING, STARTING, UNHEALTHY]
    assert statuses(check, [(1.0, BAD), (2.0, GOOD), (3.0, BAD)]) == [STARTING, HEALTHY, UNHEALTHY]


def test_how_often() -> None:
    check = Check("tcp", interval_seconds=60, start_period_seconds=10, start_interval_seconds=2)
    record = Record(STARTING)
    assert [record.next_delay(check, up_seconds=seconds) for seconds in (0.0, 9.9, 10.0)] == [2, 2, 60]
    record.take(GOOD, check, up_seconds=3.0)
    assert record.next_delay(check, up_seconds=4.0) == 60


def test_only_the_last_answers_are_kept() -> None:
    record = Record(STARTING)
    for number in range(100):
        record.take(Result(True, str(number), 0.0, 0.0), Check("tcp"), up_seconds=number)
    assert [one.output for one in record.results] == ["95", "96", "97", "98", "99"]
