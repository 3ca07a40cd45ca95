"""When a container can do its work, when it never will, and in which order its limits change."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.errors import Unsupported
from pycontainer.hosting.rollout import Rollout, _failure, _is_ready


def record(**differs: Any) -> dict[str, Any]:
    fields = {"status": "running", "health": "", "exit_code": None, "restart": "always", "restart_count": 0}
    return {**fields, **differs}


@pytest.mark.parametrize(
    ("differs", "lasted_seconds", "is_ready", "failure"),
    [
        ({"health": "healthy"}, 0.0, True, ""),
        ({"health": "starting"}, 10.0, False, ""),
        ({"health": "starting"}, 90.0, False, "did not become healthy within 90 seconds"),
        ({"health": "unhealthy"}, 1.0, False, "is unhealthy"),
        ({"health": "ready"}, 2.0, True, ""),
        ({}, 0.1, False, ""),  # nobody asks it: it has to last a second
        ({}, 1.1, True, ""),
        ({"status": "paused"}, 0.1, True, ""),
        ({"status": "restarting", "restart_count": 1, "exit_code": 3}, 1.0, False, ""),
        (
            {"status": "restarting", "restart_count": 3, "exit_code": 3},
            1.0,
            False,
            "ends again and again, with exit code 3",
        ),
        ({"restart_count": 7, "health": "starting"}, 1.0, False, ""),  # of an earlier week, perhaps
        ({"status": "stopped", "exit_code": 0, "restart": "on-failure:3"}, 1.0, True, ""),
        ({"status": "stopped", "exit_code": 1, "restart": "on-failure:3"}, 1.0, False, "ended with exit code 1"),
        ({"status": "stopped", "exit_code": 0}, 1.0, False, "ended with exit code 0"),
        ({"status": "created"}, 90.0, False, "did not become healthy within 90 seconds"),
    ],
)
def test_ready_or_never(differs: dict[str, Any], lasted_seconds: float, is_ready: bool, failure: str) -> None:
    found = record(**differs)
    assert _is_ready(found, lasted_seconds) is is_ready
    if not is_ready:
        assert _failure(found, lasted_seconds, 90) == failure


def test_a_disk_that_cannot_shrink_leaves_no_other_limit_unset() -> None:
    """It comes last, and its refusal says what helps; that of another limit does not advise to delete anything."""
    asked: list[dict[str, Any]] = []

    def change(**values: Any) -> dict[str, Any]:
        asked.append(values)
        if values.keys() & {"disk", "io_weight"}:
            raise Unsupported("no", hint="grow it", feature="disk")
        return {"warnings": []}

    client = SimpleNamespace(container=lambda container_id: SimpleNamespace(set=change))
    rollout = Rollout(cast(Any, client), "h", None, threading.Semaphore(), lambda *_: None, lambda *_: None)
    site = cast(Any, SimpleNamespace(path="acme/shop"))
    with pytest.raises(Unsupported) as caught:
        rollout.set(site, "c1", {"disk": "1G", "memory": "64M", "pids": 10})
    assert asked == [{"memory": "64M", "pids": 10}, {"disk": "1G"}]
    assert caught.value.hint == "grow it; to have it made anew: pycontainer rm --force c1, then up again"
    with pytest.raises(Unsupported) as caught:
        rollout.set(site, "c1", {"io_weight": 10})
    assert caught.value.hint == "grow it"
