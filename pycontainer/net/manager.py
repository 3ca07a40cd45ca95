"""The networks of a world, as the supervisor sees them: every call is short and synchronous.

    create, list, inspect, remove        networks; "default" is made when it is first needed
    reserve → rename → release           a container's addresses, from its creation to its deletion, over restarts
    claim_ports, attach → detach         one run: ports, firewall elements, links, names; undone in the other order
    connect, disconnect                  one more network or one less, running or not
    reconcile                            after a restart of the supervisor, before anything else
    set_fast_path                        hand long connections to a network's published ports over (fastpath/), or not
    close                                leave, or take everything of ours off the host

The firewall's elements come before the link and go after it. `host` and `none` never get here.

A network whose record is damaged lets nobody on, and its subnets and addresses go to nobody else; a container that runs on
it is cut off from it. One whose addresses are damaged is the supervisor's to refuse: `hold` keeps those it had.
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from pycontainer.errors import AlreadyExists, InvalidInput, InvalidState, NotFound, PycontainerError, Unsupported
from pycontainer.failpoints import reach
from pycontainer.net import hosts, link, sysctl
from pycontainer.net.addresses import (
    Endpoint,
    IPNetwork,
    Network,
    Pool,
    Records,
    Remains,
    Reservation,
    first_address,
    host_addresses,
    host_routes,
    parse_subnet,
    pick_subnet,
    random_subnet6,
)
from pycontainer.net.bandwidth import Bandwidth
from pycontainer.net.bridge import add_addresses, bridge_name, ensure_bridge
from pycontainer.net.elements import Element
from pycontainer.net.firewall import Firewall
from pycontainer.net.linkcounts import LinkBytes, Links, link_bytes
from pycontainer.net.ports import WILDCARDS, Ports, Targets
from pycontainer.net.rulesetwatch import RulesetWatch
from pycontainer.net.shaping import Shaping, tenant_owner
from pycontainer.net.tracked import ANY_PORT, IsLeft, Tracked, is_own
from pycontainer.paths import HostPaths
from pycontainer.spec.model import Port
from pycontainer.spec.names import check_name
from pycontainer.trace import span
from pycontainer.units import shown

if TYPE_CHECKING:
    from pycontainer.net.fastpath.worker import FastPath

DEFAULT = "default"
DRIVERS = ("routed", "bridge")
RESERVED_NAMES = ("host", "none")
FORWARDING, FORWARDING6 = "ipv4/ip_forward", "ipv6/conf/all/forwarding"
DEFAULT_SHARE = 8192  # tracked connections of a container ...
LEAST_SHARES = 8  # ... where the host's table holds at least eight times as many

Addresses = dict[str, dict[str, str]]
NetworkInfo = dict[str, object]
_Subnets = list[IPNetwork]
_Infos = list[NetworkInfo]  # within the class, `list` is the method
_PortList = list[Port]
_Elements = list[Element]
_LinkNames = list[tuple[str, str, int]]
_Problems = list[str]
_Names = list[str]


class NetworkManager:
    """All networks, addresses, ports and links of one world; the supervisor is its only user."""

    def __init__(self, paths: HostPaths) -> None:
        self._prefix = paths.interface_prefix
        self._world = paths.world
        self._records = Records(paths.networks_dir)
        self._hosts = hosts.Hosts(paths.networks_dir)
        self._links = link.Links(self._prefix, self._world)
        self._shaping = Shaping(self._links, self._prefix)
        self._firewall = Firewall(paths.marker.replace("-", "_"), self._prefix)
        self._ports = Ports(paths.forwarder_socket)
        self._tracked = Tracked()
        self._networks: dict[str, Network] = {}
        self._pools: dict[str, tuple[Pool, Pool]] = {}
        self._reservations: dict[str, Reservation] = {}
        self._with_gateway: set[str] = set()  # networks, also of bridges
        self._host_is_ready = False
        self._next_slot = 1
        self._groups: dict[tuple[str, str], int] = {}  # (network, tenant) → the packet mark of those who may talk
        self._shares: dict[str, int] = {}  # the number by which the firewall knows an instance, for as long as it runs
        self._last_share = 0
        self._expected: dict[str, dict[str, int]] = {}  # containers whose walls are open, with their bridges' indexes
        self._remains: dict[str, Remains] = {}  # of each damaged network
        self._held: dict[str, list[tuple[Pool, str]]] = {}  # by containers whose reservation is damaged
        self._fast_path: FastPath | None = None
        self._fast_path_refusal = ""  # why this kernel has none
        networks, reservations = self._records.load_networks(), self._records.load_reservations()
        self.damaged_networks: dict[str, PycontainerError] = networks.damaged
        self.damaged_reservations: dict[str, PycontainerError] = reservations.damaged
        for network in networks.whole:
            self._know_again(network)
        self._remains = {name: self._records.remains(name) for name in self.damaged_networks}
        for reservation in reservations.whole:
            self._take_again(reservation)

    @staticmethod
    def warm_up() -> None:
        """Import and encode what the first attach needs (150-200 ms), at a moment when nobody waits for it."""
        link.warm_up()

    # -- networks

    def create(
        self, name: str, driver: str = "routed", subnet: str = "", subnet6: str = "", *, fast_path: bool = False
    ) -> NetworkInfo:
        """Make a network; subnets left empty are chosen. Returns NetworkInfo."""
        check_name(name, "network")
        self._require_whole(name)
        if name in RESERVED_NAMES or name == DEFAULT or name in self._networks:
            raise AlreadyExists(f"network '{name}' exists already", hint="choose another name")
        if driver not in DRIVERS:
            raise InvalidInput(
                f"no network driver {shown(driver)}", hint="drivers are routed and bridge", field="driver"
            )
        if driver == "bridge":
            self._firewall.require_bridge()
        if fast_path:
            self._require_fast_path(driver)
        self._create(name, driver, subnet, subnet6, fast_path=fast_path)
        return self.inspect(name)

    def set_fast_path(self, name: str, fast_path: bool) -> NetworkInfo:
        """Hand long connections to the published ports of a network over from now on, or leave all to the kernel."""
        network = self._find(name)
        if fast_path:
            self._require_fast_path(network.driver)
        network = replace(network, fast_path=fast_path, was_fast=fast_path or network.was_fast)
        self._records.save_network(network)
        self._networks[name] = network
        for reservation in self._reservations.values():
            if (endpoint := reservation.endpoint(name)) is not None:
                self._admit(reservation, endpoint)
        self._end_unused_fast_path()
        return self.inspect(name)

    def list(self) -> _Infos:
        """Return NetworkInfo of every network, the default one first; damaged ones say so."""
        if DEFAULT not in self.damaged_networks:
            self._find(DEFAULT)
        names = sorted((*self._networks, *self.damaged_networks), key=lambda name: (name != DEFAULT, name))
        return [self._info(name, self._networks.get(name)) for name in names]

    def inspect(self, name: str) -> NetworkInfo:
        """Return NetworkInfo of a network and of the containers that have addresses in it."""
        return self._info(name, self._find(name))

    def _info(self, name: str, network: Network | None) -> NetworkInfo:
        """Return NetworkInfo; without `network` it is damaged."""
        containers = {
            reservation.container_id: {"name": reservation.name, "ip": endpoint.ip, "ip6": endpoint.ip6}
            for reservation in self._reservations.values()
            if (endpoint := reservation.endpoint(name)) is not None
        }
        return {
            "name": name,
            "driver": network.driver if network else "",
            "subnet": network.subnet if network else "",
            "subnet6": network.subnet6 if network else "",
            "gateway": network.gateway if network else "",
            "containers": containers,
            "fast_path": bool(network and network.fast_path),
            "fast_connections": self._fast_connections(name),
            "fast_obstacle": self._fast_obstacle() if network and network.fast_path else "",
            "damaged": "" if network else self.damaged_networks[name].message,
        }

    def remove(self, name: str) -> None:
        """Remove a network and what it has on the host; InvalidState while a container has an address in it."""
        network = None if name in self.damaged_networks else self._find(name)
        users = [reservation.name for reservation in self._reservations.values() if reservation.endpoint(name)]
        if users:
            raise InvalidState(
                f"network '{name}' is in use by {', '.join(repr(user) for user in users[:5])}",
                hint="delete these containers or disconnect them first",
            )
        if network is None:
            self._remove_damaged(name)
            return
        if name == DEFAULT:
            raise InvalidState("network 'default' cannot be removed", hint="it costs nothing while nobody uses it")
        self._take_down(network)
        reach("network:down")
        self._hosts.forget_network(name)
        self._records.delete_network(name)
        reach("network:unnamed")
        del self._networks[name], self._pools[name]
        self._end_unused_fast_path()

    def _remove_damaged(self, name: str) -> None:
        self._take_down_remains(name)
        self._hosts.forget_network(name)
        self._records.delete_network(name)
        del self.damaged_networks[name], self._remains[name]

    # -- addresses

    def hold(self, container_id: str, name: str, addresses: Addresses) -> None:
        """Keep what a container whose reservation is damaged had, as its own record says, until `release`."""
        held: list[tuple[Pool, str]] = []
        for network, address in addresses.items():
            for pool, ip in zip(self._pools.get(network, ()), (address.get("ip"), address.get("ip6")), strict=False):
                if ip and pool.hold(ip, f"container '{name}'"):
                    held.append((pool, ip))
        self._held[container_id] = held

    def has_reservation(self, container_id: str) -> bool:
        """Tell whether a container's addresses are recorded, and whole."""
        return container_id in self._reservations

    def reservation_is_gone(self, container_id: str) -> PycontainerError:
        """Return the error for a container that had addresses, and no record of them."""
        error = self._records.damaged_reservation(container_id, "it is gone")
        return self.damaged_reservations.setdefault(container_id, error)

    def reserve(
        self,
        container_id: str,
        name: str,
        hostname: str,
        networks: Sequence[str],
        ip: str = "",
        ip6: str = "",
        *,
        tenant: str = "",
    ) -> Addresses:
        """Give a container an address of each family in every network; `ip` and `ip6` are for the first one.

        Lasts until `release`, and is on the disk with `keep`. Its neighbours are the containers of the same `tenant`.
        NotFound for a network that does not exist, AlreadyExists for an address that is taken, InvalidInput for a bridge
        that is another tenant's.
        """
        self.release(container_id)
        reservation = Reservation(container_id, name, hostname, tenant=tenant)
        try:
            for position, network in enumerate(dict.fromkeys(networks)):
                self._add_endpoint(reservation, network, ip if position == 0 else "", ip6 if position == 0 else "")
        except BaseException:
            for endpoint in reservation.endpoints:
                self._free(endpoint)
            raise
        self._records.withhold(container_id)
        self._reservations[container_id] = reservation
        return self.addresses(container_id)

    def keep(self, container_id: str, *, sync: bool = True) -> None:
        """Put what a container was given on the disk, and from here on each change of it; see `Container.save`."""
        self._records.keep(self._reservation(container_id), sync=sync)

    def addresses(self, container_id: str) -> Addresses:
        """Return {network: {"ip", "ip6"}} of a container, in its order of networks; empty if it has none."""
        reservation = self._reservations.get(container_id)
        return {e.network: {"ip": e.ip, "ip6": e.ip6} for e in reservation.endpoints} if reservation else {}

    def rename(self, container_id: str, new_name: str) -> None:
        """Tell the neighbours the container's new name."""
        reservation = self._reservation(container_id)
        before, reservation.name = reservation.name, new_name
        try:
            self._records.save_reservation(reservation)
        except BaseException:
            reservation.name = before
            raise
        for endpoint in reservation.endpoints:
            if endpoint.index:
                self._join(reservation, endpoint)

    def name_of(self, container_id: str) -> str:
        """Return the name by which a container's neighbours know it, or are to know it."""
        return self._reservation(container_id).name

    def reserved(self) -> set[str]:
        """Return the containers that hold addresses."""
        return {*self._reservations}

    def release(self, container_id: str) -> None:
        """Give back all that a container holds; nothing happens if it holds nothing."""
        if self.damaged_reservations.pop(container_id, None) is not None:
            for pool, ip in self._held.pop(container_id, ()):
                pool.free(ip)
                self._tracked.leave(ip)
            self._records.delete_reservation(container_id)
        reservation = self._reservations.get(container_id)
        if reservation is None:
            return
        self.detach(container_id, alive=False)
        for endpoint in reservation.endpoints:
            self._free(endpoint)
        self._hosts.forget_container(container_id)
        self._records.delete_reservation(container_id)
        del self._reservations[container_id]

    # -- ports

    def claim_ports(self, container_id: str, ports: Sequence[Port]) -> _PortList:
        """Claim host ports for the next run, all or none, and return them with free ones chosen; `detach` ends it.

        AlreadyExists if a port is taken; InvalidState if one of its networks is damaged.
        """
        reservation = self._reservation(container_id)
        self.require_usable(container_id)
        claimed = self._ports.claim(container_id, reservation.name, ports, _targets(reservation))
        if claimed != reservation.ports:
            reservation.ports = claimed
            self._records.save_reservation(reservation)
        return claimed

    def require_usable(self, container_id: str) -> None:
        """Raise InvalidState if a container is on a network whose record is damaged."""
        for endpoint in self._reservation(container_id).endpoints:
            self._require_whole(endpoint.network)

    def release_ports(self, container_id: str) -> None:
        """Give claimed ports back, after a start that failed before `attach`."""
        self._ports.release(container_id)

    def published(self, container_id: str) -> _PortList:
        """Return the ports that are claimed now."""
        return list(self._ports.claimed(container_id))

    def sweep(self) -> None:
        """Delete links of ended runs that are still there, and routes that nobody needs; some time after `detach`."""
        self._links.delete_parked()
        self._links.delete_multicast_routes()

    # -- a run

    def expect(self, container_id: str) -> None:
        """Do the part of `attach` that needs no namespace, while that is being made: walls, bridges, published ports.

        `detach` undoes it.
        """
        reservation = self._reservation(container_id)
        self._expected[container_id] = self._open_walls(reservation, reservation.endpoints, fresh=True)

    def attach(self, container_id: str, netns_fd: int) -> None:
        """Connect a fresh network namespace to all networks of its container, and publish the claimed ports.

        The caller keeps `netns_fd`. On failure nothing is left but the claimed ports.
        """
        reservation = self._reservation(container_id)
        with ExitStack() as undo:
            undo.callback(self._detach, reservation, alive=True)
            if container_id not in self._expected:
                self.expect(container_id)
            bridges = self._expected.pop(container_id)
            self._attach(reservation, reservation.endpoints, netns_fd, bridges, fresh=True)
            self._tracked.forget(self._ports.claimed(container_id), keep=_targets(reservation).values())
            undo.pop_all()

    def detach(self, container_id: str, *, alive: bool) -> None:
        """Undo `attach` and the claim of ports; `alive` if the namespace lives on. Nothing happens if it is done."""
        reservation = self._reservations.get(container_id)
        if reservation is None:
            return
        # It may have ended when no supervisor was there to have its claims.
        ports = self._ports.claimed(container_id) or [
            port for port in reservation.ports if port.protocol == "udp" and not self._ports.holds(port)
        ]
        try:
            self._ports.release(container_id)
        finally:  # whatever the forwarder has, nothing leads there any more
            self._detach(reservation, alive=alive)
            self._tracked.forget(ports)

    def connect(
        self,
        container_id: str,
        network: str,
        ip: str = "",
        ip6: str = "",
        netns_fd: int | None = None,
        ports: Sequence[Port] = (),
    ) -> None:
        """Give a container one more network, at once if it runs: then `netns_fd` is its namespace.

        If it was on none its `ports` are published, as at a start: AlreadyExists if one was taken meanwhile.
        """
        reservation = self._reservation(container_id)
        if reservation.endpoint(network):
            raise AlreadyExists(f"container '{reservation.name}' is on network '{network}' already")
        is_first = not reservation.endpoints
        with ExitStack() as undo:
            endpoint = self._add_endpoint(reservation, network, ip, ip6)
            undo.callback(self._free, endpoint)
            undo.callback(reservation.endpoints.remove, endpoint)
            if netns_fd is not None:
                undo.callback(self._detach_endpoint, reservation, endpoint, alive=True)
                bridges = self._open_walls(reservation, [endpoint], fresh=False)
                self._attach(reservation, [endpoint], netns_fd, bridges, fresh=False)
                reach("connect:linked")
                if is_first and ports:
                    undo.callback(self._ports.release, container_id)
                    undo.callback(self._firewall.remove, _ports_owner(container_id))
                    self._publish(reservation, ports)
                    self._tracked.forget(reservation.ports, keep=_targets(reservation).values())
            self._records.save_reservation(reservation)
            undo.pop_all()
        reach("connect:reserved")
        self._refresh_own_hosts(reservation)

    def disconnect(self, container_id: str, network: str, netns_fd: int | None = None) -> None:
        """Take a network from a container, at once if it runs; its published ports go by the next one it has."""
        reservation = self._reservation(container_id)
        endpoint = reservation.endpoint(network)
        if endpoint is None:
            self._find(network)
            raise InvalidState(f"container '{reservation.name}' is not on network '{network}'")
        position = reservation.endpoints.index(endpoint)
        was_first = position == 0
        reservation.endpoints.remove(endpoint)
        try:
            self._records.save_reservation(reservation)  # first: a link that no record has goes when somebody comes up
        except BaseException:
            reservation.endpoints.insert(position, endpoint)
            raise
        reach("disconnect:reserved")
        self._detach_endpoint(reservation, endpoint, alive=netns_fd is not None)
        reach("disconnect:unlinked")
        self._free(endpoint)
        if was_first and (ports := self.published(container_id)):
            self._firewall.remove(_ports_owner(container_id))
            self._ports.release(container_id)
            if reservation.endpoints:
                self._publish(reservation, ports)
            self._tracked.forget(ports, keep=_targets(reservation).values())
        self._refresh_own_hosts(reservation)

    def _publish(self, reservation: Reservation, ports: Sequence[Port]) -> None:
        """Claim host ports for a run that has none, and have them lead to its first network."""
        targets = _targets(reservation)
        reservation.ports = self._ports.claim(reservation.container_id, reservation.name, ports, targets)
        self._firewall.add({_ports_owner(reservation.container_id): _port_elements(reservation.ports, targets)})

    def stats(self, container_id: str) -> tuple[int, int]:
        """Return (received, sent) bytes of all links of a running container, as the container counts them."""
        self._reservation(container_id)  # NotFound for one that has no addresses, instead of nothing
        counts = self.link_bytes(container_id).values()
        return sum(received for received, _ in counts), sum(sent for _, sent in counts)

    def links(self, container_id: str) -> Links:
        """Return the host's ends of the links of a container that are up; of an unknown one there are none."""
        reservation = self._reservations.get(container_id)
        endpoints = reservation.endpoints if reservation is not None else ()
        return {each.index: self._was_fast(each) for each in endpoints if each.index}

    def link_bytes(self, container_id: str) -> LinkBytes:
        """Return what each link of a container has carried."""
        return link_bytes(self._links.netlink, self.links(container_id))

    def links_of(self, container_id: str) -> _LinkNames:
        """Return (name inside, name on the host, index on the host) of each link of a running container."""
        endpoints = self._reservation(container_id).endpoints
        return [(each.device, self._link_name(each), each.index) for each in endpoints if each.index]

    def _was_fast(self, endpoint: Endpoint) -> bool:
        network = self._networks.get(endpoint.network)  # it may be damaged
        return network is None or network.was_fast  # the inner end is always right

    def bandwidth(self, container_id: str, tenant: str = "") -> Bandwidth:
        """Return the limits of a container's links, together; `tenant` is whose limits lie above."""
        reservation = self._reservation(container_id)
        return Bandwidth(
            self._shaping,
            container_id,
            parent=tenant_owner(tenant) if tenant else "",
            links=reservation.links,
            guard=lambda packets: self._guard(reservation, packets),
            guarded=lambda: reservation.packets_per_second,
            guarded_packets=lambda: self._counted(_guard_owner(reservation)),
            share=lambda connections: self._share(reservation, connections),
            shared=lambda: reservation.connections or default_share(),
            refused=lambda: self._counted(_share_owner(reservation)),
            capped=self._decide_anew,
        )

    def _counted(self, owner: str) -> int:
        return sum(map(self._firewall.counted, self._firewall.elements(owner)))

    def tenant_bandwidth(self, tenant: str) -> Bandwidth:
        """Return the limits of all links of a tenant's containers, together. Packets are guarded one by one."""
        return Bandwidth(self._shaping, tenant_owner(tenant), capped=self._decide_anew)

    # -- files inside

    def hosts_path(self, container_id: str, add_hosts: Sequence[tuple[str, str]] = ()) -> str:
        """Return the file to mount over /etc/hosts, read-only; `add_hosts` are (name, address) of its own."""
        reservation = self._reservation(container_id)
        if list(add_hosts) != reservation.add_hosts:
            reservation.add_hosts = list(add_hosts)
            self._records.save_reservation(reservation)
        return self._hosts.path(container_id, _circles(reservation), reservation.add_hosts)

    def resolv_conf(self, dns: Sequence[str] = (), search: Sequence[str] = ()) -> bytes:
        """Return the text of /etc/resolv.conf: the given servers and domains, or the host's where they reach."""
        return hosts.resolv_conf(dns, search)

    def forget_tenant(self, tenant: str) -> None:
        """Delete what is on disk for a tenant that has no containers any more."""
        self._hosts.forget_tenant(tenant)

    def forget_tenants_but(self, known: Collection[str]) -> None:
        """Delete what is on disk for tenants that are no more."""
        for tenant in self._hosts.tenants().difference(known):
            self._hosts.forget_tenant(tenant)

    # -- the host

    def reconcile(self, live: Mapping[str, bool], tenants: Mapping[str, str] = {}) -> _Problems:
        """Make the host as the records say, after a restart; `live` names the containers whose namespace lives (True).

        `tenants` says whose they are.

        Their links, elements, ports and names are taken over without a gap. Whatever else carries our names goes.
        Reservations of other containers stay: who is deleted is `release`d. Returns in words what live containers
        have lost, for the log.
        """
        problems: _Problems = []
        if self._pools:
            self._tracked.forget_left(_nobodys(pool for pools in self._pools.values() for pool in pools))
        alive = [r for r in self._reservations.values() if live.get(r.container_id)]
        links = {name: index for index, name in self._links.leftovers()}
        groups: dict[str, _Elements] = {}
        for reservation in alive:
            reservation.tenant = tenants.get(reservation.container_id, reservation.tenant)
            for endpoint in reservation.endpoints:
                endpoint.index = links.pop(self._link_name(endpoint), 0)
                if not endpoint.index:
                    problems.append(f"container '{reservation.name}': its link to '{endpoint.network}' is gone")
                elif (network := self._networks.get(endpoint.network)) is None:  # without its elements it is cut off
                    problems.append(f"container '{reservation.name}': network '{endpoint.network}' is damaged")
                else:
                    self._host_is_ready = True
                    self._with_gateway.add(network.name)
                    if network.driver == "bridge":
                        links.pop(bridge_name(self._prefix, network), None)
                        groups[_bridge_owner(network)] = self._bridge_elements(network)
                    groups[_endpoint_owner(reservation.container_id, endpoint)] = self._elements(reservation, endpoint)
                    self._admit(reservation, endpoint)
            groups[_share_owner(reservation)] = self._share_elements(reservation)
            groups[_ports_owner(reservation.container_id)] = _port_elements(reservation.ports, _targets(reservation))
        problems += self._ports.adopt({r.container_id: (r.name, r.ports, _targets(r)) for r in alive if r.endpoints})
        if links:
            self._links.delete(*links.values())
        self._shaping.adopt(
            {
                r.container_id: (tenant_owner(tenants[r.container_id]) if r.container_id in tenants else "", r.links)
                for r in alive
            }
        )
        groups |= {_guard_owner(reservation): self._guard_elements(reservation) for reservation in alive}
        if alive:
            self._firewall.adopt(groups)
        else:
            self._drop_table()
        for reservation in alive:
            for endpoint in reservation.endpoints:
                if endpoint.index:
                    self._join(reservation, endpoint)
            try:
                self._hosts.path(reservation.container_id, _circles(reservation), reservation.add_hosts)
            except OSError as error:
                problems.append(f"container '{reservation.name}': '{error.filename}': {error.strerror}")
        return problems

    # -- what others did to it: looks, which change nothing, and repairs

    def strays(self) -> dict[str, int]:
        """Return name and index of the links that bear our names and are nobody's."""
        known = {endpoint.index for reservation in self._reservations.values() for endpoint in reservation.endpoints}
        known.update(self._links.parked())
        bridges = {bridge_name(self._prefix, n) for n in self._networks.values() if n.driver == "bridge"}
        found = {name: index for index, name in self._links.leftovers(known)}
        is_told = not self.damaged_networks  # else nobody knows whose a bridge is
        return {
            name: index
            for name, index in found.items()
            if name not in bridges and (is_told or not name.startswith(f"{self._prefix}b"))
        }

    def delete_stray(self, name: str) -> None:
        """Delete one of `strays`; nothing happens if it is none by now."""
        if (index := self.strays().get(name)) is not None:
            self._links.delete(index)

    def forwarding_off(self) -> _Names:
        """Return the settings of the host, below net, that are off and that its containers need to be on."""
        return _forwarding_off() if self._host_is_ready else []

    def forward(self, setting: str) -> None:
        """Switch one on. A host that learns its routes from RAs must be told to go on doing so as a router."""
        if setting == FORWARDING6:
            for name in os.listdir("/proc/sys/net/ipv6/conf"):
                if sysctl.read(f"ipv6/conf/{name}/accept_ra") == "1":
                    sysctl.write(f"ipv6/conf/{name}/accept_ra", "2")
        sysctl.write(setting, "1")

    def gateway_harm(self) -> dict[str, str]:
        """Say what the host lacks of the networks that were used since there are containers that run; by network."""
        has_ipv6 = sysctl.has_ipv6()
        harm = {}
        for name in sorted(self._with_gateway):
            network = self._networks[name]
            routed = network.driver == "routed"
            if not routed and not link.index_of(bridge_name(self._prefix, network)):
                continue  # with its ports, it is more than its addresses that is lost
            gateways = (network.gateway, network.gateway6 if has_ipv6 else "")
            subnets = (network.subnet, network.subnet6 if has_ipv6 else "") if routed else ()
            lost = [f"gateway {ip}" for ip in gateways if ip and not is_own(ip)]
            lost += [f"route 'unreachable {subnet}'" for subnet in subnets if subnet and not _is_closed(subnet)]
            if lost:
                harm[name] = f"lost: {', '.join(lost)}"
        return harm

    def mend_gateway(self, name: str) -> None:
        """Put that right. With a gateway's IPv4 address went the routes to instances, of which it was the source."""
        network = self._networks[name]
        self._add_gateway(network)
        if network.driver == "routed":
            for endpoint in (reservation.endpoint(name) for reservation in self._reservations.values()):
                if endpoint is not None and link.is_there(endpoint.index):
                    self._links.route(self._wire(network, endpoint), endpoint.index)

    def links_there(self) -> Collection[int]:
        """Return the indexes of all links that there are on the host, whosever they are."""
        return frozenset(self._links.netlink.links())

    def lost_links(self, container_id: str, there: Container[int] = ()) -> _Names:
        """Return the networks of a running container on which its link is gone; those that are damaged do not count.

        Those `there` need not be looked for, see `links_there`.
        """
        reservation = self._reservations.get(container_id)
        return [
            endpoint.network
            for endpoint in (reservation.endpoints if reservation else ())
            if endpoint.network in self._networks and not (endpoint.index in there or link.is_there(endpoint.index))
        ]

    def attach_again(self, container_id: str, network: str, netns_fd: int) -> None:
        """Make a link that was lost anew, as at the start; `netns_fd` is the container's namespace. OSError if it cannot be.

        Its limits have to be applied again.
        """
        reservation = self._reservation(container_id)
        endpoint = reservation.endpoint(network)
        if endpoint is None or network not in self.lost_links(container_id):
            return
        with ExitStack() as undo:
            undo.callback(self._detach_link, reservation, endpoint, alive=True)
            self._shaping.leave(container_id, endpoint.index)
            if self._fast_path is not None:
                self._fast_path.dismiss(endpoint.index)
            endpoint.index = 0
            bridges = self._open_walls(reservation, [endpoint], fresh=False)
            self._attach(reservation, [endpoint], netns_fd, bridges, fresh=False)
            undo.pop_all()

    def are_ports_served(self) -> bool:
        """Tell whether a forwarder lives for the ports that are published on the loopback."""
        return self._ports.are_served()

    def serve_ports_again(self) -> _Problems:
        """Start another forwarder for all of them; return in words what another program has taken meanwhile."""
        return self._ports.serve_again({r.container_id: _targets(r) for r in self._reservations.values()})

    def shaping_harm(self, owner: str = "") -> str:
        """Say what is missing of the caps on the links of a container or tenant, empty if nothing.

        Without `owner`: of what all of them need.
        """
        return self._shaping.harm(owner) if owner else self._shaping.harm_to_all()

    def mend_shaping(self, owner: str = "") -> None:
        """Put that right."""
        self._shaping.mend(owner)
        self._decide_anew()  # what was handed over while nothing was there to say that there is a cap

    def firewall_harm(self) -> str:
        """Say what `repair` would put back."""
        return self._firewall.verify()

    def watch(self) -> RulesetWatch:
        """Return what hears when somebody else changes our firewall; `repair` then says whether that did harm."""
        return RulesetWatch(self._firewall.name, self._firewall.writers)

    def repair(self) -> str:
        """Put the firewall back if anything of it is missing or changed; return what was, in words, or nothing.

        OSError if nftables refuses.
        """
        harm = self._firewall.verify()
        if harm:
            self._firewall.rebuild()
        return harm

    def close(self, *, remove: bool) -> None:
        """Leave everything as it is for the next supervisor; with `remove` nothing of ours stays on the host.

        `remove` is for when no container runs. Forwarding, once switched on, stays on: others may rely on it by now.
        """
        self._tracked.finish()
        self._close_fast_path()
        self._ports.close(remove=remove)
        if remove:
            self._shaping.remove()
            indexes = [index for index, _ in self._links.leftovers()]
            if indexes:
                self._links.delete(*indexes)
            for network in self._networks.values():
                self._take_down(network)
            for name in self._remains:
                self._take_down_remains(name)
            self._drop_table()
        self._firewall.close()
        self._links.close()

    # -- within

    def _require_whole(self, name: str) -> None:
        if (error := self.damaged_networks.get(name)) is not None:
            raise type(error)(error.message, hint=error.hint)  # a new one: a traceback would grow with each raise

    def _find(self, name: str) -> Network:
        self._require_whole(name)
        network = self._networks.get(name)
        if network is None and name == DEFAULT:
            network = self._create(DEFAULT, "routed", "", "")
        if network is None:
            raise NotFound(f"no network {shown(name)}", hint="'pycontainer network list' shows what there is")
        return network

    def _reservation(self, container_id: str) -> Reservation:
        reservation = self._reservations.get(container_id)
        if reservation is None:
            raise NotFound(f"container {container_id} has no addresses on any network")
        return reservation

    def _create(self, name: str, driver: str, subnet: str, subnet6: str, *, fast_path: bool = False) -> Network:
        own = [subnet for pools in self._pools.values() for subnet in (pools[0].subnet, pools[1].subnet)]
        own += self._subnets_of_damaged()
        host = [*host_routes(), *host_addresses()]
        others = [taken for taken in host if not any(_lies_in(taken, subnet) for subnet in own)]
        wished = {version: parse_subnet(text, version) for text, version in ((subnet, 4), (subnet6, 6)) if text}
        for asked in wished.values():
            for taken in (*own, *others):
                if taken.version == asked.version and taken.overlaps(asked):
                    raise AlreadyExists(f"subnet {asked} overlaps {taken}, which is in use", hint="choose another one")
        subnet = str(wished.get(4) or pick_subnet([*own, *others], self._world))
        subnet6 = str(wished.get(6) or random_subnet6())
        numbers = {network.number for network in self._networks.values()}
        numbers |= {remains.number for remains in self._remains.values()} - {0}
        number = next(number for number in range(1, len(numbers) + 2) if number not in numbers)
        gateways = first_address(subnet), first_address(subnet6)
        is_known = any(reservation.endpoint(name) for reservation in self._reservations.values())  # its record is lost
        network = Network(name, driver, number, subnet, subnet6, *gateways, fast_path, was_fast=fast_path or is_known)
        self._records.save_network(network)
        reach("network:recorded")
        self._know(network)
        return network

    def _subnets_of_damaged(self) -> _Subnets:
        """Return what nobody else may get while networks are damaged: their subnets, and what containers have of them."""
        found = [subnet for remains in self._remains.values() for subnet in remains.subnets]
        for reservation in self._reservations.values():
            for endpoint in reservation.endpoints:
                if endpoint.network in self.damaged_networks:
                    found += [ipaddress.ip_network(ip) for ip in (endpoint.ip, endpoint.ip6) if ip]
        return found

    def _know_again(self, network: Network) -> None:
        """Take a network from its record, unless that contradicts another's."""
        subnets = (parse_subnet(network.subnet, 4), parse_subnet(network.subnet6, 6))
        for other in self._networks.values():
            pools = self._pools[other.name]
            if other.number == network.number or any(
                pool.subnet.overlaps(s) for pool, s in zip(pools, subnets, strict=True)
            ):
                reason = f"its number or a subnet is that of network '{other.name}'"
                self.damaged_networks[network.name] = self._records.damaged_network(network.name, reason)
                return
        self._know(network)

    def _know(self, network: Network) -> None:
        self._networks[network.name] = network
        self._pools[network.name] = (
            Pool(parse_subnet(network.subnet, 4), network.name),
            Pool(parse_subnet(network.subnet6, 6), network.name),
        )

    def _add_endpoint(self, reservation: Reservation, network: str, ip: str, ip6: str) -> Endpoint:
        self._check_tenant(self._find(network), reservation)
        pool, pool6 = self._pools[network]
        owner = f"container '{reservation.name}'"
        if ip6 and not sysctl.has_ipv6():
            raise Unsupported(f"cannot give address {ip6}: this host has no IPv6", feature="ipv6")
        with ExitStack() as undo:
            if ip:
                pool.claim(ip, owner)
            else:
                ip = pool.take(owner)
            undo.callback(pool.free, ip)
            if ip6:
                pool6.claim(ip6, owner)
            elif sysctl.has_ipv6():
                ip6 = pool6.take(owner, wished=pool.number(ip))
            self._tracked.settle(ip, ip6)
            undo.pop_all()
        devices = {endpoint.device for endpoint in reservation.endpoints}
        device = next(name for number in range(len(devices) + 1) if (name := f"eth{number}") not in devices)
        endpoint = Endpoint(network, device, self._next_slot, ip, ip6, str(pool.subnet), str(pool6.subnet))
        self._next_slot += 1
        reservation.endpoints.append(endpoint)
        return endpoint

    def _check_tenant(self, network: Network, newcomer: Reservation) -> None:
        """Keep a bridge, where all hear what one shouts, to the containers of one tenant."""
        if network.driver != "bridge":
            return
        for member in self._reservations.values():
            if member.endpoint(network.name) and member.tenant != newcomer.tenant:
                whose = f"of tenant '{member.tenant}'" if member.tenant else "of no tenant"
                raise InvalidInput(
                    f"bridge network '{network.name}' has containers {whose}: one bridge, one tenant",
                    hint="give each tenant a bridge of its own, or use a routed network",
                    field="network",
                )

    def _take_again(self, reservation: Reservation) -> None:
        """Note at start what a reservation on disk holds, unless that cannot be."""
        owner = f"container '{reservation.name}'"
        with ExitStack() as undo:
            try:
                for endpoint in reservation.endpoints:
                    self._next_slot = max(self._next_slot, endpoint.slot + 1)
                    if endpoint.network not in (*self._networks, *self.damaged_networks):
                        error = self._records.damaged_network(endpoint.network, "it is gone")
                        self.damaged_networks[endpoint.network] = error
                        self._remains[endpoint.network] = Remains()
                    if (remains := self._remains.get(endpoint.network)) is not None:
                        for text, version in ((endpoint.subnet, 4), (endpoint.subnet6, 6)):
                            if text:
                                remains.subnets.append(parse_subnet(text, version))
                    if endpoint.network in self._pools:
                        for pool, ip in zip(self._pools[endpoint.network], (endpoint.ip, endpoint.ip6), strict=True):
                            if ip:
                                pool.claim(ip, owner)
                                undo.callback(pool.free, ip)
            except (InvalidInput, AlreadyExists) as error:
                container_id = reservation.container_id
                self.damaged_reservations[container_id] = self._records.damaged_reservation(container_id, error)
                return
            undo.pop_all()
        self._reservations[reservation.container_id] = reservation

    def _free(self, endpoint: Endpoint) -> None:
        for pool, ip in zip(self._pools.get(endpoint.network, ()), (endpoint.ip, endpoint.ip6), strict=False):
            if ip:
                pool.free(ip)
        self._tracked.leave(endpoint.ip, endpoint.ip6)

    def _open_walls(self, reservation: Reservation, endpoints: Sequence[Endpoint], *, fresh: bool) -> dict[str, int]:
        """Let through what these endpoints may send and get, before there is a link; return the indexes of bridges."""
        self._prepare_host()
        groups: dict[str, _Elements] = {}
        bridges: dict[str, int] = {}
        for endpoint in endpoints:
            network = self._networks[endpoint.network]
            if network.driver == "bridge":
                if not self._firewall.has(_bridge_owner(network)):
                    self._firewall.add({_bridge_owner(network): self._bridge_elements(network)})
                bridges[network.name] = ensure_bridge(self._links, self._prefix, network)
                self._with_gateway.add(network.name)
            elif network.name not in self._with_gateway:
                self._add_gateway(network)
            groups[_endpoint_owner(reservation.container_id, endpoint)] = self._elements(reservation, endpoint)
        if fresh:
            groups[_share_owner(reservation)] = self._share_elements(reservation)
        ports = self._ports.claimed(reservation.container_id)
        if ports and fresh:
            groups[_ports_owner(reservation.container_id)] = _port_elements(ports, _targets(reservation))
        with span("firewall"):
            self._firewall.add(groups)
        return bridges

    def _attach(
        self,
        reservation: Reservation,
        endpoints: Sequence[Endpoint],
        netns_fd: int,
        bridges: Mapping[str, int],
        *,
        fresh: bool,
    ) -> None:
        for endpoint in endpoints:
            wire = self._wire(self._networks[endpoint.network], endpoint, bridges.get(endpoint.network, 0))
            with span("link"):
                endpoint.index = self._attach_link(reservation.container_id, wire, netns_fd, fresh=fresh)
            self._admit(reservation, endpoint)
            self._join(reservation, endpoint)

    def _wire(self, network: Network, endpoint: Endpoint, bridge_index: int = 0) -> link.Wire:
        return link.Wire(
            self._link_name(endpoint),
            endpoint.device,
            endpoint.ip,
            endpoint.ip6 if sysctl.has_ipv6() else "",
            network.gateway,
            network.gateway6,
            network.subnet,
            network.subnet6,
            bridge_index,
        )

    def _attach_link(self, container_id: str, wire: link.Wire, netns_fd: int, *, fresh: bool) -> int:
        """Make the link, with its cap in place, and the host deaf to what it announces, before a packet can pass."""
        with ExitStack() as undo:

            def join(index: int) -> None:
                if not wire.bridge_index:
                    sysctl.guard_link(wire.name, ipv6=bool(wire.ip6))
                undo.callback(self._shaping.leave, container_id, index)
                self._shaping.join(container_id, index)

            index = self._links.attach(wire, netns_fd, fresh=fresh, before_up=join)
            undo.pop_all()
        return index

    def _detach(self, reservation: Reservation, *, alive: bool) -> None:
        self._expected.pop(reservation.container_id, None)
        for endpoint in reservation.endpoints:
            with span("link"):
                self._detach_link(reservation, endpoint, alive=alive)
            self._hosts.leave(_circle(endpoint.network, reservation), reservation.container_id)
        owners = [_endpoint_owner(reservation.container_id, endpoint) for endpoint in reservation.endpoints]
        with span("firewall"):
            self._firewall.remove(*owners, _ports_owner(reservation.container_id), _share_owner(reservation))
        self._shares.pop(reservation.container_id, None)

    def _detach_endpoint(self, reservation: Reservation, endpoint: Endpoint, *, alive: bool) -> None:
        self._detach_link(reservation, endpoint, alive=alive)
        self._hosts.leave(_circle(endpoint.network, reservation), reservation.container_id)
        self._firewall.remove(_endpoint_owner(reservation.container_id, endpoint))

    def _detach_link(self, reservation: Reservation, endpoint: Endpoint, *, alive: bool) -> None:
        if endpoint.index:
            if self._fast_path is not None:
                self._fast_path.dismiss(endpoint.index)
            self._shaping.leave(reservation.container_id, endpoint.index)
            if alive:
                self._links.delete(endpoint.index)
            else:
                self._links.detach(endpoint.index)
            endpoint.index = 0

    def _join(self, reservation: Reservation, endpoint: Endpoint) -> None:
        names = hosts.Lines(endpoint.ip, endpoint.ip6, reservation.name, reservation.hostname)
        self._hosts.join(_circle(endpoint.network, reservation), reservation.container_id, names)

    def _refresh_own_hosts(self, reservation: Reservation) -> None:
        """Let a container that has a hosts file of its own see its new set of networks; a shared file stays as it is."""
        if reservation.add_hosts:
            self._hosts.path(reservation.container_id, _circles(reservation), reservation.add_hosts)

    def _guard(self, reservation: Reservation, packets_per_second: int | None) -> None:
        """Drop what a container sends beyond so many packets per second; None is no limit."""
        if packets_per_second == reservation.packets_per_second and self._firewall.has(_guard_owner(reservation)):
            return
        if packets_per_second != reservation.packets_per_second:
            reservation.packets_per_second = packets_per_second
            self._records.save_reservation(reservation)
        if packets_per_second is None:
            self._firewall.remove(_guard_owner(reservation))
        else:
            self._firewall.add({_guard_owner(reservation): self._guard_elements(reservation)})
        for endpoint in reservation.endpoints:
            self._admit(reservation, endpoint)

    def _guard_elements(self, reservation: Reservation) -> _Elements:
        rate = reservation.packets_per_second
        if rate is None:
            return []
        limit = f"limit rate over {rate}/second burst {max(5, rate // 10)} packets counter"
        return [
            Element(
                "port_guard" if self._networks[endpoint.network].driver == "bridge" else "guard",
                f'"{self._link_name(endpoint)}"',
                statements=limit,
            )
            for endpoint in reservation.endpoints
            if endpoint.network in self._networks
        ]

    # -- the fast path

    def _require_fast_path(self, driver: str) -> None:
        if driver != "routed":
            raise InvalidInput(
                "only a routed network has a fast path: what a bridge decides of frames is not passed by",
                field="fast_path",
                hint="leave out --fast-path, or use the driver routed",
            )
        if self._open_fast_path() is None:
            raise Unsupported(
                f"cannot hand connections over: {self._fast_path_refusal}",
                hint="it takes Linux 6.6 or later, with TCX, nf_conntrack_netlink and nfnetlink_log",
                feature="fast_path",
            )

    def _open_fast_path(self) -> "FastPath | None":
        if self._fast_path is None and not self._fast_path_refusal:
            from pycontainer.net.fastpath import worker  # saves a start without it the import

            try:
                fast_path = worker.FastPath(self._firewall.name, self._firewall.writers)
            except OSError as error:
                self._fast_path_refusal = error.strerror or str(error)
                return None
            try:
                self._firewall.show_samples(fast_path.group, worker.HEADER_BYTES)
            except OSError as error:
                fast_path.close()
                self._fast_path_refusal = error.strerror or str(error)
                return None
            self._fast_path = fast_path
        return self._fast_path

    def _end_unused_fast_path(self) -> None:
        if self._fast_path is not None and not any(network.fast_path for network in self._networks.values()):
            self._close_fast_path()
            self._firewall.show_samples(None)

    def _close_fast_path(self) -> None:
        if self._fast_path is not None:
            self._fast_path.close()
            self._fast_path = None

    def _admit(self, reservation: Reservation, endpoint: Endpoint) -> None:
        """Have connections to an endpoint that is up handed over, or not. A guard is to see each packet that is sent."""
        if not endpoint.index:
            return
        network = self._networks.get(endpoint.network)  # it may be damaged
        is_fast = network is not None and network.fast_path and reservation.packets_per_second is None
        if is_fast and (fast_path := self._open_fast_path()) is not None:
            fast_path.admit(endpoint.index, link.mac_address(endpoint.ip), endpoint.ip, endpoint.ip6)
        elif self._fast_path is not None:
            self._fast_path.dismiss(endpoint.index)

    def _decide_anew(self) -> None:
        if self._fast_path is not None:
            self._fast_path.forget()

    def _fast_connections(self, name: str) -> int:
        if self._fast_path is None:
            return 0
        links = {e.index for r in self._reservations.values() if (e := r.endpoint(name)) is not None and e.index}
        return self._fast_path.count(links)

    def _fast_obstacle(self) -> str:
        """Say why nothing is handed over at all; empty if something may be."""
        if self._fast_path is None:
            return self._fast_path_refusal
        return self._fast_path.obstacle()

    # -- shares of connections

    def _share(self, reservation: Reservation, connections: int | None) -> None:
        """Have the host track so many connections of a container; None is the default share."""
        if connections != reservation.connections:
            reservation.connections = connections
            self._records.save_reservation(reservation)
            if self._firewall.has(_share_owner(reservation)):
                self._firewall.add({_share_owner(reservation): self._share_elements(reservation)})

    def _share_elements(self, reservation: Reservation) -> _Elements:
        connections = reservation.connections or default_share()
        return [Element("share", str(self._share_number(reservation)), connections=connections)]

    def _share_number(self, reservation: Reservation) -> int:
        if reservation.container_id not in self._shares:
            self._last_share += 1
            self._shares[reservation.container_id] = self._last_share
        return self._shares[reservation.container_id]

    def _link_name(self, endpoint: Endpoint) -> str:
        return f"{self._prefix}v{endpoint.slot}"

    def _elements(self, reservation: Reservation, endpoint: Endpoint) -> _Elements:
        """Return what an endpoint may say: by itself, for what passes the host, and on a bridge for its port as well."""
        network = self._networks[endpoint.network]
        port = f'"{self._link_name(endpoint)}"'
        bridged = network.driver == "bridge"
        name = f'"{bridge_name(self._prefix, network)}"' if bridged else port
        number = str(self._share_number(reservation))
        found = [Element("own4", f"{name} . {endpoint.ip}"), Element("who4", endpoint.ip, number)]
        if endpoint.ip6:
            found += [Element("own6", f"{name} . {endpoint.ip6}"), Element("who6", endpoint.ip6, number)]
        if not bridged:
            return [*found, *_membership(name, self._group(network, reservation.tenant))]
        found += [
            Element("mac", f"{port} . {link.mac_address(endpoint.ip).hex(':')}"),
            Element("port4", f"{port} . {endpoint.ip}"),
        ]
        if endpoint.ip6:
            target = f"0x{link.packed6(endpoint.ip6).hex()}"
            found += [Element("port6", f"{port} . {endpoint.ip6}"), Element("target6", f"{port} . {target}")]
        return found

    def _bridge_elements(self, network: Network) -> _Elements:
        """Where bridged frames pass the host's IP filters too (br_netfilter), the bridge may talk to itself."""
        return _membership(f'"{bridge_name(self._prefix, network)}"', self._group(network, ""))

    def _group(self, network: Network, tenant: str) -> int:
        """Return the packet mark of those who may talk to each other: a tenant's containers on one network."""
        return self._groups.setdefault((network.name, tenant), len(self._groups) + 1)

    def _prepare_host(self) -> None:
        if not self._host_is_ready:
            for setting in _forwarding_off():
                self.forward(setting)
            self._host_is_ready = True

    def _add_gateway(self, network: Network) -> None:
        """Give the host a network's gateway addresses; and if it is routed, no other way to its subnets."""
        if network.driver == "bridge":
            add_addresses(self._links, link.index_of(bridge_name(self._prefix, network)), network)
            return
        has_ipv6 = sysctl.has_ipv6()
        self._links.add_gateway(network.gateway, network.gateway6 if has_ipv6 else "")
        self._links.close_subnets(network.subnet, network.subnet6 if has_ipv6 else "")
        self._with_gateway.add(network.name)

    def _take_down(self, network: Network) -> None:
        """Remove what a network has on the host beside its instances' links."""
        if network.driver == "bridge":
            index = link.index_of(bridge_name(self._prefix, network))
            if index:
                self._links.delete(index)
            self._firewall.remove(_bridge_owner(network))
        else:
            self._remove_gateway(network.gateway, network.gateway6, network.subnet, network.subnet6)
        self._with_gateway.discard(network.name)

    def _remove_gateway(self, gateway: str, gateway6: str, subnet: str, subnet6: str) -> None:
        """Undo `_add_gateway`; nothing happens, and pyroute2 is not imported, if there is nothing."""
        if not sysctl.has_ipv6():
            gateway6 = subnet6 = ""
        if any(map(is_own, filter(None, (gateway, gateway6)))):
            self._links.remove_gateway(gateway, gateway6)
        if any(map(_is_closed, filter(None, (subnet, subnet6)))):
            self._links.open_subnets(subnet, subnet6)

    def _take_down_remains(self, name: str) -> None:
        """Remove the gateway of a damaged network, if its record or those of its containers tell its subnets."""
        subnets = {subnet.version: str(subnet) for subnet in self._remains[name].subnets}
        if 4 in subnets:
            subnet, subnet6 = subnets[4], subnets.get(6, "")
            self._remove_gateway(first_address(subnet), first_address(subnet6), subnet, subnet6)

    def _drop_table(self) -> None:
        try:
            self._firewall.delete_table()
        except Unsupported:  # without libnftables there cannot be a table of ours
            pass


def _endpoint_owner(container_id: str, endpoint: Endpoint) -> str:
    return f"{container_id}/{endpoint.network}"


def _ports_owner(container_id: str) -> str:
    return f"{container_id}:ports"


def _guard_owner(reservation: Reservation) -> str:
    return f"{reservation.container_id}:guard"


def _bridge_owner(network: Network) -> str:
    return f"bridge:{network.name}"


def _targets(reservation: Reservation) -> Targets:
    first = reservation.endpoints[0] if reservation.endpoints else None
    return {"ip": first.ip if first else "", "ip6": first.ip6 if first else ""}


def _share_owner(reservation: Reservation) -> str:
    return f"{reservation.container_id}:share"


def default_share() -> int:
    """Return how many connections the host tracks for a container that nothing was said of."""
    table = sysctl.read("netfilter/nf_conntrack_max")
    return min(DEFAULT_SHARE, int(table) // LEAST_SHARES) if table else DEFAULT_SHARE


def _circle(network: str, reservation: Reservation) -> str:
    """Return whose names a container sees on a network: those of its own tenant."""
    return f"{network}@{reservation.tenant}" if reservation.tenant else network


def _circles(reservation: Reservation) -> list[str]:
    return [_circle(network, reservation) for network in reservation.networks]


def _membership(name: str, group: int) -> _Elements:
    return [Element("network", name, str(group)), Element("member", f"{name} . {group}")]


def _port_elements(ports: Sequence[Port], targets: Targets) -> _Elements:
    """Return what publishes `ports` on the host's addresses; the loopback ones are the forwarder's."""
    found = []
    for port in ports:
        key = f"{port.protocol} . {port.host_port}"
        for host_ip in WILDCARDS.get(port.host_ip, (port.host_ip,)):
            family, target = ("6", targets["ip6"]) if ":" in host_ip else ("4", targets["ip"])
            if not target or host_ip.startswith("127.") or host_ip == "::1":
                continue
            value = f"{target} . {port.container_port}"
            is_wildcard = host_ip in WILDCARDS
            found.append(
                Element(f"pub{family}", key, value)
                if is_wildcard
                else Element(f"at{family}", f"{host_ip} . {key}", value)
            )
    return found


def _nobodys(pools: Iterable[Pool]) -> IsLeft:
    """Return what tells whether an address is one of `pools`, and nobody's now; who gets it later does not count."""
    taken: dict[tuple[int, int], dict[int, frozenset[int]]] = {}  # by the length of an address, and the mask
    for pool in pools:
        subnet = pool.subnet
        same_mask = taken.setdefault((subnet.max_prefixlen // 8, int(subnet.netmask)), {})
        same_mask[int(subnet.network_address)] = pool.taken()

    def is_nobodys(address: bytes) -> bool:
        number = int.from_bytes(address, "big")
        for (length, mask), subnets in taken.items():
            first = number & mask
            if length == len(address) and first in subnets:
                return number - first not in subnets[first]
        return False

    return is_nobodys


def _lies_in(route: object, subnet: object) -> bool:
    return route.version == subnet.version and route.subnet_of(subnet)  # type: ignore[attr-defined, no-any-return]


def _forwarding_off() -> list[str]:
    needed = (FORWARDING, FORWARDING6) if sysctl.has_ipv6() else (FORWARDING,)
    return [setting for setting in needed if sysctl.read(setting) != "1"]


def _is_closed(subnet: str) -> bool:
    """Tell whether the kernel calls the address of this subnet that nobody can have unreachable; nothing is sent."""
    ip = subnet.partition("/")[0]
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ip, ANY_PORT))
        except OSError as error:
            return error.errno == errno.EHOSTUNREACH
    return False
