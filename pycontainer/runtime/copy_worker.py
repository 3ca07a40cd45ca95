"""One copy out of or into a container, in a process of its own (runtime/worker.py):

    copy_worker PARENT (out|in) (--pidfd N|--root-fd N) --filters DIR -- PATH

`out` writes a tar stream of PATH to standard output: its last component with all beneath it, or for `/` and `DIR/.` the
contents alone. `in` unpacks the tar stream of standard input into the directory PATH. One JSON line on standard error
says what was left out, {"left_out": [...]}, or what went wrong, {"error": ...}, with exit 1.

With a pidfd the worker joins the container's user and mount namespaces: it is root inside and nobody outside, and no path
can lead it out. It loads nothing from there (CVE-2019-14271) and cannot be traced from there. With the descriptor of a
detached mount, a stopped container's root, that becomes its own root (CVE-2018-15664), in a user namespace with ids as they
are on disk and without rights outside. Either way it has no network, the capabilities that files ask for and no others, what
Landlock leaves of rights on files, and a filter of system calls (confined.py). DIR keeps the compiled filter.
"""

import errno
import json
import os
import resource
import stat
import sys

import prctl

from pycontainer.errors import InvalidInput, InvalidState, NotFound, PycontainerError
from pycontainer.linux import landlock
from pycontainer.linux.files import hold_procfs, open_in_root
from pycontainer.linux.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    setns,
    unshare,
    user_namespace,
)
from pycontainer.runtime.confined import (
    FILE_CAPABILITIES,
    FILTER,
    MAX_MEMORY_BYTES,
    REPLACING_FILTER,
    WRITE_RIGHTS,
    become_root_of,
    drop_capabilities,
    enter_root,
    forget_imports,
    load_filter,
    restrict_files,
)
from pycontainer.runtime.worker import end_with
from pycontainer.security.seccomp_compile import program
from pycontainer.store.tarstream import Packed
from pycontainer.store.unpack import Unpacker

_BLOCK_BYTES = 1 << 18
_MAX_LEFT_OUT, _MAX_LINE_CHARACTERS = 100, 400  # in the reply; root inside may make a million fifos
_NAMESPACES = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP  # where there is nothing to talk to
_EVERY_ID = 0xFFFFFFFF
_HINTS = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EBUSY: "something is mounted on it, which can be written to from inside alone",
}


def main() -> int:
    """Do the one copy of the command line; return the exit status."""
    parent, direction, where, fd, _, filters, _, path = sys.argv[1:]
    end_with(int(parent))
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl.set_no_new_privs(1)
    try:
        filter_ = program(REPLACING_FILTER if direction == "in" else FILTER, filters)
        if where == "--pidfd":
            _join(int(fd))
        else:
            _enter(int(fd))
        prctl.set_dumpable(0)  # a change of ids sets it anew, to fs.suid_dumpable,
        end_with(int(parent))  # and takes this away
        drop_capabilities(FILE_CAPABILITIES)
        restrict_files(WRITE_RIGHTS if direction == "in" else landlock.READ)
        root_fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        load_filter(filter_)
        left_out = _copy_out(root_fd, path) if direction == "out" else _copy_in(root_fd, path)
    except PycontainerError as error:
        return _failed(error)
    except BrokenPipeError:
        return 1  # who asked has left
    except OSError as error:
        return _failed(_explained(error, direction, path))
    except MemoryError:
        return _failed(InvalidInput("the tar stream needs more memory than a copy may use"))
    except Exception as error:  # a traceback would read our source by its name, which may now be the container's fifo
        return _failed(PycontainerError(f"internal error of the copy: {type(error).__name__}: {error}"))
    _say({"left_out": _shortened(left_out)})
    return 0


def _join(pidfd: int) -> None:
    """Become root of the container of `pidfd`, and nothing more; close `pidfd`."""
    prctl.set_dumpable(0)  # before we are where root inside could trace us
    unshare(_NAMESPACES)
    hold_procfs()  # while /proc is the host's
    try:
        setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS)
    except ProcessLookupError as error:
        raise InvalidState("the container ended before the copy began") from error
    os.close(pidfd)
    forget_imports()
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _enter(mount_fd: int) -> None:
    """Have the detached mount `mount_fd` for a root, and rights on files alone; close `mount_fd`."""
    with user_namespace(0, _EVERY_ID) as userns_fd:
        unshare(_NAMESPACES | CLONE_NEWNS)
        enter_root(mount_fd)
        forget_imports()
        become_root_of(os.dup(userns_fd))


def _copy_out(root_fd: int, path: str) -> list[str]:
    directory, _, name = path.rstrip("/").rpartition("/")
    whole = name in ("", ".", "..")  # the contents of a directory, without a name of their own
    follow = path.endswith("/") or whole
    try:
        if follow:
            fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
            packed = Packed(fd, top=b"." if whole else os.fsencode(name))
        else:
            fd = open_in_root(root_fd, directory or "/", os.O_RDONLY | os.O_DIRECTORY)
            kind = stat.S_IFMT(os.lstat(name, dir_fd=fd).st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise InvalidInput(f"'{path}' is a device, fifo or socket, which cp does not copy", field="path")
            packed = Packed(fd, name=os.fsencode(name))
    except FileNotFoundError as error:
        raise NotFound(f"no file or directory '{path}' in the container") from error
    except NotADirectoryError as error:
        raise NotFound(f"a part of '{path}' is no directory in the container") from error
    while block := packed.read(_BLOCK_BYTES):
        while block:
            block = block[os.write(1, block) :]
    return packed.left_out


def _copy_in(root_fd: int, path: str) -> list[str]:
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError as error:
        raise NotFound(f"no directory '{path}' in the container", hint="make it first, or name one above it") from error
    except NotADirectoryError as error:
        raise InvalidInput(f"'{path}' is no directory in the container", field="path") from error
    unpacker = Unpacker(fd, merge=True)
    with os.fdopen(0, "rb", closefd=False) as stream:
        unpacker.unpack(stream)
    return [f"'{name}' is a device, fifo or socket" for name in unpacker.dropped]


def _explained(error: OSError, direction: str, path: str) -> PycontainerError:
    name = error.filename.decode(errors="backslashreplace") if isinstance(error.filename, bytes) else error.filename
    code = error.errno or 0
    return PycontainerError(
        f"cannot copy {'into' if direction == 'in' else 'from'} '{path}': "
        + (f"'{name}': " if name and name != path else "")
        + f"{os.strerror(code)} ({errno.errorcode.get(code, code)})",
        hint=_HINTS.get(code, ""),
    )


def _shortened(lines: list[str]) -> list[str]:
    """Return no more of them than a reply should hold, each no longer: its end says why it was left out."""
    shown = [line if len(line) <= _MAX_LINE_CHARACTERS else f"...{line[-_MAX_LINE_CHARACTERS:]}" for line in lines]
    more = len(lines) - _MAX_LEFT_OUT
    return [*shown[:_MAX_LEFT_OUT], f"and {more} more"] if more > 0 else shown


def _failed(error: PycontainerError) -> int:
    _say({"error": error.to_wire()})
    return 1


def _say(message: dict[str, object]) -> None:
    os.write(2, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
