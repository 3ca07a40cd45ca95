"""Names of hosts on the web, as people may write them and as certificates hold them."""

import re

from pycontainer.errors import InvalidInput
from pycontainer.units import shown

MAX_LENGTH = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_ADDRESS = re.compile(r"[0-9.]+", re.ASCII)


def check_domain(value: object) -> str:
    """Return a domain in small letters; InvalidInput if it is none. `*.shop.example` is every name one level below.

    Its characters are letters, digits, dashes and dots: one that has passed can stand in any configuration.
    """
    text = value.lower() if isinstance(value, str) and value.isascii() else ""
    if len(text) > MAX_LENGTH or not _DOMAIN.fullmatch(text) or _ADDRESS.fullmatch(text):
        hint = "write a name such as www.shop.example, one with other letters as its registrar spells it: xn--..."
        raise InvalidInput(f"{shown(value)} is not a domain", hint=hint)
    return text


def covers(name: str, domain: str) -> bool:
    """Tell whether a name of a certificate stands for a domain: itself, or one label for its `*`. RFC 6125, 6.4.3."""
    name, domain = name.lower().rstrip("."), domain.lower()
    if name == domain:
        return True
    first, _, rest = domain.partition(".")
    return name.startswith("*.") and first != "*" and rest != "" and name[2:] == rest
