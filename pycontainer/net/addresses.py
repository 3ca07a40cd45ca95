"""Who has which address: networks as recorded, and one small file per container that survives restarts.

    networks/NAME.json           {"version", "name", "driver", "number", "subnet", "subnet6", "gateway", "gateway6",
                                  "fast_path", "was_fast"}
    networks/addresses/ID.json   {"version", "name", "hostname", "endpoints": [{"network", "device", "slot", "ip", "ip6",
                                                                         "subnet", "subnet6"}],
                                  "ports": [...], "add_hosts": [...], "packets_per_second", "tenant", "connections"}

The files are read once, at the start of the supervisor, which is their only writer; what is taken is known in memory.
One that cannot be read is told of and costs what it is about, never the others.
An address is handed out in turn, after a restart from the highest that somebody has on: none is reused at once. The IPv6
one ends in the same number where it can.
"""

import contextlib
import ipaddress
import json
import os
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Generic, TypeVar

from pycontainer.errors import AlreadyExists, InvalidInput, InvalidState, PycontainerError
from pycontainer.linux.files import write_atomically
from pycontainer.record import Record, check_version, read_record, remove_record
from pycontainer.spec.model import Port
from pycontainer.spec.names import is_name

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

POOLS = (("10.64.0.0/10", 16), ("172.16.0.0/12", 16), ("192.168.0.0/16", 20))
MIN_ADDRESSES = 4  # a /30: the subnet, its gateway, one instance, the last
MAX_SEARCH = 1 << 16
RECORD_VERSION = 1
_MAX_RECORD_BYTES = 16 << 20  # a container may publish 4096 ranges of ports
_MAX_NUMBER = 1 << 31  # of networks and of links; far more than a host has
_DEVICE = re.compile(r"eth[0-9]{1,4}", re.ASCII)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Network:
    """A network as recorded; `number` is part of its bridge's name. No IPv6: empty strings."""

    name: str
    driver: str  # routed | bridge
    number: int
    subnet: str
    subnet6: str
    gateway: str
    gateway6: str
    fast_path: bool = False  # long connections to published ports are handed over, see fastpath/
    was_fast: bool = False  # now or before: what its instances received is read at the inner ends of their links


@dataclass(slots=True)
class Endpoint:
    """A container's place on one network; `index` is that of its link on the host, 0 while there is none.

    `subnet` and `subnet6` are the network's, for the day on which its own record is damaged.
    """

    network: str
    device: str
    slot: int
    ip: str
    ip6: str
    subnet: str = ""
    subnet6: str = ""
    index: int = 0


@dataclass(slots=True)
class Reservation:
    """All that a container holds of the networks, from its creation to its deletion."""

    container_id: str
    name: str
    hostname: str
    endpoints: list[Endpoint] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)
    add_hosts: list[tuple[str, str]] = field(default_factory=list)
    packets_per_second: int | None = None  # it may send, in the present run
    tenant: str = ""
    connections: int | None = None  # the host tracks for it, in the present run; None is the default share

    @property
    def networks(self) -> list[str]:
        return [endpoint.network for endpoint in self.endpoints]

    @property
    def links(self) -> list[int]:
        """The indexes of the host's ends of the links that are up."""
        return [endpoint.index for endpoint in self.endpoints if endpoint.index]

    def endpoint(self, network: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.network == network), None)


class Loaded(Generic[_T]):
    """What was read of the records of one kind: those that are whole, and why the others, by name, are not."""

    def __init__(self) -> None:
        self.whole: list[_T] = []
        self.damaged: dict[str, PycontainerError] = {}


class Remains:
    """What can be told of a network whose record is damaged: what must not be given to another one."""

    __slots__ = ("number", "subnets")

    def __init__(self) -> None:
        self.number = 0
        self.subnets: list[IPNetwork] = []


class Records:
    """The files drawn above."""

    def __init__(self, networks_dir: str) -> None:
        self._directory = networks_dir
        self._addresses_dir = f"{networks_dir}/addresses"
        self._withheld: set[str] = set()  # containers that are being made, see `withhold`

    def load_networks(self) -> Loaded[Network]:
        return self._load(self._directory, _network, self.damaged_network)

    def load_reservations(self) -> Loaded[Reservation]:
        return self._load(self._addresses_dir, _reservation, self.damaged_reservation)

    def damaged_network(self, name: str, reason: object) -> PycontainerError:
        """Return the error that every operation on such a network raises."""
        path = f"{self._directory}/{name}.json"
        return InvalidState(
            f"cannot read the record of network '{name}': '{path}': {reason}",
            hint=f"repair it, then 'pycontainer service stop'; or 'pycontainer network rm {name}', without containers on it",
        )

    def damaged_reservation(self, container_id: str, reason: object) -> PycontainerError:
        path = f"{self._addresses_dir}/{container_id}.json"
        return InvalidState(
            f"cannot read the addresses of container '{container_id}': '{path}': {reason}",
            hint=f"repair it, then 'pycontainer service stop'; 'pycontainer rm --force {container_id}' removes the container",
        )

    def remains(self, name: str) -> Remains:
        """Look at a damaged record of a network for what it holds all the same."""
        found = Remains()
        try:
            record = read_record(f"{self._directory}/{name}.json", _MAX_RECORD_BYTES)
        except (OSError, ValueError):
            return found
        with contextlib.suppress(ValueError):
            found.number = record.integer("number", 1, _MAX_NUMBER)
        for key, version in (("subnet", 4), ("subnet6", 6)):
            with contextlib.suppress(ValueError, InvalidInput):
                found.subnets.append(parse_subnet(record.text(key), version))
        return found

    def save_network(self, network: Network) -> None:
        self._save(self._directory, network.name, asdict(network))

    def save_reservation(self, reservation: Reservation, *, sync: bool = True) -> None:
        if reservation.container_id in self._withheld:
            return
        data = asdict(reservation)
        del data["container_id"]
        for endpoint in data["endpoints"]:
            del endpoint["index"]
        # No second wait: the name is on the disk with that of the container's own record, which comes later.
        self._save(self._addresses_dir, reservation.container_id, data, sync=sync, sync_name=False)

    def withhold(self, container_id: str) -> None:
        """Save nothing of a container until `keep`: it is being made, and what it is given changes some times."""
        self._withheld.add(container_id)

    def keep(self, reservation: Reservation, *, sync: bool) -> None:
        """Save what was withheld, and from here on each change."""
        self._withheld.discard(reservation.container_id)
        self.save_reservation(reservation, sync=sync)

    def delete_network(self, name: str) -> None:
        remove_record(f"{self._directory}/{name}.json")

    def delete_reservation(self, container_id: str) -> None:
        self._withheld.discard(container_id)
        remove_record(f"{self._addresses_dir}/{container_id}.json")

    def _load(
        self, directory: str, make: Callable[[str, Record], _T], damaged: Callable[[str, object], PycontainerError]
    ) -> Loaded[_T]:
        found: Loaded[_T] = Loaded()
        try:
            names = sorted(name.removesuffix(".json") for name in os.listdir(directory) if name.endswith(".json"))
        except FileNotFoundError:
            return found
        for name in names:
            try:
                record = read_record(f"{directory}/{name}.json", _MAX_RECORD_BYTES)
                if "version" in record:  # the first ones had none
                    check_version(record, RECORD_VERSION)
                found.whole.append(make(name, record))
            except (ValueError, OSError, InvalidInput) as error:
                found.damaged[name] = damaged(name, getattr(error, "strerror", None) or error)
        return found

    def _save(
        self, directory: str, name: str, data: dict[str, object], *, sync: bool = True, sync_name: bool = True
    ) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        text = json.dumps({"version": RECORD_VERSION, **data}) + "\n"
        write_atomically(f"{directory}/{name}.json", text.encode(), sync=sync, sync_name=sync_name)


def _network(name: str, record: Record) -> Network:
    """Return the network that a record describes; ValueError or InvalidInput for what cannot be one."""
    if record.text("name") != name or not is_name(name):
        raise ValueError(f"it is that of {record['name']!a}")
    if (driver := record.text("driver")) not in ("routed", "bridge"):
        raise ValueError(f"field 'driver' holds {driver!a}")
    subnet, subnet6 = (str(parse_subnet(record.text(key), v)) for key, v in (("subnet", 4), ("subnet6", 6)))
    for key, of in (("gateway", subnet), ("gateway6", subnet6)):
        if record.text(key) != first_address(of):
            raise ValueError(f"field '{key}' holds {record[key]!a}")
    number = record.integer("number", 1, _MAX_NUMBER)
    fast_path = record.flag("fast_path") if "fast_path" in record else False
    was_fast = fast_path or (record.flag("was_fast") if "was_fast" in record else False)
    gateways = first_address(subnet), first_address(subnet6)
    return Network(name, driver, number, subnet, subnet6, *gateways, fast_path, was_fast)


def _reservation(container_id: str, record: Record) -> Reservation:
    name, add_hosts = record.text("name"), []
    for pair in record.lists("add_hosts"):
        if len(pair) != 2:
            raise ValueError(f"field 'add_hosts' holds {pair!a}")
        add_hosts.append((pair[0], pair[1]))
    return Reservation(
        container_id,
        name,
        record.text("hostname"),
        [_endpoint(item) for item in record.each("endpoints")],
        [_port(item) for item in record.each("ports")],
        add_hosts,
        record.integer_or_none("packets_per_second"),
        record.text("tenant"),
        record.integer_or_none("connections"),
    )


def _endpoint(record: Record) -> Endpoint:
    device, ip, ip6 = record.text("device"), record.text("ip"), record.text("ip6")
    if not _DEVICE.fullmatch(device):
        raise ValueError(f"field 'device' holds {device!a}")
    ipaddress.IPv4Address(ip)
    if ip6:
        ipaddress.IPv6Address(ip6)
    subnet, subnet6 = (record.text(key) if key in record else "" for key in ("subnet", "subnet6"))
    for text, version in ((subnet, 4), (subnet6, 6)):
        if text:
            parse_subnet(text, version)
    return Endpoint(record.text("network"), device, record.integer("slot", 1, _MAX_NUMBER), ip, ip6, subnet, subnet6)


def _port(record: Record) -> Port:
    protocol, host_ip = record.text("protocol"), record.text("host_ip")
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"field 'protocol' holds {protocol!a}")
    if host_ip:
        ipaddress.ip_address(host_ip)
    host_port, container_port = (record.integer(key, 1, 65535) for key in ("host_port", "container_port"))
    return Port(host_port, container_port, protocol, host_ip)


class Pool:
    """The addresses of one subnet; those in use are held in memory, a claim costs the same however many they are."""

    def __init__(self, subnet: IPNetwork, network: str) -> None:
        self.subnet = subnet
        self._network = network
        self._taken: dict[int, str] = {1: "the gateway"}
        self._next = 2

    @property
    def _end(self) -> int:
        """One past the last usable number: IPv4 keeps its last for broadcast."""
        return self.subnet.num_addresses - (self.subnet.version == 4)

    def claim(self, ip: str, owner: str) -> None:
        """Take the given address; InvalidInput if it cannot be, AlreadyExists if somebody has it."""
        address = ipaddress.ip_address(ip)
        if address.version != self.subnet.version or address not in self.subnet:
            raise InvalidInput(f"address {ip} is not in subnet {self.subnet} of network '{self._network}'", field="ip")
        number = int(address) - int(self.subnet.network_address)
        if number == 0 or number >= self._end:
            raise InvalidInput(f"address {ip} is the first or last of subnet {self.subnet}", field="ip")
        if number in self._taken:
            raise AlreadyExists(
                f"address {ip} of network '{self._network}' is taken by {self._taken[number]}",
                hint="choose another address, or leave it out to get a free one",
            )
        self._taken[number] = owner
        self._next = max(self._next, number + 1)

    def hold(self, ip: str, owner: str) -> bool:
        """Take an address for an owner that is damaged; False if it is none of the subnet, or somebody else's."""
        try:
            self.claim(ip, owner)
        except (ValueError, InvalidInput, AlreadyExists):
            return False
        return True

    def take(self, owner: str, *, wished: int = 0) -> str:
        """Take a free address, the one with number `wished` if that is free; returns it."""
        number = wished if 2 <= wished < self._end and wished not in self._taken else self._search()
        self._taken[number] = owner
        self._next = number + 1
        return str(self.subnet.network_address + number)

    def number(self, ip: str) -> int:
        """Return which address of the subnet `ip` is."""
        return int(ipaddress.ip_address(ip)) - int(self.subnet.network_address)

    def taken(self) -> frozenset[int]:
        """Return the numbers of the addresses that somebody has."""
        return frozenset(self._taken)

    def free(self, ip: str) -> None:
        """Give an address back; nothing happens if nobody has it."""
        self._taken.pop(self.number(ip), None)

    def _search(self) -> int:
        size = min(self._end - 2, MAX_SEARCH)
        for step in range(size):
            number = (self._next - 2 + step) % (self._end - 2) + 2
            if number not in self._taken:
                return number
        raise InvalidState(
            f"network '{self._network}' has no free address in {self.subnet}",
            hint="delete containers that are not needed, or create a network with a larger --subnet",
        )


def parse_subnet(text: str, version: int) -> IPNetwork:
    """Return the subnet that `text` names; InvalidInput if it is none, or too small for one instance."""
    hint = f"write one such as {'10.77.0.0/24' if version == 4 else 'fd00:77::/64'}"
    name = "subnet" if version == 4 else "subnet6"
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not a subnet: {error}", hint=hint, field=name) from None
    if subnet.version != version:
        raise InvalidInput(f"{text!r} is not an IPv{version} subnet", hint=hint, field=name)
    if subnet.num_addresses < MIN_ADDRESSES or subnet.is_multicast or subnet.is_loopback or subnet.is_link_local:
        raise InvalidInput(f"subnet {text} cannot hold containers", hint=hint, field=name)
    return subnet


def pick_subnet(taken: Collection[IPNetwork], world: str) -> IPNetwork:
    """Return a private IPv4 subnet that overlaps nothing in `taken`; each world begins its search elsewhere."""
    candidates = [subnet for pool, length in POOLS for subnet in ipaddress.IPv4Network(pool).subnets(new_prefix=length)]
    start = int(world or "0", 16) % len(candidates)
    for subnet in candidates[start:] + candidates[:start]:
        if not any(subnet.overlaps(other) for other in taken if other.version == 4):
            return subnet
    raise InvalidState(
        "no private IPv4 subnet is free on this host",
        hint="name one: pycontainer network create --subnet 10.77.0.0/24 NAME",
    )


def random_subnet6() -> IPNetwork:
    """Return a unique local /64 (RFC 4193): fd, 40 random bits, 16 more for the subnet."""
    return ipaddress.IPv6Network((b"\xfd" + secrets.token_bytes(7) + bytes(8), 64))


def host_routes(path: str = "/proc/thread-self/net/route") -> list[IPNetwork]:
    """Return where the host's IPv4 routes lead, without the default one."""
    found: list[IPNetwork] = []
    with open(path) as file:
        next(file, "")  # the heading, which is left out where there is no route
        for line in file:
            fields = line.split()
            destination, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
            if mask:
                found.append(ipaddress.IPv4Network((destination, mask.bit_count())))
    return found


def host_addresses(path: str = "/proc/thread-self/net/fib_trie") -> list[IPNetwork]:
    """Return the host's own IPv4 addresses, each as a /32; the routes to them are in a table that `route` does not list.

    Another world's gateway is one of them: of a network whose containers have all ended, nothing else can be seen.
    """
    found: set[IPNetwork] = set()
    with open(path) as file:
        address = ""
        for line in file:
            words = line.split()
            if words[0] == "|--":
                address = words[1]
            elif words == ["/32", "host", "LOCAL"]:
                found.add(ipaddress.IPv4Network(address))
    return sorted(found)


def first_address(subnet: str) -> str:
    """Return the address after the subnet's own: the gateway's; empty for no subnet."""
    return str(ipaddress.ip_network(subnet).network_address + 1) if subnet else ""
