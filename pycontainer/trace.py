"""Where the time of a request goes, for who asks (`--trace`, docs/tracing.md).

    span    from a `with span(name)` to its end
    step    from the step before it, or from where the span around it began, to `step(name)`: what has just been done

Every name of failpoints.py is such a step. A context variable says who records: tasks and the threads of asyncio inherit it,
and where nothing is set nothing is recorded. While nobody records in this process, each costs a look at one number.

Times are nanoseconds of CLOCK_MONOTONIC, the same clock for all processes of a host.
"""

import time
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token

MAX_SPANS, MAX_NAME_CHARACTERS = 512, 80
PROCESSES = ("client", "supervisor", "monitor", "init")
Span = tuple[str, str, int, int]  # process, name, begin, end

recorders = 0  # that are open in this process


class Recorder:
    """The spans of one request, as far as this process knows them: so many at most, those beyond are counted."""

    __slots__ = ("is_open", "lost", "process", "spans")

    def __init__(self, process: str) -> None:
        """Record as one of PROCESSES; who makes it closes it."""
        global recorders
        recorders += 1
        self.process, self.is_open = process, True
        self.spans: list[Span] = []
        self.lost = 0

    def close(self) -> None:
        """Take nothing more: a task that was begun for the request may outlive it."""
        global recorders
        if self.is_open:
            self.is_open = False
            recorders -= 1

    def add(self, name: str, begin_ns: int, end_ns: int, *, process: str = "") -> None:
        if not self.is_open:
            return
        if len(self.spans) < MAX_SPANS:
            self.spans.append((process or self.process, name[:MAX_NAME_CHARACTERS], begin_ns, end_ns))
        else:
            self.lost += 1

    def add_told(self, told: object) -> None:
        """Add the spans that another process told, see `told`; what is none is left out."""
        if not isinstance(told, list):
            return
        for each in told[:MAX_SPANS]:
            if isinstance(each, list) and [*map(type, each)] == [str, str, int, int] and each[0] in PROCESSES:
                self.add(each[1], each[2], each[3], process=each[0])


class _Place:
    """Where a task stands: in which recorder, and when the step began that it is in."""

    __slots__ = ("recorder", "since_ns")

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.since_ns = recorder, time.monotonic_ns()


_place: ContextVar[_Place | None] = ContextVar("place", default=None)


def current() -> Recorder | None:
    """Return who records what is done here. A task that was begun for a request may outlive its recorder."""
    place = _place.get() if recorders else None
    return place.recorder if place is not None and place.recorder.is_open else None


def step(name: str) -> None:
    """Say what has just been done."""
    place = _place.get() if recorders else None
    if place is not None:
        end_ns = time.monotonic_ns()
        place.recorder.add(name, place.since_ns, end_ns)
        place.since_ns = end_ns


class recording:
    """Have what is done in the block recorded by `recorder`, by nobody if that is None."""

    __slots__ = ("_recorder", "_token")

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._token: Token[_Place | None] | None = None

    def __enter__(self) -> None:
        self._token = _place.set(_Place(self._recorder) if self._recorder is not None else None)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _place.reset(self._token)


class span(recording):
    """Record the block by its name; steps inside are within it."""

    __slots__ = ("_begin_ns", "_name")

    def __init__(self, name: str, recorder: Recorder | None = None) -> None:
        """Without a `recorder` it is the one that records here, if there is one."""
        super().__init__(recorder or current())
        self._name, self._begin_ns = name, 0

    def __enter__(self) -> None:
        if self._recorder is not None:
            self._begin_ns = time.monotonic_ns()
            super().__enter__()

    def __exit__(self, *_: object) -> None:
        if self._recorder is not None:
            super().__exit__()
            self._recorder.add(self._name, self._begin_ns, time.monotonic_ns())


def told(recorder: Recorder | None) -> dict[str, object]:
    """Return what a message of ours says of it, and begin anew: nothing if nobody recorded."""
    if recorder is None or not recorder.spans:
        return {}
    spans, recorder.spans = recorder.spans, []
    return {"trace": spans}
