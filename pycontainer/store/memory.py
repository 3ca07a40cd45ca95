"""What was made of files that have not changed since: who starts a hundred containers of an image reads its record once."""

from collections.abc import Callable
from typing import Generic, TypeVar

from pycontainer.linux.files import identity

_T = TypeVar("_T")
_MOST = 256  # files


class Memory(Generic[_T]):
    """Of one kind of files. What it gives out is shared: nobody may change it."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], _T]] = {}

    def get(self, path: str, make: Callable[[], _T]) -> _T:
        """Return what `make` makes of the file now, or has made of it; errors are not remembered."""
        mark = identity(path)
        known = self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        made = make()
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[path] = mark, made
        return made
