"""Traffic control messages, byte for byte where a kernel would take a wrong one without a word."""

import struct

import pytest

from pycontainer.net import tc
from pycontainer.net.shaping import UNLIMITED_BITS, _bits, _wire


def test_a_message_is_as_long_as_it_says_and_attributes_are_aligned() -> None:
    for message in (
        tc.htb(7, 0xFFFF),
        tc.htb_class(7, 5, tc.HTB | 9, 1000, 2000),
        tc.clsact(7, 32, 33),
        tc.redirect_all(32, 9),
        tc.classify_by_program(7, 3),
        tc.byte_fifo(7, 5, 1000),
        tc.fq_codel(7, 5),
        tc.delete_class(7, 5),
        tc.get_class(7, 5),
    ):
        assert struct.unpack_from("=I", message)[0] == len(message)
        assert len(message) % 4 == 0


def reply_of(class_message: bytes) -> bytes:
    """Return what a kernel answers of a class that was made by `class_message`: the same, and statistics."""
    basic = struct.pack("=QI4x", 1234, 5)
    queue = struct.pack("=IIIII", 0, 0, 7, 0, 99)
    inner = b"".join(struct.pack("=HH", 4 + len(data), kind) + data for kind, data in ((1, basic), (3, queue)))
    body = class_message[16:] + struct.pack("=HH", 4 + len(inner), 7) + inner
    return struct.pack("=IHHII", 16 + len(body), tc.NEW_CLASS, 0, 0, 0) + body


@pytest.mark.parametrize(("rate", "ceiling"), [(1000, 1_250_000), (12_500_000_000, 13_000_000_000)])
def test_a_class_is_read_as_it_was_written(rate: int, ceiling: int) -> None:
    """Rates beyond 32 bits of bytes per second too."""
    found = tc.read_class(reply_of(tc.htb_class(7, 0xC005, tc.HTB | 0xFFFD, rate, ceiling)))
    assert found == tc.Class(0xC005, tc.HTB | 0xFFFD, rate, ceiling, 1234, 7)


@pytest.mark.parametrize("bits", [8_000, 1_000_000, 10_000_000, 15_500_000, 64_000, 20_000_000_000])
def test_a_round_rate_is_found_again_in_what_the_kernel_holds(bits: int) -> None:
    assert _bits(_wire(bits), UNLIMITED_BITS) == bits
    assert _bits(_wire(UNLIMITED_BITS), UNLIMITED_BITS) is None
