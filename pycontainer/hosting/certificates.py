"""Whether a certificate is good for a site, before anything changes: asked of OpenSSL, the library that serves it.

A handshake in memory, with the certificate itself for the only authority, has OpenSSL say what a browser would ask: that the
key fits, that it may be used for a server, what names it has and until when. It needs no program and no other package.
"""

import os
import re
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pycontainer.hosting.domains import covers

WARN_DAYS = 14  # before the end: renewed ones are a month old then
_DAY_SECONDS = 86400
_MAX_BYTES = 1 << 20
_ENTRY = re.compile("-----BEGIN CERTIFICATE-----\n.+?\n-----END CERTIFICATE-----\n?", re.DOTALL)
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of <openssl/x509_vfy.h>: we say ourselves what the dates mean
_REASON = re.compile(r"\[[^]]*\] ?|\(_ssl\.c:\d+\)|^[A-Z_]+: ")


def check(certificate: Path, key: Path, domains: Iterable[str]) -> list[str]:
    """Return what keeps a certificate from serving the domains, each in a line; empty if it is good.

    `certificate` is a file in PEM with the site's own first, then those between it and its authority.
    """
    try:
        names, begins, ends = _facts(certificate, key)
    except _Unusable as error:
        return [str(error)]
    problems, now = [], time.time()
    if now < begins:
        problems.append(f"certificate '{certificate}' is not valid before {_date(begins)}")
    if ends <= now:
        problems.append(f"certificate '{certificate}' expired on {_date(ends)}")
    missing = [domain for domain in domains if not any(covers(name, domain) for name in names)]
    if missing:
        has = ", ".join(names) or "no name at all"
        problems.append(f"certificate '{certificate}' is not for {', '.join(missing)}: it has {has}")
    return problems


def warnings(certificate: Path, key: Path) -> list[str]:
    """Return what is not wrong, but soon will be, or should not be so."""
    found = []
    try:
        mode = os.stat(key).st_mode & 0o777
        if mode & 0o077:
            found.append(f"key '{key}' can be read by others than its owner, mode {mode:04o}: chmod 600 '{key}'")
        if 0 < (left := _facts(certificate, key)[2] - time.time()) < WARN_DAYS * _DAY_SECONDS:
            found.append(f"certificate '{certificate}' expires in {int(left // _DAY_SECONDS)} days")
    except (OSError, _Unusable):
        pass  # that is a problem, and told as one
    return found


def why_unusable(certificate: Path, key: Path) -> str:
    """Return why a server cannot even be started with them; empty if it can."""
    try:
        _loaded(certificate, key)
    except _Unusable as error:
        return str(error)
    return ""


class _Unusable(Exception):
    """What keeps OpenSSL from using the two files."""


def _loaded(certificate: Path, key: Path) -> ssl.SSLContext:
    for path in (certificate, key):
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError as error:  # OpenSSL does not say which of the two
            raise _Unusable(f"cannot read '{path}': {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _Unusable(f"key '{key}' is not that of certificate '{certificate}'") from None
        raise _Unusable(f"certificate '{certificate}' with key '{key}' cannot be used: {_words(error)}") from None
    except _Locked:
        raise _Unusable(f"key '{key}' is locked by a password, which nobody is there to give") from None
    return context


class _Locked(Exception):
    pass


def _no_password() -> str:
    raise _Locked


def _facts(certificate: Path, key: Path) -> tuple[list[str], float, float]:
    """Return the names of a certificate, and from when until when it is valid, in seconds since the epoch."""
    server = _loaded(certificate, key)
    with open(certificate, encoding="ascii", errors="replace") as file:
        first = _ENTRY.search(file.read(_MAX_BYTES).replace("\r\n", "\n"))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # all of the names, not one, and those with "*" as well
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    try:
        client.load_verify_locations(cadata=first.group() if first else "")
        found = _handshake(server, client)
    except (ssl.SSLError, ValueError) as error:
        raise _Unusable(f"certificate '{certificate}' cannot be used: {_words(error)}") from None
    names = [name for kind, name in found.get("subjectAltName", ()) if kind == "DNS"]
    return names, ssl.cert_time_to_seconds(found["notBefore"]), ssl.cert_time_to_seconds(found["notAfter"])


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Return what a client learns of the certificate of a server, both of them here."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    left = [asking, answering]
    while left:
        for side in [*left]:
            try:
                side.do_handshake()
                left.remove(side)
            except ssl.SSLWantReadError:
                continue
    return asking.getpeercert() or {}


def _words(error: Exception) -> str:
    """Return OpenSSL's reason without where it stands in its source."""
    message = getattr(error, "verify_message", "") or _REASON.sub("", str(error))
    return message.strip() or type(error).__name__


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
