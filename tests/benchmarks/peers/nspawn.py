"""systemd-nspawn, without systemd around it."""

from tests.benchmarks.peers.base import Spawned
from tests.benchmarks.runner import Runner

# It keeps sockets beneath /run, and trusts only a file system in memory there.
_OWN_RUN = 'mount -t tmpfs tmpfs /run; exec "$@"'
_SHARED_ROOT = {"SYSTEMD_NSPAWN_LOCK": "0"}  # it refuses a directory that another one has


class Nspawn(Spawned):
    name = "systemd-nspawn"
    program = "systemd-nspawn"
    isolation = "no network of its own, no user namespace, the cgroup of its caller (no systemd here); seccomp filter"

    def prepare(self) -> None:
        super().prepare()
        self.runner.close()
        own_run = ("unshare", "--mount", "sh", "-euc", _OWN_RUN, "sh")
        self.runner = Runner([*self.bed.network.inside.argv(), *own_run], {**self.bed.environment, **_SHARED_ROOT})

    def argv(self, *command: str, name: str = "it", shares_network: bool = False) -> tuple[str, ...]:
        kept = ("--quiet", "--keep-unit", "--register=no", "--pipe", "--volatile=no", "--as-pid2")
        return ("systemd-nspawn", *kept, f"--machine={name}", f"--directory={self.bed.rootfs}", *command)

    def release(self, name: str) -> None:
        self.runner.end(self._held.pop(name), 15)
