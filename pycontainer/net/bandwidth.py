"""What limits see of the network of one container, or of one tenant: rates both ways, and packets that it may send.

The groups of classes are in shaping.py, the elements of the guard in the manager; here they meet one owner.
"""

from collections.abc import Callable, Sequence

from pycontainer.net.shaping import Rates, Shaping, Traffic


class Bandwidth:
    """The limits of all links of `owner` together; `parent` is the group of its tenant, or empty."""

    __slots__ = (
        "_capped", "_links", "_owner", "_parent", "_shaping",
        "guard", "guarded", "guarded_packets", "refused", "share", "shared",
    )  # fmt: skip

    def __init__(
        self,
        shaping: Shaping,
        owner: str,
        *,
        parent: str = "",
        links: Sequence[int] = (),
        guard: Callable[[int | None], None] = lambda packets_per_second: None,
        guarded: Callable[[], int | None] = lambda: None,
        guarded_packets: Callable[[], int] = lambda: 0,
        share: Callable[[int | None], None] = lambda connections: None,
        shared: Callable[[], int | None] = lambda: None,
        refused: Callable[[], int] = lambda: 0,
        capped: Callable[[], None] = lambda: None,
    ) -> None:
        """`links` are the indexes of those that are up.

        `guard` sets the packets per second that may be sent, None for no limit; `guarded` returns that, and
        `guarded_packets` how many were dropped. `share` sets the connections that the host tracks at once, None for
        the default; `shared` returns that, and `refused` how often there was no room for another. `capped` is called
        when a cap was set.
        """
        self._shaping, self._owner, self._parent, self._links = shaping, owner, parent, links
        self.guard, self.guarded, self.guarded_packets = guard, guarded, guarded_packets
        self.share, self.shared, self.refused = share, shared, refused
        self._capped = capped

    def cap(self, direction: str, guaranteed: int | None, ceiling: int | None) -> None:
        """Cap what the owner sends ("out") or is sent ("in"), bits per second; None is no limit.

        An owner that never asked, and whose tenant has no cap, is not redirected and pays nothing.
        """
        wish = Rates(guaranteed, ceiling)
        parent = self._parent if self._shaping.is_shaped(self._parent) else ""
        if wish == Rates() and not parent and not self._shaping.is_shaped(self._owner):
            return
        self._shaping.open(self._owner, parent)
        if self._shaping.rates(self._owner, direction) != wish:
            self._shaping.cap(self._owner, direction, wish)
        for index in self._links:
            self._shaping.join(self._owner, index)
        self._capped()

    def ceiling(self, direction: str) -> int | None:
        """Return the cap that is in force, bits per second."""
        return self._shaping.rates(self._owner, direction).ceiling

    def traffic(self, direction: str) -> Traffic:
        """Return what went through since the cap was set."""
        return self._shaping.traffic(self._owner, direction)

    def release(self) -> None:
        """The run, or the tenant, is over."""
        self._shaping.close(self._owner)
        self.guard(None)
        self.share(None)
