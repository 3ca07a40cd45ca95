"""Records of a network and of a container's addresses as they are on disk, whole: tests damage copies of them."""

NETWORK: dict[str, object] = {
    "name": "net",
    "driver": "routed",
    "number": 3,
    "subnet": "10.77.0.0/24",
    "subnet6": "fd00::/64",
    "gateway": "10.77.0.1",
    "gateway6": "fd00::1",
}
RESERVATION: dict[str, object] = {
    "name": "web",
    "hostname": "web",
    "endpoints": [{"network": "net", "device": "eth0", "slot": 7, "ip": "10.77.0.2", "ip6": ""}],
    "ports": [{"host_port": 8080, "container_port": 80, "protocol": "tcp", "host_ip": ""}],
    "add_hosts": [["db", "10.0.0.1"]],
    "packets_per_second": None,
    "tenant": "",
    "connections": 5,
}
