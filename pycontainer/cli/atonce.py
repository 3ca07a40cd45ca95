"""What waits long, for many: several at once, with the outcomes in the order that was asked for."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

Outcome = BaseException | None
_MOST_AT_ONCE = 32  # a tenant's users together may have 64 connections


def outcomes_of(act: Callable[[str], object], names: Sequence[str]) -> Iterator[tuple[str, Outcome]]:
    """Do `act` for the names in threads; yield each name and what it raised, as soon as those before it are over.

    Who leaves early leaves the threads behind: they are daemons, so that ^C ends a command at once.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: list[queue.SimpleQueue[Outcome]] = [queue.SimpleQueue() for _ in names]
    for position in range(len(names)):
        waiting.put(position)

    def work() -> None:
        while True:
            try:
                position = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                act(names[position])
            except BaseException as error:  # whoever takes it raises it
                done[position].put(error)
            else:
                done[position].put(None)

    for _ in range(min(len(names), _MOST_AT_ONCE)):
        threading.Thread(target=work, daemon=True).start()
    for name, outcome in zip(names, done, strict=True):
        yield name, outcome.get()
