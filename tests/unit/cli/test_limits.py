"""What `limits -q` leaves: what is near its limit, has failed or makes tasks wait."""

from typing import Any, cast

import pytest

from pycontainer.cli.commands.limits import _is_tight


@pytest.mark.parametrize(
    ("unit", "held", "limit", "more", "is_tight"),
    [
        ("bytes", 89, 100, {}, False),
        ("bytes", 90, 100, {}, True),
        ("tasks", 10, None, {}, False),
        ("cpus", 2, 2, {}, False),
        ("nodes", 1, 1, {}, False),
        ("nodes", 1, 1, {"fail_count": 1}, True),
        ("bytes", 50, 100, {"soft_limit": 40}, True),
        ("bytes", 10, 100, {"pressure": 9.9}, False),
        ("bytes", 10, 100, {"pressure": 10.0}, True),
        ("bytes", None, 100, {}, False),
    ],
)
def test_what_is_tight(unit: str, held: int | None, limit: int | None, more: dict[str, object], is_tight: bool) -> None:
    row = {"unit": unit, "held": held, "limit": limit, "soft_limit": None, "fail_count": 0, "pressure": None, **more}
    assert _is_tight(cast(Any, row)) is is_tight
