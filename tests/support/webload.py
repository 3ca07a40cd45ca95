"""A load of known size for a site behind the front door, so that the ledger can be held against it."""

import http.client

from tests.support.poll import SLOWNESS

SIZE_BYTES = 4 << 20  # of each body: large against what a request has besides

# Run in the site: a page of that size, and a program that counts what it is sent.
PREPARE = rf"""
mkdir -p /www/cgi-bin && head -c {SIZE_BYTES} /dev/zero >/www/page && cd /www/cgi-bin
printf '#!/bin/sh\nn=$(wc -c); printf "Content-Type: text/plain\\r\\n\\r\\n$n"\n' >count && chmod 755 count
"""


def exchange(address: str, domain: str, rounds: int) -> int:
    """Fetch the page and send as much, over new connections, so often; return the bytes that went each way.

    To be called in the network that the front door is asked from. AssertionError if something did not arrive.
    """
    for _ in range(rounds):
        page = _ask(address, domain, "GET", "/page", b"")
        assert len(page) == SIZE_BYTES, f"{domain}: {page[:200]!r}"
        counted = _ask(address, domain, "POST", "/cgi-bin/count", bytes(SIZE_BYTES))
        assert counted.strip() == b"%d" % SIZE_BYTES, f"{domain}: {counted[:200]!r}"
    return rounds * SIZE_BYTES


def _ask(address: str, domain: str, method: str, path: str, body: bytes) -> bytes:
    connection = http.client.HTTPConnection(address, 80, timeout=30 * SLOWNESS)
    try:
        connection.request(method, path, body, {"Host": domain, "Connection": "close"})
        return connection.getresponse().read()
    finally:
        connection.close()
