"""JSON that somebody else wrote, or a disk has damaged, read strictly.

`json.loads` takes a key given twice (the last one wins), NaN and Infinity, 1e999 as infinity, UTF-16 and UTF-32, and lists
in lists as deep as the interpreter's stack happens to be. Here each of them is a ValueError of one line.
"""

import json
import re
from typing import Any

MAX_DEPTH = 32  # the deepest that we write, a mount in a spec in a request, is at 6
MAX_ITEMS = 1 << 20  # values and keys together: what they take in memory, and the time without a word
_MAX_NUMBER_CHARACTERS = 64
# A string is passed over whole, possessively: a quote that is never closed must not be tried again from each place in it
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def loads(data: bytes | bytearray | str, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value in `data`: UTF-8, or text that is counted in characters; ValueError says what is wrong with it."""
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
        _check_depth(text, max_depth)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos}: {error.msg}") from None


def _check_depth(text: str, max_depth: int) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        token = match[0]
        if token in ("[", "{"):
            depth += 1
            if depth > max_depth:
                raise ValueError(f"more than {max_depth} levels deep")
        elif token in ("]", "}"):
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > _MAX_NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits) if len(digits) <= _MAX_NUMBER_CHARACTERS else float("inf")
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number that is too large or too long")
    return number


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_number, parse_constant=_constant
)
