"""`encodings`, as far as a call needs it: UTF-8, which the interpreter has in C, and for all else the package itself.

The interpreter imports `encodings` before it knows its own arguments, and with it `codecs`, a table of 600 names and
`encodings.utf_8`, out of four directories that it lists first: 0.9 ms of the 7 in which it starts. `launcher` puts this
module in its place. Whoever asks for another encoding, or for what is not here, gets the package, and waits for it.
"""

import _codecs
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_NAMES = ("utf-8", "utf_8", "utf8")
__path__ = [f"{each}/encodings" for each in sys.path[1:]]  # its modules are where they were


class IncrementalEncoder:
    """As codecs.IncrementalEncoder: UTF-8 keeps nothing from one piece to the next."""

    def __init__(self, errors: str = "strict") -> None:
        self.errors = errors

    def encode(self, text: str, final: bool = False) -> bytes:
        return _codecs.utf_8_encode(text, self.errors)[0]

    def reset(self) -> None:
        pass

    def getstate(self) -> int:
        return 0

    def setstate(self, state: int) -> None:
        pass


class IncrementalDecoder:
    """As codecs.BufferedIncrementalDecoder: keeps the bytes of a character that has not come whole."""

    def __init__(self, errors: str = "strict") -> None:
        self.errors, self._kept = errors, b""

    def decode(self, data: bytes, final: bool = False) -> str:
        data = self._kept + data
        text, length = _codecs.utf_8_decode(data, self.errors, final)
        self._kept = data[length:]
        return text

    def reset(self) -> None:
        self._kept = b""

    def getstate(self) -> tuple[bytes, int]:
        return self._kept, 0

    def setstate(self, state: tuple[bytes, int]) -> None:
        self._kept = state[0]


class Info(tuple):  # type: ignore[type-arg]  # of the two functions, and of two that nobody asks a tuple for
    """As codecs.CodecInfo."""

    _is_text_encoding = True
    name = "utf-8"
    encode, decode = _codecs.utf_8_encode, _codecs.utf_8_decode
    incrementalencoder, incrementaldecoder = IncrementalEncoder, IncrementalDecoder

    def __getattr__(self, name: str) -> "Any":
        return getattr(whole().search_function("utf-8"), name)


_info = Info((_codecs.utf_8_encode, _codecs.utf_8_decode, None, None))


def search_function(encoding: str) -> "Any":
    """Return what the registry asks for, as the function of the package does."""
    return _info if encoding in _NAMES else whole().search_function(encoding)


def whole() -> "Any":
    """Return the package, which takes our place."""
    found: ModuleType = sys.modules["encodings"]
    if found.__dict__ is globals():
        from _frozen_importlib import module_from_spec
        from _frozen_importlib_external import PathFinder

        spec = PathFinder.find_spec("encodings", sys.path[1:])
        assert spec is not None and spec.loader is not None
        found = sys.modules["encodings"] = module_from_spec(spec)
        spec.loader.exec_module(found)
        _codecs.unregister(search_function)
    return found


def __getattr__(name: str) -> "Any":
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(whole(), name)


_codecs.register(search_function)
