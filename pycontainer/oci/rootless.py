"""Without root: first into a user namespace of our own, then everything as root does it.

    us                                       helper, still outside
    unshare(CLONE_NEWUSER)   ── done ──▶     newuidmap, newgidmap, or our own id alone
    root inside              ◀─ mapped ──    ends

What we map is what `linux.uidMappings` say; the container's user namespace is then the one we are in. An engine that runs
without root itself, as Podman does, has made that namespace before it calls us, and we are root already. user_namespaces(7)
"""

import os

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import CLONE_NEWUSER, setns, unshare
from pycontainer.oci import idmaps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.config import Config


def enter(config: "Config") -> None:
    """Become root of the user namespace that `config` describes; it has none to be made any more, and its ids are ours.

    Raises StartFailed without such a namespace, or if it cannot be made.
    """
    if config.namespaces.get("user") != "":
        raise StartFailed(
            "not run by root, and linux.namespaces asks for no user namespace of its own",
            hint="'spec --rootless' writes a configuration that does",
            step="ids",
        )
    done_read_fd, done_write_fd = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _map_parent(config, done_read_fd, done_write_fd)
    os.close(done_read_fd)
    try:
        unshare(CLONE_NEWUSER)
        os.write(done_write_fd, b"1")
    except PermissionError as error:
        raise StartFailed(
            "this host lets only root make user namespaces", step="ids", errno=error.errno or 0
        ) from error
    finally:
        os.close(done_write_fd)
        _, status = os.waitpid(pid, 0)
    if status:
        raise StartFailed(
            "the ids of the user namespace could not be mapped: look at /etc/subuid and /etc/subgid", step="ids"
        )
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    del config.namespaces["user"]
    config.uid_mappings, config.gid_mappings = [], []


def join(pidfd: int) -> None:
    """Become root of the user namespace of a container that we made without root."""
    setns(pidfd, CLONE_NEWUSER)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _map_parent(config: "Config", done_read_fd: int, done_write_fd: int) -> None:
    """Map the ids of our parent once it has its namespace; never returns."""
    status = 1
    try:
        os.close(done_write_fd)
        if os.read(done_read_fd, 1):
            idmaps.write(os.getppid(), config.uid_mappings, config.gid_mappings)
            status = 0
    except StartFailed as error:
        os.write(2, f"{error.message}\n".encode())
    except OSError as error:
        os.write(2, f"map ids: {error.strerror}\n".encode())
    finally:
        os._exit(status)
