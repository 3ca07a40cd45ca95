"""`up` of 200 sites for 20 tenants, each answering on its own domain; then one is attacked, and the others are timed.

    .venv/bin/python -m tests.benchmarks.hosting [--tenants N] [--sites N] [--seconds N] [--attacks NAME,...] [--json FILE]

What it prints, and writes as JSON:

    up, up again, diff, down     seconds
    memory                       bytes (PSS) of the supervisor and its kin, of nginx, of what runs in all containers
    ledger                       bytes that a load exchanged with a site of each tenant through the front door, against what
                                 the ledger has for them since: the largest difference
    latency                      of all other sites, in turn, over a new connection each: medians and 95th percentiles;
                                 under each attack, and quiet right before it

Attacks: `fork` and `memory` run inside the site, again and again; `traffic` are clients that flood its domain. They stand for
other machines, so they get of this one's processors what nobody else wants. All of it is in a network and a world of its own.
Needs root, nginx, a quiet machine and some minutes.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support import webload
from tests.support.hostns import INSIDE_IP, HostNetwork
from tests.support.images import build_rootfs
from tests.support.world import World, process_commands

UP_TIMEOUT_SECONDS = 1800
_CLIENTS = 4  # processes of the flood
_SETTLE_SECONDS = 2.0
_LOAD_ROUNDS = 5

# Run by each client of the flood, in the network beyond the host: connections that stay, requests without a pause.
_FLOOD = """
import signal, socket, sys
address, domain = sys.argv[1:]
request = f"GET / HTTP/1.1\\r\\nHost: {domain}\\r\\n\\r\\n".encode() * 50
answered = 0
def end(*_):
    print(answered)
    sys.exit()
signal.signal(signal.SIGTERM, end)
while True:
    try:
        with socket.create_connection((address, 80), timeout=5) as sock:
            while True:
                sock.sendall(request)
                found = b""
                while found.count(b"HTTP/1.1 ") < 50:
                    part = sock.recv(65536)
                    if not part:
                        raise OSError
                    found += part
                answered += 50
    except OSError:
        pass
"""
_INSIDE = {
    "fork": "f() { f | f & }; while true; do f; sleep 0.1; done",
    "memory": "while true; do sh -c 'x=$(yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -c 512m)'; done",
}
ATTACKS = (*_INSIDE, "traffic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--sites", type=int, default=10, help="of each tenant")
    parser.add_argument(
        "--disk", default="unlimited", help="cap of each container; a loop image each where there are no quotas"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of latency")
    parser.add_argument("--attacks", default=",".join(ATTACKS), help="which, or nothing")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    world = World(HostNetwork())
    try:
        world.import_image(build_rootfs(f"{world.root}/rootfs"), "busybox")
        figures = measure(world, arguments)
        world.ok("frontdoor", "stop")
    finally:
        world.close()
        world.scrub()
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        Path(arguments.json).write_text(text + "\n")


def measure(world: World, arguments: argparse.Namespace) -> dict[str, Any]:
    domains = [f"s{site}.t{tenant}.example" for tenant in range(arguments.tenants) for site in range(arguments.sites)]
    file = Path(world.root) / "hosting.yaml"
    file.write_text(description(arguments.tenants, arguments.sites, arguments.disk))
    world.ok("info")
    figures: dict[str, Any] = {
        "sites": len(domains),
        "tenants": arguments.tenants,
        "cpus": os.cpu_count(),
        "disk": arguments.disk,
    }
    before_bytes = available_bytes()
    figures["up_seconds"] = timed(lambda: run(world, "up", "-f", str(file)))
    figures["used_bytes"] = before_bytes - available_bytes()
    say(f"up of {len(domains)} sites: {figures['up_seconds']:.1f} s")
    figures["up_again_seconds"] = timed(lambda: run(world, "up", "-f", str(file)))
    figures["diff_seconds"] = timed(lambda: run(world, "diff", "-f", str(file)))
    figures["memory_bytes"] = memory(world)
    wrong = [domain for domain in domains if fetch_inside(world, domain) != (200, domain)]
    assert not wrong, f"{len(wrong)} of {len(domains)} do not answer: {wrong[:5]}"
    say(f"all {len(domains)} answer on their own domains")
    figures["ledger"] = ledger(world, arguments.tenants)
    say(f"ledger: {figures['ledger']}")
    attacked, others = domains[0], domains[1:]
    figures["latency"] = latencies(world, attacked, others, arguments)
    figures["down_seconds"] = timed(lambda: run(world, "down", "-f", str(file), "--yes"))
    return figures


def description(tenants: int, sites: int, disk: str) -> str:
    """Return hosting.yaml: each site says its own domain."""
    lines = ["hosting: benchmark", "tenants:"]
    for tenant in range(tenants):
        lines += [f"  t{tenant}:", "    limits: {memory: 512M, cpus: 1, pids: 600}", "    sites:"]
        for site in range(sites):
            domain = f"s{site}.t{tenant}.example"
            script = f"mkdir -p /www; echo {domain} >/www/index.html; exec httpd -f -p 80 -h /www"
            lines += [
                f"      s{site}:",
                "        image: busybox",
                f"        command: [sh, -c, '{script}']",
                "        init: true",
                f"        domains: [{domain}]",
                f"        limits: {{memory: 64M, pids: 100, disk: {disk}}}",
            ]
    return "\n".join(lines) + "\n"


def run(world: World, *arguments: str) -> None:
    world.ok(*arguments, timeout_seconds=UP_TIMEOUT_SECONDS)


def timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return round(time.monotonic() - began, 2)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- memory ----------------------------------------------------------------------------------------------------------


def available_bytes() -> int:
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))


def memory(world: World) -> dict[str, int]:
    """Return the memory of our own processes and of nginx (PSS), and of all containers as their cgroups count it."""
    kinds = {"supervisor.main": 0, "monitor.main": 0, "net.forwarder": 0, "hosting.follower": 0, "nginx": 0}
    nginx = set(_descendants(world))
    for pid, command in process_commands():
        for kind in kinds:
            if (kind == "nginx" and pid in nginx) or (kind != "nginx" and kind in command and world.root in command):
                kinds[kind] += _pss_bytes(pid)
    with world.client() as host:
        kinds["containers"] = sum(sample["memory_bytes"] for sample in host.stats())
    return kinds


def _descendants(world: World) -> list[int]:
    with open(f"{world.paths.frontdoor_run_dir}/nginx.pid") as file:
        master = int(file.read())
    with open(f"/proc/{master}/task/{master}/children") as file:
        return [master, *map(int, file.read().split())]


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    return 0


# -- ledger ----------------------------------------------------------------------------------------------------------


def ledger(world: World, tenants: int) -> dict[str, Any]:
    """Exchange a known load with the first sites of all tenants at once, and compare."""
    names = [f"t{tenant}" for tenant in range(tenants)]
    for name in names:
        world.ok("exec", f"{name}-s0-0", "sh", "-c", webload.PREPARE)
    before = {name: accounted(world, name) for name in names}

    def load() -> dict[str, int]:
        with ThreadPoolExecutor(tenants) as pool:  # its threads are in the network of this one
            loads = {
                name: pool.submit(webload.exchange, INSIDE_IP, f"s0.{name}.example", _LOAD_ROUNDS) for name in names
            }
            return {name: each.result() for name, each in loads.items()}

    sent = world.network.outside.call(load)
    percents: list[float] = [
        100 * (after - start) / sent[name] - 100
        for name in names
        for start, after in zip(before[name], accounted(world, name), strict=True)
    ]
    return {"bytes_each_way": sum(sent.values()), "largest_difference_percent": round(max(map(abs, percents)), 2)}


def accounted(world: World, tenant: str) -> tuple[int, int]:
    """Return the bytes in and out that the ledger has for a tenant."""
    rows = json.loads(world.ok("usage", "--tenant", tenant, "--format", "json"))["instances"]
    return sum(row["net_in_bytes"] for row in rows), sum(row["net_out_bytes"] for row in rows)


# -- latency ---------------------------------------------------------------------------------------------------------


def fetch(domain: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(INSIDE_IP, 80, timeout=30)
    try:
        connection.request("GET", "/", headers={"Host": domain, "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        connection.close()


def fetch_inside(world: World, domain: str) -> tuple[int, str]:
    return world.network.outside.call(lambda: fetch(domain))


def latencies(world: World, attacked: str, others: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in filter(None, arguments.attacks.split(",")):
        quiet = latency(world, others, arguments.seconds)  # right before, as a machine has its moods
        with attack(world, name, attacked) as seen:
            time.sleep(_SETTLE_SECONDS)
            found[name] = latency(world, others, arguments.seconds)
        found[name] |= {"attack": seen, "quiet_p95_ms": quiet["p95_ms"]}
        time.sleep(_SETTLE_SECONDS)
        found[name]["p95_of_quiet"] = round(found[name]["p95_ms"] / quiet["p95_ms"], 2)
        say(f"{name}: {found[name]}")
    found["quiet"] = latency(world, others, arguments.seconds)
    return found


def latency(world: World, domains: list[str], seconds: float) -> dict[str, Any]:
    """Ask sites in turn for some seconds, from beyond the host."""
    msecs: list[float] = []
    failed = 0

    def ask() -> None:
        nonlocal failed
        ends = time.monotonic() + seconds
        number = 0
        while time.monotonic() < ends:
            domain = domains[number % len(domains)]
            number += 1
            began = time.monotonic()
            try:
                is_good = fetch(domain) == (200, domain)
            except (OSError, http.client.HTTPException):
                is_good = False
            msecs.append((time.monotonic() - began) * 1000)
            failed += not is_good
            time.sleep(0.005)  # others ask as well; who asks all the time is a load of its own

    world.network.outside.call(ask)
    cuts = statistics.quantiles(msecs, n=100)
    return {
        "requests": len(msecs),
        "failed": failed,
        "p50_ms": round(cuts[49], 2),
        "p95_ms": round(cuts[94], 2),
        "p99_ms": round(cuts[98], 2),
    }


# -- attacks ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def attack(world: World, name: str, domain: str) -> Iterator[dict[str, int]]:
    """Attack a site, or have it attack the host, for as long as this lasts; then what was yielded says how hard that was.

    Of what runs inside: how often each cap held it up. Of the flood: the answers that it got.
    """
    site, _, tenant = domain.removesuffix(".example").partition(".")
    container = f"{tenant}-{site}-0"
    with tempfile.TemporaryFile() as output:
        if name in _INSIDE:
            argvs = [world.argv("exec", container, "sh", "-c", _INSIDE[name])]
        else:
            flood = world.network.outside.argv("chrt", "--idle", "0", sys.executable, "-c", _FLOOD, INSIDE_IP, domain)
            argvs = [flood] * _CLIENTS
        processes = [
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=world.environment)
            for argv in argvs
        ]
        seen: dict[str, int] = {}
        try:
            yield seen
        finally:
            if name in _INSIDE:
                rows = json.loads(world.ok("limits", container, "--format", "json"))
                seen.update({row["resource"]: row["fail_count"] for row in rows if row["fail_count"]})
            for process in processes:
                process.terminate()
                process.wait()
            if name in _INSIDE:  # what was born there is nobody's child any more
                world.cli("restart", "-t", "0", container)
            else:
                output.seek(0)
                seen["answers"] = sum(map(int, output.read().split()))


if __name__ == "__main__":
    os.umask(0o022)
    main()
