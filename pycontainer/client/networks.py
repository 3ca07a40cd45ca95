"""One network and who is on it."""

from typing import TYPE_CHECKING

from pycontainer.client.connection import Pool

if TYPE_CHECKING:
    from pycontainer.client.types import NetworkInfo


class Network:
    """A handle on the network `name`; made by `Client.network`, `networks` and `create_network`."""

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self.name = name

    def __repr__(self) -> str:
        return f"Network({self.name!r})"

    @property
    def info(self) -> "NetworkInfo":
        """Its driver, subnets and containers, asked for now."""
        return self._pool.request("network_inspect", {"network": self.name})  # type: ignore[no-any-return]

    def connect(self, container: str, *, ip: str = "", ip6: str = "") -> None:
        """Put a container (name or id) on it, with these addresses or free ones."""
        self._pool.request("network_connect", {"network": self.name, "container": container, "ip": ip, "ip6": ip6})

    def disconnect(self, container: str) -> None:
        """Take a container (name or id) off it."""
        self._pool.request("network_disconnect", {"network": self.name, "container": container})

    def set(self, *, fast_path: bool) -> "NetworkInfo":
        """Hand long connections to its published ports over, past the host's firewall once that let them; or no more.

        Raises InvalidInput for a bridge, Unsupported if the kernel cannot. docs/network.md says what it means.
        """
        args = {"network": self.name, "fast_path": fast_path}
        return self._pool.request("network_set", args)  # type: ignore[no-any-return]

    def remove(self) -> None:
        """Delete it. Raises InvalidState while a container is on it."""
        self._pool.request("network_rm", {"network": self.name})
