"""An HTTP request for metrics, read strictly: what is not exactly a GET or HEAD of a page that there is, is refused.

    GET /metrics HTTP/1.1 CRLF  name: value CRLF ... CRLF        all of it within MAX_HEAD_BYTES, ASCII, and no body

Source: RFC 9112. Where it lets a recipient be lenient (bare LF, folded lines, blanks before the colon) we are not: who
scrapes sends none of that, and who tries what a proxy in front of us would read otherwise, does.
"""

import re
from typing import NamedTuple

MAX_HEAD_BYTES, MAX_LINE_BYTES, MAX_HEADERS = 8192, 1024, 64
END = b"\r\n\r\n"
PATHS = ("/metrics", "/healthz")

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e]*")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (/[\x21-\x7e]{0,1000}) HTTP/1\.([01])")


class Refused(Exception):
    """What is answered instead of a page."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Request(NamedTuple):
    """A page that is asked for; `is_head` if without its text. Of two headers of a name the values are joined by commas."""

    path: str
    is_head: bool
    accept: str
    accept_encoding: str


def parse(head: bytes) -> Request:
    """Return the request in `head`, which ends before the empty line. Raises Refused."""
    first, *lines = head.split(b"\r\n")
    if len(first) > MAX_LINE_BYTES:
        raise Refused(414, "the request line is too long")
    if (matched := _REQUEST_LINE.fullmatch(first)) is None:
        raise Refused(400, "not a request of HTTP/1.0 or 1.1 for a path")
    method, target, minor = matched.groups()
    headers = _headers(lines)
    if minor == b"1" and len(headers.get("host", [])) != 1:
        raise Refused(400, "there must be one Host header")
    if "transfer-encoding" in headers or any(value != "0" for value in headers.get("content-length", [])):
        raise Refused(400, "a request for metrics has no body")
    if target.decode() not in PATHS:
        raise Refused(404, "there are /metrics and /healthz")
    if method not in (b"GET", b"HEAD"):
        raise Refused(405, "only GET and HEAD are allowed")
    accept, accept_encoding = (",".join(headers.get(name, [])) for name in ("accept", "accept-encoding"))
    return Request(target.decode(), method == b"HEAD", accept, accept_encoding)


def _headers(lines: list[bytes]) -> dict[str, list[str]]:
    if len(lines) > MAX_HEADERS:
        raise Refused(431, f"more than {MAX_HEADERS} headers")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if len(line) > MAX_LINE_BYTES * 4:
            raise Refused(431, "a header is too long")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Refused(400, "a header that is none")
        headers.setdefault(name.decode().lower(), []).append(value.decode().strip(" \t"))
    return headers


def wants_openmetrics(accept: str) -> bool:
    """Say whether to answer in OpenMetrics: yes, unless the client names text as a browser does, and not that."""
    named = {kind for kind, is_wanted in map(_accepted, accept.split(",")) if is_wanted}
    return "application/openmetrics-text" in named or not named & {"text/plain", "text/html", "text/*"}


def takes_gzip(accept_encoding: str) -> bool:
    """Say whether the client takes gzip."""
    return any(coding == "gzip" and quality for coding, quality in map(_accepted, accept_encoding.split(",")))


def _accepted(entry: str) -> tuple[str, bool]:
    """Return what an entry of Accept or Accept-Encoding names, and whether it is wanted at all: q=0 says not."""
    name, *parameters = (part.strip().lower() for part in entry.split(";"))
    return name, not any(re.fullmatch(r"q=0(\.0{0,3})?", parameter) for parameter in parameters)
