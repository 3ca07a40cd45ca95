"""What a request for metrics may look like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.metrics.request import Refused, Request, parse, takes_gzip, wants_openmetrics

PROMETHEUS = (
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9323\r\nUser-Agent: Prometheus/2.42.0\r\nAccept: application/openmetrics-text;"
    b"version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n"
    b"Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10"
)
HOST = b"\r\nHost: a"


def test_what_prometheus_asks() -> None:
    request = parse(PROMETHEUS)
    assert (request.path, request.is_head, request.accept_encoding) == ("/metrics", False, "gzip")
    assert wants_openmetrics(request.accept) and takes_gzip(request.accept_encoding)


def test_the_least() -> None:
    assert parse(b"GET /metrics HTTP/1.0") == Request("/metrics", False, "", "")
    assert parse(b"HEAD /healthz HTTP/1.1" + HOST) == Request("/healthz", True, "", "")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET /metrics", 400),
        (b"GET  /metrics HTTP/1.1" + HOST, 400),
        (b"GET /metrics HTTP/2.0" + HOST, 400),
        (b"GET /metrics HTTP/1.1 " + HOST, 400),
        (b"get /metrics HTTP/1.1" + HOST, 405),
        (b"POST /metrics HTTP/1.1" + HOST, 405),
        (b"OPTIONS /healthz HTTP/1.1" + HOST, 405),
        (b"GET / HTTP/1.1" + HOST, 404),
        (b"POST / HTTP/1.1" + HOST, 404),
        (b"GET /metrics/ HTTP/1.1" + HOST, 404),
        (b"GET /metrics?a=b HTTP/1.1" + HOST, 404),
        (b"GET /../metrics HTTP/1.1" + HOST, 404),
        (b"GET //metrics HTTP/1.1" + HOST, 404),
        (b"GET http://a/metrics HTTP/1.1" + HOST, 400),
        (b"GET * HTTP/1.1" + HOST, 400),
        (b"GET /metrics HTTP/1.1", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\n folded", 400),
        (b"GET /metrics HTTP/1.1\r\nHost : a", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\nX: b", 400),
        (b"GET /metrics HTTP/1.1\nHost: a", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: \xff", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: \0", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nnothing", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\n: b", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 1", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", 400),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1" + HOST, 414),
        (b"GET /metrics HTTP/1.1" + HOST + b"\r\nA: b" * 100, 431),
        (b"GET /metrics HTTP/1.1" + HOST + b"\r\nA: " + b"b" * 5000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_what_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(Refused) as caught:
        parse(head)
    assert caught.value.status == status
    assert caught.value.reason.isascii() and "\n" not in caught.value.reason


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: PROMETHEUS + tail))
def test_whatever_comes_is_a_request_or_refused(head: bytes) -> None:
    try:
        assert parse(head).path in ("/metrics", "/healthz")
    except Refused as refused:
        assert refused.status in (400, 404, 405, 414, 431)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", True),
        ("*/*", True),
        ("application/openmetrics-text", True),
        ("text/plain;version=0.0.4;q=0.5, application/openmetrics-text;version=1.0.0", True),
        ("text/plain", False),
        ("TEXT/PLAIN;version=0.0.4, */*;q=0.1", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("text/plain, application/openmetrics-text;q=0", False),
        ("text/plain;q=0.0, */*", True),
        ("application/json", True),
    ],
)
def test_which_format(accept: str, expected: bool) -> None:
    assert wants_openmetrics(accept) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("br", False),
    ],
)
def test_gzip_only_if_it_is_asked_for(text: str, expected: bool) -> None:
    assert takes_gzip(text) is expected
