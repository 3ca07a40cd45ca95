"""The firewall stays as it was written: whoever else flushes or edits it, it is back before a second is over.

The kernel says when somebody has changed nftables (net/rulesetwatch.py), us included: its messages are read in bunches, not
amid the starts that cause most of them. If another process touched a table of ours, the tables are compared with what is
remembered, and replaced as a whole if they differ. A tool that changes them again and again is answered at most five
times a second, and every half minute it is looked whether a message was lost.
"""

import asyncio
from collections.abc import Callable

from pycontainer.net.manager import NetworkManager
from pycontainer.supervisor import log

_PAUSE_SECONDS = 0.2
_BUNCH_SECONDS = 0.05
_LOOK_SECONDS = 30.0


class WallWatch:
    """Calls `repaired` with what was wrong and the name of the process that did it, after it was put right."""

    def __init__(self, networks: NetworkManager, repaired: Callable[[str, str], None]) -> None:
        """Raises OSError where the kernel has no nftables; then there is no firewall of ours to watch either."""
        self._networks, self._repaired = networks, repaired
        self._loop = asyncio.get_running_loop()
        self._watch = networks.watch()
        self._culprit = ""
        self._next_repair = 0.0
        self._pending: asyncio.TimerHandle | None = None
        self._bunch: asyncio.TimerHandle | None = None
        self._listen()
        self._look = self._loop.call_later(_LOOK_SECONDS, self._look_again)

    def close(self) -> None:
        self._look.cancel()
        if self._bunch is not None:
            self._bunch.cancel()
        if self._pending is not None:
            self._pending.cancel()
        self._loop.remove_reader(self._watch.fileno())
        self._watch.close()

    def _listen(self) -> None:
        self._bunch = None
        self._loop.add_reader(self._watch.fileno(), self._first_heard)

    def _first_heard(self) -> None:
        self._loop.remove_reader(self._watch.fileno())
        self._bunch = self._loop.call_later(_BUNCH_SECONDS, self._heard_bunch)

    def _heard_bunch(self) -> None:
        self._heard()
        self._listen()

    def _heard(self) -> None:
        self._soon(self._watch.heard())

    def _look_again(self) -> None:
        self._look = self._loop.call_later(_LOOK_SECONDS, self._look_again)
        self._heard()
        if self._watch.missed():
            self._soon("somebody")

    def _soon(self, culprit: str) -> None:
        if not culprit:
            return
        self._culprit = culprit
        if self._pending is None:
            self._pending = self._loop.call_at(max(self._loop.time(), self._next_repair), self._repair)

    def _repair(self) -> None:
        self._pending = None
        self._next_repair = self._loop.time() + _PAUSE_SECONDS
        try:
            harm = self._networks.repair()
        except OSError as error:
            log.say(f"cannot repair the firewall after '{self._culprit}': {error.strerror}")
            self._pending = self._loop.call_later(_PAUSE_SECONDS * 5, self._repair)
            return
        if harm:
            self._repaired(harm, self._culprit)
