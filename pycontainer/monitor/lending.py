"""The lowest descriptors of the monitor: where a child finds all that it needs, so that it needs no copy of the others.

    0  the pipe that it waits at          3  REPORT_FD       6-8   its standard streams
    1  where it says that it has          4  JOIN_FD         9     the sealed program
       descriptors of its own             5  PROC_FD         10 …  ours: five for each container

A clone copies every descriptor, and the child closes them again: with a thousand containers that is 2 ms of a processor for
each start. So the child begins with our very table (CLONE_FILES) and its first act is close_range(2) from 10 upwards with
CLOSE_RANGE_UNSHARE, which copies what is below and nothing else. Until it has said so, nobody may touch the ten: they are
lent, for the birth of one child at a time.
"""

import os
import select

from pycontainer.init.child import FIRST_FREE_FD, INHERITED_FDS, TOLD_FD
from pycontainer.linux.descriptors import can_unshare_below, make_room, move_above
from pycontainer.linux.namespaces import CLONE_FILES, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE_MILLISECONDS = 2  # a child may be frozen, or throttled, with the cgroup that it is born in


class Lending:
    """Ten descriptors. At rest they are /dev/null and our log, so that none of our own is among them."""

    __slots__ = ("_borrower", "_kept", "_lent", "_resting", "_told_fd", "shares")

    def __init__(self, *, shares: bool = True) -> None:
        """Take them: before anything else is opened that is meant to stay. `shares` False: children copy our table."""
        null_fd = move_above(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), FIRST_FREE_FD)
        self._resting = {number: null_fd for number in range(FIRST_FREE_FD) if number not in (1, 2)} | {1: 2}
        self._lent: list[int] = []
        self._borrower, self._kept = -1, list[int]()
        self.shares = shares and can_unshare_below(FIRST_FREE_FD)
        self._lay({number: fd for number, fd in self._resting.items() if number > 2})
        self._told_fd = self._new_told_fd()

    def lend(self, fds: "Mapping[int, int]") -> None:
        """Put descriptors, which stay the caller's, at these numbers."""
        self.take_back()
        fds = {**fds, TOLD_FD: self._told_fd} if self.shares else fds
        self._lent = list(fds)
        self._lay(fds)

    def borrowed(self, pidfd: int, kept: list[int]) -> None:
        """Note whose they are until they are taken back; the descriptors `kept`, ours no more, are closed then: it uses some
        by the numbers that they have."""
        self._borrower, self._kept = pidfd, kept

    def take_back_from(self, pidfd: int) -> None:
        """Have the ten for ourselves if that child, which has ended, has them."""
        if pidfd == self._borrower:
            self.take_back()

    def take_back(self) -> None:
        """Have the ten for ourselves, once the child that has them has descriptors of its own or has ended.

        One that does not get there keeps our table as it is, and we go on with a copy. Nothing happens if nothing is lent.
        """
        if not self._lent:
            return
        if self.shares and (self._borrower < 0 or not self._is_told(self._borrower)):
            self._part()  # also where nobody was born: something failed meanwhile
        self._lay({number: self._resting[number] for number in self._lent})
        for fd in self._kept:
            os.close(fd)
        self._lent, self._borrower, self._kept = [], -1, []

    def _part(self) -> None:
        """Have a table of our own, whoever shares the one that we have. Costs nothing if nobody does."""
        if self.shares:
            unshare(CLONE_FILES)
            make_room()  # a copy is as large as what is open
            os.close(self._told_fd)  # or it would be heard at the next one's birth
            self._told_fd = self._new_told_fd()

    def _is_told(self, pidfd: int) -> bool:
        """Wait until the child has descriptors of its own, or ended; False if that takes too long."""
        if not self._take_word():
            poll = select.poll()
            poll.register(self._told_fd, select.POLLIN)
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(_PATIENCE_MILLISECONDS):
                return False
            self._take_word()
        return True

    def _take_word(self) -> bool:
        try:
            os.eventfd_read(self._told_fd)
        except BlockingIOError:
            return False
        return True

    def _lay(self, fds: "Mapping[int, int]") -> None:
        for number, fd in fds.items():
            is_for_program = number in INHERITED_FDS and fd != self._resting[number]
            os.dup2(fd, number, inheritable=number <= 2 or is_for_program)

    def _new_told_fd(self) -> int:
        return move_above(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), FIRST_FREE_FD)
