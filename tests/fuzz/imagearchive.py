"""Archives that hold images (store/archivefiles.py): what is listed lies within the file, whatever the headers say."""

import io
import os
import tarfile

from pycontainer.errors import InvalidInput
from pycontainer.store.archivefiles import ArchiveFiles, list_members
from tests.fuzz.inputs import check_message, write


def _archive(*names: str, links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", bufsize=512) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"12345"))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return out.getvalue()[:8192]


SEEDS = (
    _archive("oci-layout", "index.json", "blobs/sha256/" + "a" * 64),
    _archive("manifest.json", "./c.json", links={"l/layer.tar": "../m/layer.tar", "m/layer.tar": "../l/layer.tar"}),
    _archive("bin/sh", "etc/passwd"),
    _archive("../x", "/manifest.json", "a//b", "manifest.json/"),
    b"\0" * 1024,
    b"not an archive",
)
MAX_BYTES = 8192


def try_one(data: bytes) -> None:
    for is_seekable in (True, False):
        try:
            members = tuple(list_members(io.BytesIO(data), is_seekable=is_seekable))
        except InvalidInput as error:
            check_message(error)
            continue
        fd = os.open(write("imagearchive", data), os.O_RDONLY)
        try:
            files = ArchiveFiles(fd, members)
            for member in members:
                try:
                    place = files.find(member.name)
                except InvalidInput as error:
                    check_message(error)
                    continue
                if place is not None:
                    assert 0 <= place.offset <= place.offset + place.size_bytes <= len(data)
        finally:
            os.close(fd)
