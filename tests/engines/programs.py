"""What the containers of engines run, and waiting for what they write."""

from typing import Protocol

from tests.support.poll import poll_until

FOREVER = ("payload", "sleep", "0")
# A first process that ends by itself when it is asked to; `wait` lets the trap run at once.
WAITS = "trap 'echo asked; exit 7' TERM; trap 'echo poked' USR1; echo ready; while :; do sleep 60 & wait; done"


class _Engine(Protocol):
    def ok(self, *arguments: str) -> str: ...


def logs_soon(engine: _Engine, name: str, text: str) -> None:
    poll_until(lambda: text in engine.ok("logs", name), what=f"{name} writes {text!r}", interval_seconds=0.1)
