"""One volume; its backup is written here: the supervisor gives a tar stream, we compress it with the caller's rights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Literal

from pycontainer.client.connection import Connection, Pool
from pycontainer.client.sources import as_file
from pycontainer.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from pycontainer.client.types import VolumeInfo
    from pycontainer.linux.zstd import Compressor

_BLOCK_BYTES = 1 << 20


class Volume:
    """A handle on the volume `name`; made by `Client.volume`, `volumes`, `create_volume` and `restore_volume`."""

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self.name = name

    def __repr__(self) -> str:
        return f"Volume({self.name!r})"

    @property
    def info(self) -> "VolumeInfo":
        """What caps it, what it holds and who has it, asked for now."""
        return self._pool.request("volume_inspect", {"volume": self.name})  # type: ignore[no-any-return]

    def set(self, *, size: str = "", inodes: str = "") -> None:
        """Change its caps, also while containers use it: "2G", "unlimited"; what is not given stays."""
        self._pool.request("volume_set", {"volume": self.name, "size": size, "inodes": inodes})

    def remove(self) -> None:
        """Delete it. Raises InvalidState naming the containers that have it."""
        self._pool.request("volume_rm", {"volume": self.name, "force": False})

    def backup(
        self, target: str | os.PathLike[str] | int, *, pause: bool = False, compress: Literal["zstd", "none"] = "zstd"
    ) -> list[str]:
        """Write a tar archive of it, the same for the same content, to a file or a descriptor.

        With `pause` its containers stand still meanwhile. Return what was left out and what the archive does not promise, a
        line each. A file appears when it is whole.
        """
        from pycontainer.client.target import written  # 1 ms that only a backup pays

        with written(target) as fd, open(fd, "wb", closefd=False) as file:
            return self._pool.asked(lambda: self._write(file, pause=pause, compress=compress))

    def _write(self, file: IO[bytes], *, pause: bool, compress: str) -> list[str]:
        read_fd, write_fd = os.pipe()
        connection: Connection | None = None
        try:
            try:
                connection = self._pool.take()
                connection.send("volume_backup", {"volume": self.name, "pause": pause}, [write_fd])
            finally:
                os.close(write_fd)
            compressor = _compressor() if compress == "zstd" else None
            while block := os.read(read_fd, _BLOCK_BYTES):
                file.write(compressor.compress(block) if compressor else block)
            reply: Any = {}
            while not connection.is_idle:
                is_result, message, _ = connection.receive()  # raises what went wrong
                reply = message if is_result else reply
            if compressor:
                file.write(compressor.finish())
            file.flush()
            left_out = [f"left out: {line}" for line in reply.get("left_out", [])]
            return [*map(str, reply.get("warnings", [])), *left_out]
        finally:
            os.close(read_fd)
            if connection is not None:
                self._pool.give_back(connection)


def restore(pool: Pool, name: str, source: str | int, *, size: str, inodes: str) -> Volume:
    """Unpack a backup into the volume `name`; `source` is a file, or the descriptor of one or of a stream."""
    with _archive(source) as fd:
        pool.request("volume_restore", {"volume": name, "size": size, "inodes": inodes}, [fd])
    return Volume(pool, name)


def _compressor() -> "Compressor":
    from pycontainer.linux.zstd import Compressor  # 5 ms (ctypes) that a backup alone pays

    try:
        return Compressor()
    except OSError as error:
        raise Unsupported(
            f"cannot compress with zstd: {error}",
            hint="install libzstd (Debian: libzstd1), or leave the archive uncompressed",
            feature="zstd",
        ) from error


@contextmanager
def _archive(source: str | int) -> Iterator[int]:
    """Give a descriptor of the archive, which is a file."""
    if isinstance(source, int):
        with as_file(source) as fd:
            yield fd
        return
    if not os.path.isfile(source):
        raise InvalidInput(f"no file '{source}'", field="source")
    with open(source, "rb") as file:
        yield file.fileno()
