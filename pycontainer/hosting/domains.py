"""Names of hosts on the web, as people may write them and as certificates hold them."""

import re

from pycontainer.errors import InvalidInput
from pycontainer.units import shown

MAX_LENGTH = 253  # RFC 1035 2.3.4: 255 bytes on the wire
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ADDRESS = re.compile(r"[0-9.]+", re.ASCII)
_A_LABEL = "xn--"
_HINT = "write a name such as www.shop.example"


def check_domain(value: object) -> str:
    """Return a domain in small letters; InvalidInput if it is none. `*.shop.example` is every name one level below.

    Its characters are letters, digits, dashes and dots: one that has passed can stand in any configuration. Names with other
    letters are taken as they go over the wire (`xn--...`, RFC 5890 A-labels): what that is differs between versions of
    IDNA, so their owners say it. The hint has the usual one.
    """
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{shown(value)} is not a domain", hint=_HINT)
    domain = value.lower()
    if not domain.isascii():
        hint = f"write it as it goes over the wire{_a_labels(domain)}"
        raise InvalidInput(f"{shown(value)} is not a domain: it has letters beside a to z", hint=hint)
    if domain.endswith("."):
        raise InvalidInput(f"{shown(value)} is not a domain: it ends in a dot", hint="leave the dot out")
    if len(domain) > MAX_LENGTH:
        raise InvalidInput(f"{shown(value)} is not a domain: it has more than {MAX_LENGTH} characters", hint=_HINT)
    if _ADDRESS.fullmatch(domain):
        raise InvalidInput(f"{shown(value)} is not a domain, but an address", hint=_HINT)
    for label in domain.removeprefix("*.").split("."):
        if not _LABEL.fullmatch(label):
            why = (
                f"{shown(label)} is not letters, digits, and dashes between them" if label else "a part of it is empty"
            )
            raise InvalidInput(f"{shown(value)} is not a domain: {why}", hint=_HINT)
        if label.startswith(_A_LABEL) and not _is_a_label(label):
            raise InvalidInput(
                f"{shown(value)} is not a domain: {shown(label)} stands for no other letters", hint=_HINT
            )
    return domain


def covers(name: str, domain: str) -> bool:
    """Tell whether a name of a certificate stands for a domain: itself, or one label for its `*`. RFC 6125, 6.4.3."""
    name, domain = name.lower().rstrip("."), domain.lower()
    if name == domain:
        return True
    first, _, rest = domain.partition(".")
    return name.startswith("*.") and first != "*" and rest != "" and name[2:] == rest


def _is_a_label(label: str) -> bool:
    try:
        meant = label.removeprefix(_A_LABEL).encode().decode("punycode")
    except (UnicodeError, OverflowError):
        return False
    return meant.isprintable() and not meant.isascii()


def _a_labels(domain: str) -> str:
    try:
        return f": {domain.encode('idna').decode()}"
    except UnicodeError:
        return ", xn--..."
