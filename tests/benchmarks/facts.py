"""What the machine is and what runs on it besides: no figure means anything without."""

import os
import platform
import subprocess
import time
from typing import Any

from tests.support.images import CHECKOUT


def machine() -> dict[str, Any]:
    """Return the facts that stay the same during a run."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _commit(),
        "kernel": platform.release(),
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_bytes": int(_first("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        "python": platform.python_version(),
    }


def load() -> list[float]:
    """Return the load of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _commit() -> str:
    commit = _said("git", "-C", CHECKOUT, "rev-parse", "--short=12", "HEAD")
    return commit + (", with changes" if _said("git", "-C", CHECKOUT, "status", "--porcelain", "pycontainer") else "")


def _first(path: str, name: str) -> str:
    with open(path) as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith(name)), "unknown")


def _said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip()
