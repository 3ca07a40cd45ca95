"""What one client hears of the events: those that it has missed, from the journal, and then those that come.

A client that reads more slowly than things happen costs us no memory: beyond some thousands of events that wait for it, the
journal is read again from where it is.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from pycontainer.errors import InvalidInput
from pycontainer.runtime.container import now
from pycontainer.supervisor.events import Events
from pycontainer.supervisor.journal import Event
from pycontainer.units import shown

FILTERS = ("type", "container", "tenant")
_MAX_WAITING = 4096
MAX_SECONDS, MAX_CURSOR = 253402300800.0, float(1 << 53)  # the year 10000; what every JSON reader can count to
_LEAST_PREFIX = 4
_HEX = frozenset("0123456789abcdef")


class Scope(NamedTuple):
    """What a tenant's user may hear of: events of the tenant, since there is this one of its name."""

    tenant: str
    since: float

    def holds(self, event: Event) -> bool:
        return event.get("tenant") == self.tenant and event["time"] >= self.since


class Wanted(NamedTuple):
    """What a client asked for; an empty filter lets everything pass, else one of its values has to fit."""

    after: int | None  # a cursor: the number of the last event that the client has seen
    since: float | None  # seconds since the epoch
    until: float | None
    follows: bool
    types: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()  # names and ids
    tenants: frozenset[str] = frozenset()
    scope: "Scope | None" = None

    def matches(self, event: Event, *, at_any_time: bool = False) -> bool:
        """Tell whether the client wants this event, and may hear of it."""
        if self.scope is not None and not self.scope.holds(event):
            return False
        if self.types and event["type"] not in self.types:
            return False
        if self.tenants and event.get("tenant") not in self.tenants:
            return False
        if self.containers and not self._is_of(event):
            return False
        when = event["time"]
        return at_any_time or (self.since is None or when >= self.since) and (self.until is None or when <= self.until)

    def may_match(self, line: bytes) -> bool:
        """Tell the same of a line of the journal, as far as it can be told without reading it: quick, in a thread."""
        own = frozenset() if self.scope is None else frozenset({self.scope.tenant})
        return all(
            any(json.dumps(value).encode() in line for value in values)
            for values in (self.types, self.tenants, own)
            if values
        ) and (not self.containers or any(value.encode() in line for value in self.containers))

    def _is_of(self, event: Event) -> bool:
        if not self.containers.isdisjoint((event.get("name"), event.get("old_name"))):
            return True
        container_id = str(event.get("id", ""))
        return any(value == container_id or _is_prefix(value, container_id) for value in self.containers)


def wanted(
    names: Mapping[str, str],
    asked: Mapping[str, object],
    *,
    after: float | None,
    since: float | None,
    until: float | None,
    follows: bool,
    scope: Scope | None = None,
) -> Wanted:
    """Check what a request asks for. A container that there is is known by its id, too, by `names`: others had its name."""
    filters: dict[str, frozenset[str]] = {}
    for key, values in asked.items():
        if key not in FILTERS:
            raise InvalidInput(f"unknown filter {shown(key)}", field="filter", hint="one of " + ", ".join(FILTERS))
        given = values if isinstance(values, list) else [values]
        texts = [value for value in given if isinstance(value, str) and value.isascii()]
        if len(texts) < len(given):
            raise InvalidInput(f"filter {key}: {shown(values)} is neither text nor a list of it", field="filter")
        filters[key] = frozenset(texts)
    containers = filters.get("container", frozenset())
    if after is not None and (after < 0 or after != int(after)):
        raise InvalidInput(f"'after' is the number of an event, not {after:g}", field="after")
    return Wanted(
        None if after is None else int(after),
        since,
        until,
        follows,
        filters.get("type", frozenset()),
        containers | {names[name] for name in containers if name in names},
        filters.get("tenant", frozenset()),
        scope,
    )


async def stream(
    events: Events,
    asked: Wanted,
    send: Callable[[Event], Awaitable[None]],
    at_rest: Callable[[int | None], None] = lambda cursor: None,
    *,
    goes_on: bool = False,
) -> int:
    """Send what was asked for, old and new; return the cursor where it ended, if it does.

    `at_rest` hears the cursor whenever all is told, and None before there is more to tell. `goes_on`: the client has
    been listening already, to a supervisor before us.
    """
    waiting = _Waiting()
    with events.listening(waiting.put):
        cursor = events.last
        if asked.after is not None:
            if asked.after > cursor:
                raise InvalidInput(
                    f"there is no event {asked.after} yet, the newest is {cursor}",
                    hint="a number is that of the last event you have seen; write a time as 10m or 2026-11-26T08:00",
                    field="since",
                )
            cursor = asked.after
        elif asked.since is not None:
            cursor = 0
        if not goes_on:
            await send({"type": "listening", "cursor": cursor})
        at_rest(None)
        known = cursor if goes_on else events.last
        has_begun = asked.since is None or asked.since <= now()
        seconds = None if asked.until is None else asked.until - now()
        follows = asked.follows and (seconds is None or seconds > 0)
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds

        def is_wanted(event: Event) -> bool:
            """What happens from now on is told until the time is over, though the clock be set meanwhile."""
            return asked.matches(event, at_any_time=follows and has_begun and event["seq"] > known)

        while True:
            upto = waiting.begin(events)
            async for event in events.history(cursor, upto, asked.may_match):
                is_gap = "seq" not in event  # of what was asked for by number; by time, it may well be older
                if asked.after is not None if is_gap else is_wanted(event):
                    await send(event)
            cursor = upto
            if not follows:
                return cursor
            while True:
                if not waiting:
                    at_rest(cursor)
                new = await waiting.next(deadline)
                at_rest(None)
                if new is None:
                    break
                if is_wanted(new):
                    await send(new)
                cursor = new["seq"]
            if not waiting.has_missed:
                return cursor


class _Waiting:
    """The events that one client has still to be told."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._came = asyncio.Event()
        self.has_missed = False

    def begin(self, events: Events) -> int:
        """Forget all; what comes from now on is beyond the number returned."""
        self._events.clear()
        self.has_missed = False
        return events.last

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        if len(self._events) < _MAX_WAITING and not self.has_missed:
            self._events.append(event)
        else:
            self.has_missed = True
        self._came.set()

    async def next(self, deadline: float | None) -> Event | None:
        """Wait for the next one; None when the time is over, or when some were too many."""
        while not self._events:
            if self.has_missed:
                return None
            self._came.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._came.wait()
            except TimeoutError:
                return None
        return self._events.popleft()


def _is_prefix(value: str, container_id: str) -> bool:
    return len(value) >= _LEAST_PREFIX and set(value) <= _HEX and container_id.startswith(value)
