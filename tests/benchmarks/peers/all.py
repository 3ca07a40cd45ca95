"""All peers, in the order of the tables: ours first."""

from tests.benchmarks.peers.base import Peer
from tests.benchmarks.peers.bubblewrap import Bubblewrap
from tests.benchmarks.peers.engine import ContainerdPeer, DockerPeer, PodmanPeer
from tests.benchmarks.peers.lxc import Lxc
from tests.benchmarks.peers.nspawn import Nspawn
from tests.benchmarks.peers.oci import Crun, Ours, Runc
from tests.benchmarks.peers.ours import Command, Library

PEERS: tuple[type[Peer], ...] = (
    Library, Command, Ours, Bubblewrap, Crun, Lxc, Runc, Nspawn, ContainerdPeer, PodmanPeer, DockerPeer,
)  # fmt: skip
