"""bubblewrap: namespaces and mounts, nothing else."""

from tests.benchmarks.peers.base import Spawned


class Bubblewrap(Spawned):
    name = "bubblewrap"
    program = "bwrap"
    isolation = (
        "all namespaces; no cgroup, no limits, no network, no seccomp filter; the root is not a layer of its own"
    )

    def argv(self, *command: str, name: str = "it", shares_network: bool = False) -> tuple[str, ...]:
        network = ("--share-net",) if shares_network else ()
        mounts = ("--bind", str(self.bed.rootfs), "/", "--proc", "/proc", "--dev", "/dev")
        return ("bwrap", "--unshare-all", *network, "--die-with-parent", *mounts, *command)
