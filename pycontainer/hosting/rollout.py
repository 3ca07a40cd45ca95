"""What is done to the containers of one site: in an order in which somebody always answers, and can be cut off anywhere.

    rolling     new one ─▶ healthy ─▶ in the front door ─▶ an old one out of it ─▶ drained ─▶ stopped, removed ─▶ the next
    recreate    old ones out of the front door ─▶ drained ─▶ stopped, removed ─▶ new ones ─▶ healthy ─▶ in the front door

A new one that does not become healthy goes again, and the old ones stay. Whatever is cut off, the next look finds
containers with the wanted digest and without it, and goes on from there.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pycontainer.errors import AlreadyExists, InvalidState, NotFound, PycontainerError, Unsupported
from pycontainer.hosting.changes import SiteChange
from pycontainer.hosting.drain import wait_until_drained
from pycontainer.hosting.found import Replica, address_of
from pycontainer.hosting.publishing import Board, backend, route_of
from pycontainer.hosting.routes import Backend
from pycontainer.hosting.site import DRAIN_SECONDS, FILE, PORT, REPLICA, SITE, SPEC, Site, container_name

if TYPE_CHECKING:
    from pycontainer.client.client import Client
    from pycontainer.client.container import Container

_SETTLED_SECONDS = 1.0  # that a container without a check has to run
_LOOK_SECONDS = (0.1, 1.0)  # between two looks: at first, and at last
_MOST_RESTARTS = 3


class Stopped(Exception):
    """The work was cut off from outside."""


class Rollout:
    """Makes sites what they are to be; one for all sites, whose threads share it.

    `places` bounds how much is asked of the supervisor at the same time; who only waits has none.
    """

    def __init__(
        self,
        client: "Client",
        hosting: str,
        board: Board | None,
        places: threading.Semaphore,
        tell: Callable[[str, str], None],
        warn: Callable[[str, Iterable[str]], None],
    ) -> None:
        """`tell` gets the path of a site and what is done to it, now and then, `warn` what the supervisor warns of.

        Without a `board` no site has domains.
        """
        self.client, self._hosting, self._board, self._places = client, hosting, board, places
        self._tell, self._warn = tell, warn
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have all threads leave at their next step."""
        self._stop.set()

    def run(self, change: SiteChange) -> None:
        """Do all that a change says. Raises what goes wrong first; what was done until then stays."""
        if change.site is None:
            self._tell(change.path, "removing")
            self.serve(change.path, None)
            for replica in change.surplus:
                self.retire(change.path, replica, DRAIN_SECONDS)
        else:
            _SiteWork(self, change.site, change).run()

    # -- steps

    def place(self) -> threading.Semaphore:
        """Return the place to be had while something is asked of the supervisor; Stopped if there is no use in it."""
        if self._stop.is_set():
            raise Stopped
        return self._places

    def make(self, site: Site, number: int, *, is_kept: bool) -> "tuple[Container, str]":
        """Create and start one container; return it and its address. One that does not start may be kept to be looked at."""
        labels = {
            **dict(site.spec.labels),
            FILE: self._hosting,
            SITE: site.path,
            REPLICA: str(number),
            SPEC: site.digest,
            **({PORT: str(site.port)} if site.domains else {}),
        }
        spec = {**site.plain, "name": container_name(site.tenant, site.name, number), "labels": labels}
        with self.place():
            container = self.client.create_from(spec)
            started = container.start(remove_on_failure=not is_kept)
        self._warn(site.path, [*container.warnings, *started["warnings"]])
        return container, address_of(started)

    def set(self, site: Site, container_id: str, values: Mapping[str, Any]) -> None:
        """Change limits of a container, the disk's last: where that is an image it only grows, and all else is to hold."""
        container = self.client.container(container_id)
        disk = {key: value for key, value in values.items() if key.startswith("disk")}
        for part in ({key: value for key, value in values.items() if key not in disk}, disk):
            if not part:
                continue
            try:
                with self.place():
                    info = container.set(**part)
            except (Unsupported, InvalidState) as error:
                if part is disk:
                    anew = f"to have it made anew: pycontainer rm --force {container_id}, then up again"
                    error.hint = f"{error.hint}; {anew}" if error.hint else anew
                raise
            self._warn(site.path, info["warnings"])

    def wait_until_ready(self, site: Site, container: "Container") -> None:
        """Wait until a container can do its work. InvalidState if it does not come to that, with what is known of it."""
        began = time.monotonic()
        delay, longest = _LOOK_SECONDS
        while True:
            record = container.inspect()
            lasted = time.monotonic() - began
            if _is_ready(record, lasted):
                return
            if reason := _failure(record, lasted, site.ready_seconds):
                words = f"container '{record['name']}' {reason}{_last_words(container)}"
                raise InvalidState(words, hint=f"'pycontainer why {record['name']}' tells more, if it is still there")
            if self._stop.wait(delay):
                raise Stopped
            delay = min(2 * delay, longest)

    def retire(self, path: str, replica: Replica, drain_seconds: float) -> None:
        """Delete a container to which no new requests go, once those that it has are done."""
        if (was := backend(replica.address, replica.port)) and replica.is_up:
            self._tell(path, "waiting for requests to end")
            wait_until_drained(was.ip, was.port, drain_seconds, self._stop)
        self._remove(replica.id)

    def _remove(self, container_id: str) -> None:
        if self._stop.is_set():
            raise Stopped
        try:
            container = self.client.container(container_id)
            container.stop()
            with self.place():
                container.remove(force=True)
        except NotFound:
            return  # somebody else was quicker

    def serve(self, path: str, site: Site | None, backends: Iterable[Backend | None] = ()) -> None:
        """Have requests for a site go there and nowhere else; return when they do."""
        if self._board is not None:
            self._board.put(path, route_of(site, backends) if site else None)

    def tell(self, site: Site, what: str) -> None:
        self._tell(site.path, what)

    def volume(self, name: str, size_bytes: int | None) -> None:
        """Make a volume, or give one another size."""
        size = str(size_bytes) if size_bytes else ""
        with self.place():
            try:
                self.client.create_volume(name, size=size)
            except AlreadyExists:
                self.client.volume(name).set(size=size or "unlimited")


class _SiteWork:
    """The work on one site. `_live` are the containers that requests go to, and where they answer."""

    def __init__(self, rollout: Rollout, site: Site, change: SiteChange) -> None:
        self._rollout, self._site, self._change = rollout, site, change
        there = (*change.kept, *change.outdated, *change.surplus)
        stopped = {replica.id for replica in change.stopped}
        running = [each for each in there if each.is_up and each.id not in stopped]
        self._live = {each.id: backend(each.address, each.port) for each in running}
        self._numbers = {replica.number for replica in there}

    def run(self) -> None:
        change, rollout = self._change, self._rollout
        for name, size in change.volumes.items():
            rollout.volume(name, size)
        for setting in change.settings:
            rollout.tell(self._site, "changing limits")
            rollout.set(self._site, setting.replica.id, setting.values)
        self._start(change.stopped)
        for replica in change.unwell:  # successors, perhaps, whose maker was cut off: nobody goes before they are well
            rollout.tell(self._site, "waiting until it is healthy")
            rollout.wait_until_ready(self._site, rollout.client.container(replica.id))
        outdated = [*change.outdated]
        if outdated and not self._site.is_rolling:
            self._take_away(outdated)
            outdated = []
        if outdated:
            for _ in range(change.missing):
                self._add(1)
                self._take_away(outdated[:1])
                del outdated[:1]
        else:
            self._add(change.missing)
        self._take_away((*outdated, *change.surplus))
        self._serve()

    def _start(self, replicas: Iterable[Replica]) -> None:
        """Start what is as it should be, but for that; it may be what was cut off between its creation and its start."""
        started = []
        for replica in replicas:
            self._rollout.tell(self._site, "starting")
            container = self._rollout.client.container(replica.id)
            with self._rollout.place():
                info = container.start()
            started.append((container, address_of(info)))
        for container, address in started:
            self._rollout.wait_until_ready(self._site, container)
            self._live[container.id] = backend(address, self._site.port)

    def _add(self, count: int) -> None:
        """Make new containers; while others answer, one that fails goes again."""
        made: list[tuple[Container, str]] = []
        for _ in range(count):
            number = next(number for number in range(len(self._numbers) + 1) if number not in self._numbers)
            self._numbers.add(number)
            self._rollout.tell(self._site, f"making replica {number}")
            made.append(self._rollout.make(self._site, number, is_kept=not self._live))
        if made:
            self._rollout.tell(self._site, "waiting until it is healthy")
        for container, address in made:
            try:
                self._rollout.wait_until_ready(self._site, container)
            except InvalidState:
                if self._live:
                    with contextlib.suppress(PycontainerError):
                        container.remove(force=True)
                raise
            self._live[container.id] = backend(address, self._site.port)
        if made:
            self._serve()

    def _take_away(self, replicas: Iterable[Replica]) -> None:
        replicas = tuple(replicas)
        if not replicas:
            return
        for replica in replicas:
            self._live.pop(replica.id, None)
        self._serve()
        for replica in replicas:
            self._rollout.tell(self._site, f"removing replica {replica.number}")
            self._rollout.retire(self._site.path, replica, self._site.drain_seconds)
            self._numbers.discard(replica.number)

    def _serve(self) -> None:
        self._rollout.serve(self._site.path, self._site, self._live.values())


def _is_ready(record: Mapping[str, Any], lasted_seconds: float) -> bool:
    status, health = record["status"], record["health"]
    if status == "stopped":  # what was to do something once may have done it
        return bool(record["exit_code"] == 0 and record["restart"].partition(":")[0] in ("no", "on-failure"))
    if status != "running":
        return bool(status == "paused")
    return health == "healthy" or (health in ("", "ready") and lasted_seconds >= _SETTLED_SECONDS)


def _failure(record: Mapping[str, Any], lasted_seconds: float, ready_seconds: float) -> str:
    """Return why a container will not be ready; empty while it may."""
    code = record["exit_code"]
    if record["health"] == "unhealthy":
        return "is unhealthy"
    if record["status"] == "stopped":
        return f"ended with exit code {code}"
    if record["status"] == "restarting" and record["restart_count"] >= _MOST_RESTARTS:
        return f"ends again and again, with exit code {code}"
    if lasted_seconds >= ready_seconds:
        return f"did not become healthy within {ready_seconds:.0f} seconds"
    return ""


def _last_words(container: "Container") -> str:
    """Return the last line that a container wrote, as the end of a sentence."""
    with contextlib.suppress(PycontainerError, OSError):
        for line in container.logs(tail=1):
            text = line.text.strip()
            return f"; its last words: {text[:200]}" if text else ""
    return ""
