"""How old files are, on a host whose clock somebody may set.

A file bears wall time. When that jumps, what was made before seems older or younger than it is; so for as long as
something counts as young, everything does. A jump shows in the distance to a clock that nobody sets: it is looked at
when an age is asked for, and compared with the last time.
"""

import os
import time

from pycontainer.runtime.container import uptime_seconds

YOUNG_SECONDS = 60.0  # somebody may still be at it
_JUMP_SECONDS = 1.0  # what moves a clock gradually is slower


class Ages:
    """Tells what is young; to be made when the supervisor begins."""

    def __init__(self) -> None:
        self._distance = _wall_distance()
        self._doubtful_until = 0.0

    def is_young(self, path: str) -> bool:
        """Tell whether something was changed so lately that its maker may be alive, or may have been."""
        uptime, distance = uptime_seconds(), _wall_distance()
        if abs(distance - self._distance) > _JUMP_SECONDS:
            self._distance, self._doubtful_until = distance, uptime + YOUNG_SECONDS
        try:
            age_seconds = time.time() - os.lstat(path).st_mtime
        except OSError:
            return True  # it is gone: nothing to find
        # Less than nothing is the age of what was made before the clock was set back, a minute ago or more.
        return uptime < self._doubtful_until or 0 <= age_seconds < YOUNG_SECONDS


def _wall_distance() -> float:
    return time.time() - uptime_seconds()
