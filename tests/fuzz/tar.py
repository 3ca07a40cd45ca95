"""Tar streams (store/tarstream.py): headers, pax records, long names, sparse maps, in any state of damage."""

import io
import tarfile

from pycontainer.errors import InvalidInput
from pycontainer.store.compression import MAGIC_BYTES, Decompressed, compression
from pycontainer.store.tarstream import Kind, TarReader
from tests.fuzz.inputs import check_message


def _archive(form: int, *, compress: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compress}", format=form, bufsize=512) as tar:  # type: ignore[call-overload]
        for name, kind, link in (
            ("d", tarfile.DIRTYPE, ""),
            ("d/" + "n" * 120, tarfile.REGTYPE, ""),
            ("s", tarfile.SYMTYPE, "t" * 120),
            ("h", tarfile.LNKTYPE, "d"),
            ("c", tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mtime = kind, link, 5
            if form == tarfile.PAX_FORMAT:
                member.pax_headers = {"mtime": "1.5", "SCHILY.xattr.user.a": "b"}
            content = b"x" * 600 if kind == tarfile.REGTYPE else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()[: 8192 if not compress else None]


def _sparse() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("sparse")
        member.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.realsize": "2048",
            "GNU.sparse.name": "x",
        }
        content = b"1\n1024\n512\n".ljust(512, b"\0") + b"y" * 512
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
        member = tarfile.TarInfo("old")
        member.pax_headers = {"GNU.sparse.map": "0,1,5,2", "GNU.sparse.size": "9"}
        tar.addfile(member)
    return out.getvalue()[:8192]


SEEDS = (
    _archive(tarfile.GNU_FORMAT),
    _archive(tarfile.PAX_FORMAT),
    _sparse(),
    _archive(tarfile.PAX_FORMAT, compress="gz"),
    _archive(tarfile.PAX_FORMAT, compress="xz"),
    _archive(tarfile.PAX_FORMAT, compress="bz2"),
)
MAX_BYTES = 8192
_MAX_CONTENT = 1 << 20  # read of one file; more is the disk's business


def try_one(data: bytes) -> None:
    _read(data)
    if b"ustar" in data:
        _read(_with_sums(data))


def _with_sums(data: bytes) -> bytes:
    """Make the sum right in every block that could be a header: no chance finds it, and nothing lies behind it otherwise."""
    blocks = []
    for at in range(0, len(data), 512):
        block = data[at : at + 512]
        if block[257:262] == b"ustar":
            block = block[:148] + b" " * 8 + block[156:]
            block = block[:148] + b"%06o\0 " % sum(block) + block[156:]
        blocks.append(block)
    return b"".join(blocks)


def _read(data: bytes) -> None:
    try:
        form = compression(data[:MAGIC_BYTES])
        file = io.BytesIO(data)
        reader = TarReader(Decompressed(file, form) if form else file)
        while entry := reader.next():
            assert entry.size >= 0 and isinstance(entry.name, bytes)
            left = min(entry.size, _MAX_CONTENT) if entry.kind is Kind.FILE else 0
            while left:
                left -= len(reader.read(min(left, 65536)))
        reader.finish()
    except InvalidInput as error:
        check_message(error)
