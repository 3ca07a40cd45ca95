"""The compressor's frames are what our decoder, and everybody's, reads back."""

import io

import pytest

from pycontainer.linux.zstd import Compressor
from pycontainer.store.compression import Decompressed, compression


@pytest.mark.parametrize(
    "blocks", [[], [b""], [b"x"], [b"\0" * 1_000_001, b"ab" * 500_000], [bytes(range(256)) * 9000] * 3]
)
def test_round_trip(blocks: list[bytes]) -> None:
    packed = compress(blocks)
    assert packed == compress(blocks)  # the same data, the same bytes
    form = compression(packed[:6])
    assert form is not None
    plain, whole = Decompressed(io.BytesIO(packed), form), b""
    while block := plain.read(1 << 18):
        whole += block
    assert whole == b"".join(blocks)


def compress(blocks: list[bytes]) -> bytes:
    compressor = Compressor()
    return b"".join([*(compressor.compress(block) for block in blocks), compressor.finish()])
