"""`os`, of which a call needs little: the half in C whole, `path` as far as we use it, and all else from `os` itself.

Importing `os` takes 0.9 ms of a process that lives for ten, most of them for the abstract classes that `environ` is made of.
What comes out of the bundle finds this module in its place (`launcher`). Whoever asks for more than is here gets it, and
waits for `os`.
"""

import posix
import sys
from posix import *  # noqa: F403  # functions and constants, the same objects as in `os`
from posix import _exit as _exit
from posix import _path_normpath as _normalized  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

del environ  # noqa: F821  # of bytes; that of `os` is of text
devnull = "/dev/null"
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def fsencode(filename: "str | bytes | Any") -> bytes:
    filename = posix.fspath(filename)
    return filename if isinstance(filename, bytes) else filename.encode(_ENCODING, _ERRORS)


def fsdecode(filename: "str | bytes | Any") -> str:
    filename = posix.fspath(filename)
    return filename if isinstance(filename, str) else filename.decode(_ENCODING, _ERRORS)


def __getattr__(name: str) -> "Any":
    import os as whole  # by another name: `import os` is this very module, once it comes out of the bundle

    return getattr(whole, name)


class _Path:
    """`os.path`, for text; what is not here comes from there."""

    def __getattr__(self, name: str) -> "Any":
        import posixpath

        return getattr(posixpath, name)

    @staticmethod
    def exists(path: "str | int") -> bool:
        try:
            posix.stat(path)
        except (OSError, ValueError):
            return False
        return True

    @staticmethod
    def isdir(path: "str | int") -> bool:
        try:
            return posix.stat(path).st_mode & 0o170000 == 0o040000
        except (OSError, ValueError):
            return False

    @staticmethod
    def dirname(path: str) -> str:
        head = path[: path.rfind("/") + 1]
        return head.rstrip("/") or head

    @staticmethod
    def basename(path: str) -> str:
        return path[path.rfind("/") + 1 :]

    @staticmethod
    def join(path: str, *others: str) -> str:
        for other in others:
            if other.startswith("/"):
                path = other
            else:
                path += other if not path or path.endswith("/") else f"/{other}"
        return path

    @staticmethod
    def normpath(path: str) -> str:
        found: str = _normalized(path) or "."
        return found

    def abspath(self, path: str) -> str:
        return self.normpath(path if path.startswith("/") else f"{posix.getcwd()}/{path}")

    def realpath(self, path: str, *, strict: bool = False) -> str:
        """As there; a path that is there is asked of the kernel, as a whole."""
        try:
            fd = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
        except OSError:
            if strict:
                raise
            found: str = self.__getattr__("realpath")(path)
            return found
        try:
            found = posix.readlink(f"/proc/self/fd/{fd}")
            there, held = posix.stat(found), posix.fstat(fd)
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return found
        except OSError:  # no procfs, or it has been renamed since
            pass
        finally:
            posix.close(fd)
        found = self.__getattr__("realpath")(path, strict=strict)
        return str(found)


path = _Path()
