"""Where requests go, while many sites change at once: one new configuration of the front door for all that wait for it.

site A ─ put ─┐                       ┌─ A goes on
site B ─ put ─┼─▶ apply([...]) ───────┴─ B goes on       who comes while one is being made waits for the next
site C ─ put ────────────────────────▶ apply([...]) ─── C goes on
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

from pycontainer.errors import PycontainerError
from pycontainer.hosting.routes import Backend, SiteRoute
from pycontainer.hosting.site import Site


class Door(Protocol):
    """What is needed of a front door; hosting/frontdoor.py has the real one."""

    def start(self) -> bool:
        """Be there; False if it was."""

    def routes(self) -> Sequence[SiteRoute]:
        """Return what it serves."""

    def apply(self, routes: Sequence[SiteRoute]) -> None:
        """Serve these and no others; what was asked before goes on."""


class Board:
    """The routes of all sites. Safe to share between threads."""

    def __init__(self, door: Door, routes: Iterable[SiteRoute]) -> None:
        """`routes` are to be served; those that the door has and that are not among them go with the first change."""
        self._door = door
        self._served = {route.name: route for route in door.routes()}
        self._wanted = {route.name: route for route in routes}
        self._changed = threading.Condition()
        self._asked = self._done = 0  # how many changes there were, and how many of them are served, or failed
        self._failed: tuple[int, int, Exception] | None = None  # which changes: after the first, up to the second
        self._is_applying = False

    def put(self, name: str, route: SiteRoute | None) -> None:
        """Serve a site by this route, or not at all; return when that is so. Raises what the front door does."""
        with self._changed:
            if self._wanted.get(name) == route:
                if self._served.get(name) == route:
                    return
            elif route is None:
                del self._wanted[name]
            else:
                self._wanted[name] = route
            self._settle()

    def settle(self) -> None:
        """Serve what is wanted, if the front door does not do so already."""
        with self._changed:
            if self._served != self._wanted:
                self._settle()

    def _settle(self) -> None:
        self._asked += 1
        mine = self._asked
        while self._done < mine:
            if self._is_applying:
                self._changed.wait()
            else:
                self._apply()
        if self._failed is not None and self._failed[0] < mine <= self._failed[1]:
            raise self._failed[2]

    def _apply(self) -> None:
        self._is_applying = True
        covered, wanted = self._asked, dict(self._wanted)
        self._changed.release()
        failed: Exception | None = None
        try:
            self._door.apply(tuple(wanted.values()))
        except (PycontainerError, OSError) as error:
            failed = error
        finally:
            self._changed.acquire()
            self._is_applying = False
            self._failed = None if failed is None else (self._done, covered, failed)
            self._done = covered
            if failed is None:
                self._served = wanted
            self._changed.notify_all()


def route_of(site: Site, backends: Iterable[Backend | None]) -> SiteRoute | None:
    """Return the way to a site that is answered there; None for one that has no domains."""
    if not site.domains:
        return None
    there = tuple(sorted(backend for backend in backends if backend is not None))
    return SiteRoute(site.domains, there, site.certificate, site.key, site.path)


def backend(address: str, port: int) -> Backend | None:
    """Return where a container answers; None for one that nobody outside asks for anything."""
    return Backend(address, port) if address and port else None
