"""Copies of and looks through what tenants have written, each by a process of its own (tree_worker.py), for a limited time.

A tenant chooses how deep, how wide and how linked a tree is: what that costs must not be the supervisor's. All of it blocks,
and is called in a thread.
"""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from pycontainer.errors import PycontainerError, from_wire
from pycontainer.runtime.worker import command

COPY_SECONDS, DIFF_SECONDS = 6 * 3600.0, 600.0


def copy(from_fd: int, to_fd: int) -> None:
    """Copy a directory into an empty one, as copy_tree does; OSError, and PycontainerError if it takes too long."""
    _work("copy", (from_fd, to_fd), COPY_SECONDS)


def changed(layers: Sequence[int], base_fd: int) -> list[tuple[str, str]]:
    """Return what `diff.changes` does."""
    found = _work("diff", (base_fd, *layers), DIFF_SECONDS)["changes"]
    return [(kind, path) for kind, path in found]


def compared(tree_fd: int, base_fd: int) -> list[tuple[str, str]]:
    """Return what a tree that was copied from `base_fd` has changed, as `changed` does."""
    found = _work("compare", (base_fd, tree_fd), COPY_SECONDS)["changes"]
    return [(kind, path) for kind, path in found]


def write_upper(tree_fd: int, base_fd: int, target_fd: int) -> bool:
    """Write that into the empty directory `target_fd`, as an overlay's upper directory; tell whether there is anything."""
    return bool(_work("upper", (base_fd, tree_fd, target_fd), COPY_SECONDS)["is_changed"])


def _work(what: str, fds: Sequence[int], seconds: float) -> dict[str, Any]:
    try:
        done = subprocess.run(
            command("tree_worker", what, *map(str, fds)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=fds,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PycontainerError(
            f"the {what} of what the container has written took longer than {seconds:g} seconds"
        ) from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise PycontainerError(f"the {what} ended without a result (exit {done.returncode})") from error
    if "error" in answer:
        raise from_wire(answer["error"])
    if "errno" in answer:
        raise OSError(answer["errno"], answer["text"])
    return answer
