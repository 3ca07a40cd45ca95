"""Blobs: bytes that are called by their SHA-256, kept as they came.

    images/blobs/sha256/HEX      0600, whole and verified; what no image names is garbage

A digest is only ever `sha256:` and 64 lower-case hexadecimal digits, so it is safe as a file's name (CVE-2024-3727).
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable

from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.linux.files import read_bounded, write_atomically
from pycontainer.units import shown

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_BLOCK_BYTES = 1 << 20


def is_digest(value: object) -> bool:
    """Tell whether `value` has the form of a digest of ours."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def digest_hex(digest: object, what: str = "a digest") -> str:
    """Return the 64 digits of a digest; InvalidInput, naming `what` holds it, for anything else."""
    if not isinstance(digest, str) or not is_digest(digest):
        raise InvalidInput(f"{shown(digest)} for {what} is not sha256: and 64 lower-case hexadecimal digits")
    return digest[7:]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Blobs:
    """The blobs of one store. Who adds or removes some holds the store's lock (staging.py)."""

    def __init__(self, images_dir: str) -> None:
        self.directory = f"{images_dir}/blobs/sha256"

    def path(self, digest: str) -> str:
        """Return where the blob lies, or would; InvalidInput for what is no digest."""
        return f"{self.directory}/{digest_hex(digest)}"

    def has(self, digest: str) -> bool:
        return os.path.isfile(self.path(digest))

    def size_bytes(self, digest: str) -> int:
        """Return how large a blob is, 0 when it is gone."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return 0

    def read(self, digest: str, max_bytes: int) -> bytes:
        """Return a small blob whole; InvalidState when it is gone, too large, or not what its name says."""
        try:
            data = read_bounded(self.path(digest), max_bytes)
        except OSError as error:
            raise InvalidState(
                f"blob {digest} cannot be read: {os.strerror(error.errno or 0)}", hint="bring the image in again"
            ) from error
        if digest_of(data) != digest:
            raise InvalidState(f"blob {digest} is damaged", hint="bring the image in again")
        return data

    def all(self) -> set[str]:
        """Return the digests of all blobs."""
        try:
            return {f"sha256:{name}" for name in os.listdir(self.directory) if _HEX.fullmatch(name)}
        except FileNotFoundError:
            return set()

    def remove(self, digest: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))


def digest_of_file(path: str) -> str:
    """Return the digest of a file that may be large."""
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def stage_bytes(data: bytes, directory: str) -> str:
    """Write a small blob into a staging directory and return its digest."""
    digest = digest_of(data)
    write_atomically(f"{directory}/{digest_hex(digest)}", data, sync=False)
    return digest


def stage_copy(
    source_fd: int,
    directory: str,
    *,
    offset: int = 0,
    size_bytes: int,
    digest: str | None = None,
    source: str = "the archive",
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> str:
    """Copy a part of an open file into a staging directory as a blob, and return its digest.

    Its content is not looked at, only hashed. Raises InvalidInput when the file ends before, or the digest is not the one
    that was given; OSError. Each names the blob, or `source` where no digest was given.
    """
    name = f"blob {digest}" if digest else source
    sha256 = hashlib.sha256()
    temporary = f"{directory}/{os.urandom(8).hex()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        done = 0
        while done < size_bytes:
            block = os.pread(source_fd, min(_BLOCK_BYTES, size_bytes - done), offset + done)
            if not block:
                raise InvalidInput(f"{name} is cut off: {done} of {size_bytes} bytes are there")
            sha256.update(block)
            view = memoryview(block)
            while view:
                view = view[os.write(fd, view) :]
            done += len(block)
            on_bytes(len(block))
        found = f"sha256:{sha256.hexdigest()}"
        if digest is not None and found != digest:
            raise InvalidInput(f"{name} is damaged: what is there has the digest {found}")
        os.rename(temporary, f"{directory}/{digest_hex(found)}")
        return found
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"{name}: {error.strerror}") from error
        raise
    finally:
        os.close(fd)
