"""Bandwidth on a host where bpf(2) is shut: every link has filters of its own."""

import errno
import socket
import threading
import time

import pytest

from pycontainer.net import shaping
from tests.integration.net.conftest import Instance, Site
from tests.support.hostns import OUTSIDE_IP
from tests.support.traffic import FarEnd

pytestmark = [pytest.mark.vm, pytest.mark.requires("skbedit")]

MBIT = 10**6


@pytest.fixture(autouse=True)
def no_bpf(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(program: bytes) -> int:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(shaping, "load_classifier", refused)


def send(instance: Instance, far: FarEnd) -> socket.socket:
    """Have an instance send all it can; the stream ends with the socket."""
    sock = instance.namespace.make_socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.connect((OUTSIDE_IP, far.port))

    def pump() -> None:
        try:
            while True:
                sock.sendall(bytes(65536))
        except OSError:
            return

    threading.Thread(target=pump, daemon=True).start()
    return sock


@pytest.mark.measures
@pytest.mark.parametrize("after_restart", [False, True])
def test_two_instances_have_each_their_own_rate(site: Site, after_restart: bool) -> None:
    fast, slow = site.instance("fast"), site.instance("slow")
    ends = [FarEnd(site.outside, OUTSIDE_IP) for _ in range(2)]
    if after_restart:
        site.do(lambda: site.manager.bandwidth(fast.id, "").cap("out", None, 3 * MBIT))
        site.restart_manager()
        site.do(lambda: site.manager.reconcile({fast.id: True, slow.id: True}))
    for instance, rate in ((fast, 3 * MBIT), (slow, MBIT)):
        bandwidth = site.do(lambda instance=instance: site.manager.bandwidth(instance.id, ""))  # type: ignore[misc]
        site.do(lambda bandwidth=bandwidth, rate=rate: bandwidth.cap("out", None, rate))  # type: ignore[misc]
    streams = [send(instance, end) for instance, end in zip((fast, slow), ends, strict=True)]
    time.sleep(1)
    before = [end.received_bytes for end in ends]
    began = time.monotonic()
    time.sleep(5)
    seconds = time.monotonic() - began
    rates = [(end.received_bytes - count) * 8 / seconds for end, count in zip(ends, before, strict=True)]
    for stream in streams:
        stream.shutdown(socket.SHUT_RDWR)
        stream.close()
    for end in ends:
        end.close()
    # What is held is that nobody gets more; an emulated processor may be too slow to send so much all the time.
    for found, cap in zip(rates, (3 * MBIT, MBIT), strict=True):
        assert 0.8 * cap < found < 1.05 * cap
