"""What `doctor` finds in a world, and that it puts it right."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.support.world import World

GONE = "0123456789ab"  # a container that never was


def look(world: World, *options: str) -> list[dict[str, Any]]:
    """Return the findings; the exit code must agree with them."""
    result = world.cli("doctor", "--storage", "--format", "json", *options)
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    assert result.exit_code == (1 if any(not finding["repaired"] for finding in found) else 0), result
    return found


def kinds(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(finding["kind"], finding["where"]) for finding in found]


def make_old(path: str | Path) -> None:
    os.utime(path, (time.time() - 3600,) * 2)


def check(world: World, kind: str, where: str) -> None:
    """See that exactly this is found, then repaired, then no more."""
    assert kinds(look(world)) == [(kind, where)]
    fixed = look(world, "--fix")
    assert [(finding["kind"], finding["repaired"], finding["error"]) for finding in fixed] == [(kind, True, "")]
    assert look(world) == []
