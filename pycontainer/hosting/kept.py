"""Certificates as the front door serves them: copies, each with its key, of the last pair that could be used.

    certificates/TENANT/SITE.pem      0600; nginx reads nothing else, so what was checked is what is served

Whoever renews a certificate replaces two files, one after the other, and there is a moment between. And one site whose files
are taken away or spoilt must not lose its TLS, nor keep the other sites as they are.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pycontainer.hosting.certificates import why_unusable
from pycontainer.hosting.routes import SiteRoute
from pycontainer.linux.files import read_bounded, write_atomically

_MAX_BYTES = 1 << 20


def keep(routes: Iterable[SiteRoute], directory: str) -> tuple[SiteRoute, ...]:
    """Return the routes with the copies in place of the files, which are taken over if they can be used.

    A site that has no such pair, and had none, has no TLS.
    """
    return tuple(_kept(route, directory) for route in routes)


def forget_others(routes: Iterable[SiteRoute], directory: str) -> None:
    """Delete the copies that belong to none of the sites."""
    wanted = {_place(route, directory) for route in routes if route.certificate}
    for path, _, names in os.walk(directory):
        for name in names:
            if f"{path}/{name}" not in wanted:
                os.unlink(f"{path}/{name}")


def _kept(route: SiteRoute, directory: str) -> SiteRoute:
    if route.certificate is None or route.key is None:
        return route
    place = _place(route, directory)
    _take_over(route.certificate, route.key, place)
    copy = Path(place) if os.path.exists(place) else None
    return replace(route, certificate=copy, key=copy)


def _take_over(certificate: Path, key: Path, place: str) -> None:
    try:
        both = b"".join(read_bounded(path, _MAX_BYTES).rstrip() + b"\n" for path in (certificate, key))
    except OSError:
        return
    try:
        if read_bounded(place, 2 * _MAX_BYTES) == both:
            return  # and was found good when it was taken
    except FileNotFoundError:
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    new = f"{place}.new"
    write_atomically(new, both)
    if why_unusable(Path(new), Path(new)):
        os.unlink(new)
    else:
        os.rename(new, place)


def _place(route: SiteRoute, directory: str) -> str:
    return f"{directory}/{route.name}.pem"
