"""A hosting, from a file or from plain data: look what differs, make it so, take it down.

from pycontainer import Client
from pycontainer.hosting.hosting import Hosting

with Client() as host:
    hosting = Hosting.load("hosting.yaml", host)
    print(*hosting.diff().lines(), sep="\n")
    outcome = hosting.up()
    for subject, error in outcome.failed: ...
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pycontainer.errors import Busy, InvalidInput, InvalidState, NotFound
from pycontainer.hosting import description
from pycontainer.hosting.admission import foreign_routes, obstacles, overcommitment
from pycontainer.hosting.apply import PARALLEL, OnProgress, Outcome, apply
from pycontainer.hosting.changes import Changes, changes, removal
from pycontainer.hosting.description import CheckCertificate
from pycontainer.hosting.found import Found, Replica, look
from pycontainer.hosting.plans import Plans
from pycontainer.hosting.publishing import Board, Door, backend, route_of
from pycontainer.hosting.site import Description
from pycontainer.spec.problems import as_error

if TYPE_CHECKING:
    from pycontainer.client.client import Client


class Hosting:
    """What a file describes, on the host of a client. Nothing is remembered between calls: each looks anew."""

    def __init__(self, wanted: Description, client: "Client", door: Door | None = None) -> None:
        """Made by `load` and `of`. `door` stands for the host's own front door."""
        self.description = wanted
        self.warnings: list[str] = []  # what the last look has found that is not refused
        self._client, self._door = client, door

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        client: "Client",
        *,
        door: Door | None = None,
        check_certificate: CheckCertificate | None = None,
    ) -> "Hosting":
        """Read a file. One InvalidInput tells all that is wrong with it, each problem with its line."""
        plans = Plans.load(client.paths.plans_dir)
        wanted = description.load(os.fspath(path), plans=plans, check_certificate=check_certificate)
        return cls(wanted, client, door)

    @classmethod
    def of(
        cls,
        data: Mapping[str, object],
        client: "Client",
        *,
        base_dir: str | os.PathLike[str] = ".",
        door: Door | None = None,
        check_certificate: CheckCertificate | None = None,
    ) -> "Hosting":
        """Take what a file would hold as plain data, `{"tenants": {"acme": {"sites": {...}}}}`."""
        plans = Plans.load(client.paths.plans_dir)
        wanted = description.from_data(
            data, base_dir=os.fspath(base_dir), plans=plans, check_certificate=check_certificate
        )
        return cls(wanted, client, door)

    def diff(self) -> Changes:
        """Return what `up` would change. One InvalidInput tells all that is in the way of it."""
        return self._look()[1]

    def up(
        self, *, remove: bool = False, parallel: int = PARALLEL, on_progress: OnProgress = lambda progress: None
    ) -> Outcome:
        """Make it so. InvalidInput, and nothing is done, if sites would go and `remove` was not given.

        `on_progress` is called from several threads, one at a time. What fails is in the outcome; the rest was done.
        """
        with self._alone():
            found, todo = self._look()
            if todo.removed and not remove:
                raise InvalidInput(f"sites would be removed: {', '.join(todo.removed)}", hint="give remove=True")
            if any(site.domains for site in self.description.sites):
                self._front_door().start()  # no nginx, or somebody else's on its ports: told once, before anything changes
            return apply(
                self._client,
                self.description.name,
                todo,
                self._board(found),
                parallel=parallel,
                on_progress=on_progress,
            )

    def what_goes(self) -> Changes:
        """Return what `down` would remove."""
        return removal(self.description, self._found())

    def down(
        self, *, volumes: bool = False, parallel: int = PARALLEL, on_progress: OnProgress = lambda progress: None
    ) -> Outcome:
        """Remove all containers of the hosting, and its tenants if they have no others; with `volumes` also their data."""
        with self._alone():
            found = self._found()
            todo = removal(self.description, found)
            name = self.description.name
            board = self._board(found, serving=False)
            outcome = apply(self._client, name, todo, board, parallel=parallel, on_progress=on_progress)
            for volume in self._volumes(found) if volumes else ():
                with contextlib.suppress(NotFound, InvalidState):  # somebody else has it
                    self._client.remove_volume(volume)
                    outcome.done.append(f"volume {volume}")
            return outcome

    def volumes(self) -> list[str]:
        """Return the named volumes that `down(volumes=True)` would delete."""
        there = {info["name"] for info in self._client.list_volumes()}
        return [name for name in self._volumes(self._found()) if name in there]

    # -- looks

    def _found(self) -> Found:
        return look(self._client, self.description, self._front_door().routes())

    def _look(self) -> tuple[Found, Changes]:
        wanted, found = self.description, self._found()
        problems = obstacles(wanted, found)
        capacity = self._client.capacity(0.0)
        too_much = overcommitment(wanted, found, capacity)
        self.warnings = [problem.message for problem in too_much if capacity["admission"] == "warn"]
        self.warnings += _certificate_warnings(wanted)
        if capacity["admission"] == "refuse":
            problems += too_much
        if problems:
            problems.sort(key=lambda problem: problem.line_in(wanted.lines))
            raise as_error(problems, source=wanted.source, lines=wanted.lines)
        return found, changes(wanted, found)

    def _volumes(self, found: Found) -> list[str]:
        names = {name for site in self.description.sites for name in site.volumes}
        for replica in found.replicas:
            tenant = str(replica.spec["tenant"])
            names |= {
                mount["source"]
                for mount in replica.spec["mounts"]
                if mount["type"] == "volume" and mount["source"].startswith(f"{tenant}.")
            }
        return sorted(names)

    # -- the front door

    def _front_door(self) -> Door:
        if self._door is None:
            from pycontainer.hosting.frontdoor import FrontDoor  # 10 ms that tests with their own save

            self._door = FrontDoor(self._client.paths)
        return self._door

    def _board(self, found: Found, *, serving: bool = True) -> Board | None:
        """Return the routes that are to be, as far as containers are there; the rest comes with the work on each site.

        None where nobody has domains and nobody had: then no proxy is needed.
        """
        if not found.routes and not any(site.domains for site in self.description.sites):
            return None
        routes = [*foreign_routes(found).values()]
        running: dict[str, list[Replica]] = {}
        for replica in found.replicas:
            if replica.is_up:
                running.setdefault(replica.site, []).append(replica)
        for site in self.description.sites if serving else ():
            there = running.get(site.path, [])
            well = [replica for replica in there if replica.is_well] or there
            route = route_of(site, [backend(replica.address, replica.port) for replica in well])
            if route and route.backends:
                routes.append(route)
        return Board(self._front_door(), routes)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file locked: two who make the same sites at the same time are in each other's way."""
        if not self.description.source:
            yield
            return
        file_fd = os.open(self.description.source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(file_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(
                    f"'{self.description.source}' is being brought up or taken down just now",
                    hint="wait for that to end",
                ) from None
            yield
        finally:
            os.close(file_fd)


def _certificate_warnings(wanted: Description) -> list[str]:
    """Return what is not wrong with certificates, but soon will be."""
    pairs = {(site.certificate, site.key): None for site in wanted.sites if site.certificate and site.key}
    if not pairs:
        return []
    from pycontainer.hosting.certificates import warnings  # OpenSSL, 15 ms that files without certificates save

    return [text for certificate, key in pairs for text in warnings(certificate, key)]
