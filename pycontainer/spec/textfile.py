"""Read a text file that a person wrote: bounded, UTF-8, without control characters, every refusal with its line."""

import re

from pycontainer.errors import InvalidInput

MAX_BYTES = 1024 * 1024
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", re.ASCII)


def read_text_file(path: str) -> str:
    """Return the text of a file of at most 1 MiB; InvalidInput if it cannot be read or is no text."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"cannot read {path!r}: {error.strerror}", source=path) from error
    except ValueError as error:  # a NUL in the path
        raise InvalidInput(f"cannot read {path!r}: {error}", source=path) from error
    return decode_text(data, path)


def decode_text(data: bytes, source: str) -> str:
    """Return `data` as text, a byte order mark left out; `source` names it in errors."""
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{source}: the file is larger than {MAX_BYTES // 1024} KiB", source=source)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _at(source, data.count(b"\n", 0, error.start) + 1, "the file is not UTF-8", "save it as UTF-8") from None
    if match := _CONTROL.search(text):
        character = ascii(match[0])
        raise _at(source, text.count("\n", 0, match.start()) + 1, f"control character {character}", "delete it")
    return text


def _at(source: str, line: int, message: str, hint: str) -> InvalidInput:
    return InvalidInput(f"{source}:{line}: {message}", source=f"{source}:{line}", hint=hint)
