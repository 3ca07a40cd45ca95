"""The names people give: one ASCII pattern for containers, networks and volumes, one for images, and container ids.

Always matched in full: `$` alone would let a trailing newline through. A name is never `.` or `..`, holds no
slash and does not begin with a dash, so it is safe as a file name and as an argument.
"""

import re

from pycontainer.errors import InvalidInput
from pycontainer.units import shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
CONTAINER_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
IMAGE = re.compile(
    rf"{_PART}(?::[0-9]{{1,5}}(?=/))?(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)
IMAGE_MAX_LENGTH = 255

NAME_HINT = "use up to 63 letters, digits, '_', '.' and '-', beginning with a letter or digit"


def is_name(value: object) -> bool:
    """Tell whether `value` can name a container, a network or a volume."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def is_container_id(value: object) -> bool:
    """Tell whether `value` has the form of a full container id: 12 lower-case hexadecimal digits."""
    return isinstance(value, str) and CONTAINER_ID.fullmatch(value) is not None


def is_image(value: object) -> bool:
    """Tell whether `value` has the form of an image's name: [registry[:port]/]path[:tag][@sha256:digest]."""
    return isinstance(value, str) and len(value) <= IMAGE_MAX_LENGTH and IMAGE.fullmatch(value) is not None


def check_name(value: object, kind: str = "container") -> str:
    """Return `value` if it can name a `kind`; InvalidInput otherwise."""
    if not isinstance(value, str) or NAME.fullmatch(value) is None:
        raise InvalidInput(f"{shown(value)} is not a {kind} name", hint=NAME_HINT)
    return value


def check_image(value: object) -> str:
    """Return `value` if it has the form of an image's name; InvalidInput otherwise."""
    if not isinstance(value, str) or not is_image(value):
        raise InvalidInput(
            f"{shown(value)} is not an image name", hint="write a name such as debian-nginx or registry/path:tag"
        )
    return value
