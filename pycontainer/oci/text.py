"""JSON of bundles and of callers, read strictly, and written, without the 8 ms that importing `json` takes.

What is wrong with a file is told as engines show it to people: in one line, by line and column where it is no JSON, by the
path of the value where it is JSON that we refuse (a key that is given twice, NaN, a number of a thousand digits).
"""

from pycontainer import jsontext
from pycontainer.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_BYTES = 16 << 20  # arguments and environment alone may have 6 MB, and two characters for each of their bytes
MAX_DEPTH = 64  # the runtime specification goes to 7; what it permits beside that is ignored, but read


def loads(data: bytes, what: str) -> object:
    """Return the value in `data`, UTF-8. `what` is the file as a message names it.

    Raises InvalidInput: `config.json: line 3, column 14: ...` or `config.json: linux.resources.memory: ...`.
    """
    try:
        return jsontext.loads(data, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH)
    except jsontext.Malformed as error:
        before = data.decode()[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        raise InvalidInput(f"{what}: line {line}, column {column}: {error.why}") from None
    except ValueError as error:
        path = _path_of_what_is_refused(data)
        raise InvalidInput(f"{what}: {path + ': ' if path else ''}{error}") from None


def dumps(value: object, indent: int | None = None) -> str:
    """Return a value as JSON in ASCII, without blanks or, with `indent`, in lines as Go's encoder writes them.

    Objects have text for keys. Raises TypeError for what JSON cannot say and ValueError for NaN and the infinities.
    """
    return jsontext.dumps(value) if indent is None else _indented(value, " " * indent, "\n")


def _indented(value: object, step: str, line: str) -> str:
    """Return a value whose own line begins with `line`; what it holds stands one `step` further in."""
    inner = line + step
    if isinstance(value, dict) and value:
        pairs = (f"{dumps(key)}: {_indented(each, step, inner)}" for key, each in value.items())
        return "{" + inner + f",{inner}".join(pairs) + line + "}"
    if isinstance(value, (list, tuple)) and value:
        return "[" + inner + f",{inner}".join(_indented(each, step, inner) for each in value) + line + "]"
    return dumps(value)


class _Refused:
    """Stands where a value was that jsontext refuses."""


def _path_of_what_is_refused(data: bytes) -> str:
    """Return where the first such value is, as `linux.namespaces[2].type`; empty if it is the whole.

    Read a second time: who reads well-formed JSON does not pay for it.
    """

    def tolerant(hook: "Callable[[Any], Any]") -> "Callable[[Any], Any]":
        def read(written: "Any") -> "Any":
            try:
                return hook(written)
            except ValueError:
                return _Refused()

        return read

    try:
        text = jsontext.decode(data, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH)
        scanner = jsontext.scanner(
            tolerant(jsontext.unique),
            tolerant(jsontext.integer),
            tolerant(jsontext.number),
            tolerant(jsontext.constant),
        )
        value = jsontext.scan(text, scanner)
    except ValueError:
        return ""
    return _search(value, "") or ""


def _search(value: object, path: str) -> str | None:
    if isinstance(value, _Refused):
        return path
    if isinstance(value, dict):
        inner = [(each, f"{path}.{key}" if path else key) for key, each in value.items()]
    else:
        inner = [(each, f"{path}[{index}]") for index, each in enumerate(value if isinstance(value, list) else ())]
    return next((found for each, where in inner if (found := _search(each, where)) is not None), None)
