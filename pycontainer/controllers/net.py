"""Network bandwidth both ways, a controller for each, the packets that a container may send, and its connections.

Caps and guarantees are bits per second, and are held outside of the container, where its link ends
(net/shaping.py), so cgroups play no part and both versions are alike.
"""

from pycontainer.controllers.protocol import Bandwidth, Host, Instance, Reading
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec


class _RateController:
    name, unit = "", "bits/s"
    direction = ""

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        return []  # what is wrong with the rates themselves, spec/validate.py says

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # bandwidth is not held

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        guaranteed, ceiling = self._wish(spec)
        network = instance.network
        if network is not None:
            network.cap(self.direction, guaranteed, ceiling)
        elif (guaranteed, ceiling) != (None, None):
            raise _no_network(self.name)
        return []

    def read(self, instance: Instance) -> Reading | None:
        """`fail_count` is the packets that found their queue full."""
        if instance.network is None:
            return None
        dropped = instance.network.traffic(self.direction).dropped_packets
        return Reading(None, None, instance.network.ceiling(self.direction), dropped)

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        if instance.network is not None:
            instance.network.release()

    def _wish(self, spec: ContainerSpec) -> tuple[int | None, int | None]:
        raise NotImplementedError


class NetInController(_RateController):
    name, direction = "net_in", "in"

    def _wish(self, spec: ContainerSpec) -> tuple[int | None, int | None]:
        return spec.net_in_min_bits, spec.net_in_bits


class NetOutController(_RateController):
    name, direction = "net_out", "out"

    def _wish(self, spec: ContainerSpec) -> tuple[int | None, int | None]:
        return spec.net_out_min_bits, spec.net_out_bits


class _CountController:
    """A number that is each container's own, held in the firewall; `fail_count` is the packets it refused."""

    name, unit, for_tenant = "", "", ""

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        return [f"{self.name}: {self.for_tenant}"] if self._wish(spec) is not None and host.for_tenant else []

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        wish = self._wish(spec)
        if instance.network is not None:
            self._hold(instance.network, wish)
        elif wish is not None:
            raise _no_network(self.name)
        return []

    def read(self, instance: Instance) -> Reading | None:
        if instance.network is None or instance.is_tenant:
            return None
        limit, refused = self._held(instance.network)
        return Reading(None, None, limit, refused)

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass  # with the rates

    def _wish(self, spec: ContainerSpec) -> int | None:
        raise NotImplementedError

    def _hold(self, network: Bandwidth, wish: int | None) -> None:
        raise NotImplementedError

    def _held(self, network: Bandwidth) -> tuple[int | None, int]:
        raise NotImplementedError


class NetPacketsController(_CountController):
    """Packets per second that a container may send: small ones cost the host as much as large ones."""

    name, unit = "net_packets", "packets/s"
    for_tenant = "the packets of a tenant's containers are guarded one by one; set it on these"

    def _wish(self, spec: ContainerSpec) -> int | None:
        return spec.net_packets_per_second

    def _hold(self, network: Bandwidth, wish: int | None) -> None:
        network.guard(wish)

    def _held(self, network: Bandwidth) -> tuple[int | None, int]:
        return network.guarded(), network.guarded_packets()


class NetConnectionsController(_CountController):
    """Connections that the host's firewall tracks for a container: its table is one for all, and full is full for all."""

    name, unit = "net_connections", "connections"
    for_tenant = "each of a tenant's containers has a share of its own; set it on these"

    def _wish(self, spec: ContainerSpec) -> int | None:
        return spec.net_connections

    def _hold(self, network: Bandwidth, wish: int | None) -> None:
        network.share(wish)

    def _held(self, network: Bandwidth) -> tuple[int | None, int]:
        return network.shared(), network.refused()


def _no_network(name: str) -> Unsupported:
    return Unsupported(
        f"cannot hold {name}: the container has no network of its own",
        hint="put it on a network, or leave the limit out",
        feature="net",
    )
