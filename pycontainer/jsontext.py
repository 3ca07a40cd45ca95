"""JSON that somebody else wrote, or a disk has damaged, read strictly; and JSON written, where `json` would be a burden.

`json.loads` takes a key given twice (the last one wins), NaN and Infinity, 1e999 as infinity, UTF-16 and UTF-32, and lists
in lists as deep as the interpreter's stack happens to be. Here each of them is a ValueError of one line.

It is made of `_json`, the C half of `json`: `json` itself takes 8 ms of a process that starts, for it brings `re`, `enum` and
`functools`, and a megabyte of its memory. Where `_json` lacks the scanner `json` takes its place.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_DEPTH = 32  # the deepest that we write, a mount in a spec in a request, is at 6
MAX_ITEMS = 1 << 20  # values and keys together: what they take in memory, and the time without a word
_MAX_NUMBER_CHARACTERS = 64
_WHITE = " \t\n\r"
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


class Malformed(ValueError):
    """What is no JSON, at which character of the text, and why."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"not JSON at character {position}: {why}")
        self.position, self.why = position, why


def loads(data: bytes | bytearray | str, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> "Any":
    """Return the value in `data`: UTF-8, or text that is counted in characters; ValueError says what is wrong with it."""
    text = decode(data, max_bytes=max_bytes, max_depth=max_depth)
    return scan(text, _scan)


def loads_own(data: bytes) -> "Any":
    """Return the value in JSON that this program wrote for itself: it may be of any size."""
    return scan(data.decode(), _scan)


def decode(data: bytes | bytearray | str, *, max_bytes: int, max_depth: int) -> str:
    """Return the text of JSON that is within the bounds; ValueError if it is not, or no UTF-8."""
    if len(data) > max_bytes:
        raise ValueError(f"more than {max_bytes} bytes")
    if isinstance(data, str):
        text = data
    else:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 at byte {error.start}") from None
    brackets = text.count("[") + text.count("{")
    if brackets + text.count(",") > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS} values")
    if brackets > max_depth:  # else it cannot be deeper, which is cheaper to know
        _check_depth(text.encode(errors="surrogatepass"), max_depth)
    return text


def dumps(value: object) -> str:
    """Return a value as JSON in ASCII, without blanks.

    Objects have text for keys. Raises TypeError for what JSON cannot say and ValueError for NaN and the infinities.
    """
    return "".join(_encode(value, 0))


def scan(text: str, scanner: "Callable[[str, int], tuple[Any, int]]") -> "Any":
    """Return the one value that the text holds, as `scanner` reads it; Malformed, or the ValueError of a hook."""
    start = len(text) - len(text.lstrip(_WHITE))
    try:
        try:
            value, end = scanner(text, start)
        except SystemError:  # before 3.13 the scanner finds its exception only where this was imported
            import json.decoder  # noqa: F401

            value, end = scanner(text, start)
    except StopIteration as error:
        raise Malformed(error.value, "Expecting value") from None
    except ValueError as error:
        if not hasattr(error, "pos"):
            raise
        raise Malformed(error.pos, str(getattr(error, "msg", ""))) from None
    if rest := text[end:].lstrip(_WHITE):
        raise Malformed(len(text) - len(rest), "Extra data")
    return value


def scanner(
    make_object: "Callable[[list[tuple[str, Any]]], Any]",
    make_integer: "Callable[[str], Any]",
    make_number: "Callable[[str], Any]",
    make_constant: "Callable[[str], Any]",
) -> "Callable[[str, int], tuple[Any, int]]":
    """Return a function (text, position) -> (value, where it ends), which makes its values by these."""
    try:
        from _json import make_scanner
    except ImportError:
        from json import JSONDecoder

        decoder: Any = JSONDecoder(
            object_pairs_hook=make_object,
            parse_int=make_integer,
            parse_float=make_number,
            parse_constant=make_constant,
        )
        scan_once: Callable[[str, int], tuple[Any, int]] = decoder.scan_once  # the one in Python
        return scan_once

    class Context:
        strict, object_hook = True, None
        object_pairs_hook = staticmethod(make_object)
        parse_int, parse_float = staticmethod(make_integer), staticmethod(make_number)
        parse_constant = staticmethod(make_constant)

    return make_scanner(Context)  # type: ignore[arg-type]  # what it wants has these names, no more


def _check_depth(data: bytes, max_depth: int) -> None:
    """Count the brackets that are outside of strings: every second part between quotes that are not escaped."""
    outside = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    depth = 0
    for bracket in b"".join(outside).translate(None, _OTHERS):
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise ValueError(f"more than {max_depth} levels deep")


def unique(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    """Return an object of its keys and values; ValueError if two are the same."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made


def integer(digits: str) -> int:
    """Return a number without fraction and exponent; ValueError if it is longer than any that is meant."""
    if len(digits) > _MAX_NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def number(digits: str) -> float:
    """Return any other number; ValueError for what would be infinite."""
    made = float(digits) if len(digits) <= _MAX_NUMBER_CHARACTERS else float("inf")
    if made in (float("inf"), float("-inf")):
        raise ValueError("a number that is too large or too long")
    return made


def constant(name: str) -> object:
    """Refuse NaN and the infinities."""
    raise ValueError(f"{name} is not JSON")


_scan = scanner(unique, integer, number, constant)


def _unsayable(value: object) -> object:
    raise TypeError(f"a {type(value).__name__} is nothing that JSON can say")


def _encoder() -> "Callable[[object, int], Any]":
    try:
        from _json import encode_basestring_ascii, make_encoder

        return make_encoder(None, _unsayable, encode_basestring_ascii, None, ":", ",", False, False, False)
    except (ImportError, TypeError):
        from json import JSONEncoder

        encoder = JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":"), default=_unsayable)
        return lambda value, _: encoder.encode(value)


_encode = _encoder()
