"""When a container can do its work, and when it never will."""

from typing import Any

import pytest

from pycontainer.hosting.rollout import _failure, _is_ready


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
