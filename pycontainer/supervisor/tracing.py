"""What a client learns of where the time of its request went: the steps, here and in the monitor, and how long each took.

    {"verb": .., "args": .., "trace": true}   ──▶   recorded while the verb runs (pycontainer/trace.py)
                                              ◀──   {"result" or "error": .., "trace": {spans, lost, token}}
    {"verb": "trace", "args": {token}}        ──▶
                                              ◀──   the same, of how the runs of that token ended

How a run ends is heard, not asked for. One that a traced request began, or had end, is followed: the spans of its end are
kept for who shows the token, that only the reply to that request has told. Some runs of each tenant are followed, the
newest; a tenant's user gets no other's, whatever he shows.
"""

import os
from typing import NamedTuple

from pycontainer.errors import NotFound
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import Caller, current_caller
from pycontainer.trace import Recorder, Span, current, recording, span

_MOST_OF_A_TENANT = 16  # runs that are followed; the host's own are as one more tenant's


class _Traced(Recorder):
    """What is recorded of one request; the token is for what follows from it, if something does."""

    __slots__ = ("is_followed", "token")

    def __init__(self) -> None:
        super().__init__("supervisor")
        self.token = os.urandom(16).hex()
        self.is_followed = False

    def to_wire(self) -> dict[str, object]:
        return {"spans": self.spans, "lost": self.lost, "token": self.token if self.is_followed else ""}


class TracedRequest:
    """Records one request, if its client wants that: the block is the work."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._recorder: _Traced | None = None
        self._work = recording(None)

    def __enter__(self) -> None:
        if self._call.is_traced:
            self._recorder = _Traced()
            self._work = span(self._call.verb, self._recorder)
        self._work.__enter__()

    def __exit__(self, *_: object) -> None:
        self._work.__exit__()
        if self._recorder is not None:
            self._recorder.close()

    def told(self) -> dict[str, object]:
        """Return what the reply says of it."""
        return {"trace": self._recorder.to_wire()} if self._recorder is not None else {}


class _Followed(NamedTuple):
    """A run: for whom it is followed, the token to show, and what is recorded of its end."""

    tenant: str
    token: str
    recorder: Recorder


class Traces:
    """The runs of one world that are followed to their end."""

    def __init__(self) -> None:
        self._runs: dict[str, _Followed] = {}  # by container, oldest first

    def follow(self, container_id: str) -> None:
        """Follow the run that the present request is about to begin or to end, if that is traced."""
        recorder = current()
        if not isinstance(recorder, _Traced):
            return
        if container_id in self._runs and self._runs[container_id].token == recorder.token:
            return  # `restart` ends one and begins another
        self._forget(container_id)
        tenant = _tenant(current_caller())
        same = [known for known, run in self._runs.items() if run.tenant == tenant]
        for known in same[: max(0, len(same) + 1 - _MOST_OF_A_TENANT)]:
            self._forget(known)
        recorder.is_followed = True
        self._runs[container_id] = _Followed(tenant, recorder.token, Recorder("supervisor"))

    def ending(self, container_id: str, told: object) -> recording:
        """Record the block, which is about the end of that container's run; the monitor `told` of its share.

        If it is not followed nobody records: who hears of an end may do that on behalf of another's request.
        """
        run = self._runs.get(container_id)
        if run is None:
            return recording(None)
        run.recorder.add_told(told)
        return recording(run.recorder)

    def take(self, token: str) -> dict[str, object]:
        """Return what is known by now of the runs that the request of `token` began, and follow them no more."""
        tenant = _tenant(current_caller())
        mine = [known for known, run in self._runs.items() if (run.token, run.tenant) == (token, tenant)]
        if not mine:
            raise NotFound(
                "no run is followed for that token", hint="it was asked for already, or others came after it"
            )
        spans: list[Span] = []
        lost = 0
        for known in mine:
            spans += self._runs[known].recorder.spans
            lost += self._runs[known].recorder.lost
            self._forget(known)
        return {"spans": spans, "lost": lost}

    def _forget(self, container_id: str) -> None:
        run = self._runs.pop(container_id, None)
        if run is not None:
            run.recorder.close()


def _tenant(caller: Caller | None) -> str:
    return caller.tenant if caller is not None else ""
