"""What only one site of a host can have: a domain, a port of the host, the names of its containers."""

from collections.abc import Callable, Sequence

from pycontainer.hosting.site import MAX_REPLICAS, container_name
from pycontainer.spec.model import Port
from pycontainer.spec.names import NAME
from pycontainer.spec.validate import addresses_overlap

FRONT_DOOR_PORTS = (80, 443)
Wrong = Callable[[str, str, str], None]  # path, message, hint


class Claims:
    """What sites claim, in the order of the file: who comes second is told who was first. Sites are TENANT/SITE."""

    def __init__(self, wrong: Wrong) -> None:
        self._wrong = wrong
        self._domains: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._ports: dict[tuple[str, int], list[tuple[Port, str, str]]] = {}  # each with its site, and the path of that

    def domains(self, site: str, domains: Sequence[str], path: str) -> None:
        for index, domain in enumerate(domains):
            if domain in self._domains:
                owner = self._domains[domain]
                whose = "is there twice" if owner == site else f"belongs to site '{owner}' already"
                self._wrong(f"{path}.domains[{index}]", f"domain '{domain}' {whose}", "each domain leads to one site")
            self._domains.setdefault(domain, site)

    def ports(self, site: str, ports: Sequence[Port], path: str) -> None:
        for port in ports:
            if not port.host_port:
                continue
            claims = self._ports.setdefault((port.protocol, port.host_port), [])
            for other, owner, _ in claims:
                if owner != site and addresses_overlap(port.host_ip, other.host_ip):
                    message = f"host port {port.host_port}/{port.protocol} belongs to site '{owner}' already"
                    self._wrong(f"{path}.ports", message, "choose another, or let the front door share it by domains")
                    break
            claims.append((port, site, path))

    def check_front_door_ports(self) -> None:
        """Keep the ports free by which requests for domains come in, if there are domains."""
        for number in FRONT_DOOR_PORTS if self._domains else ():
            for _, _, path in self._ports.get(("tcp", number), ()):
                message = f"host port {number} is the front door's, where requests for all domains come in"
                self._wrong(f"{path}.ports", message, "write domains: instead")

    def name(self, tenant: str, site: str, path: str) -> None:
        """`a-b/c` and `a/b-c` would have containers of the same names."""
        first = container_name(tenant, site, 0)
        if not NAME.fullmatch(container_name(tenant, site, 2 * MAX_REPLICAS)):
            self._wrong(path, f"names such as '{first}' would be too long", "shorten the name of tenant or site")
        if owner := self._names.get(first):
            self._wrong(path, f"its containers would be named as those of site '{owner}'", "give it another name")
        self._names.setdefault(first, f"{tenant}/{site}")
