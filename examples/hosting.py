#!/usr/bin/env python3
"""Host web sites for several tenants on one machine, each in a container that cannot trample the others.

    .venv/bin/python examples/hosting.py up        start what is missing, leave what runs as it is
    .venv/bin/python examples/hosting.py status    what each site uses, and of how much
    .venv/bin/python examples/hosting.py down      stop and delete them

The image is the one `examples/quickstart.sh --busybox` makes; the pages lie in volumes, which outlive containers.
"""

import argparse
import sys
from dataclasses import dataclass

from pycontainer import Client, NotFound, PycontainerError
from pycontainer.client.types import ContainerInfo

IMAGE = "busybox"
LABEL = "example=hosting"
SERVE = 'cd /www; [ -e index.html ] || echo "<h1>$SITE</h1>" >index.html; exec httpd -f -p 80 -h /www'


@dataclass(frozen=True)
class Plan:
    """What a tenant pays for."""

    memory: str
    cpus: float
    pids: int


PLANS = {
    "small": Plan(memory="32M", cpus=0.1, pids=20),
    "large": Plan(memory="128M", cpus=0.5, pids=100),
}


@dataclass(frozen=True)
class Site:
    """One tenant's web site."""

    name: str
    plan: str
    port: int


SITES = [Site("apple", "small", 8101), Site("berry", "small", 8102), Site("cherry", "large", 8103)]


def up(host: Client) -> None:
    """Start every site that is not running."""
    for site in SITES:
        plan = PLANS[site.plan]
        try:
            container = host.container(site.name)
        except NotFound:
            container = host.create(
                IMAGE,
                ["sh", "-c", SERVE],
                name=site.name,
                memory=plan.memory,
                cpus=plan.cpus,
                pids=plan.pids,
                ports={site.port: 80},
                volumes=[f"{site.name}-pages:/www:nocopy"],  # each writes a page of its own
                env={"SITE": site.name},
                restart="on-failure:5",
                labels=[LABEL, f"plan={site.plan}"],
            )
        if container.status != "running":
            container.start()
        print(f"{site.name:8} http://127.0.0.1:{site.port}/")


def status(host: Client) -> None:
    """Show what each site uses."""
    print(f"{'SITE':8} {'PLAN':8} {'STATUS':8} {'MEMORY MB':>14} {'PROCESSES':>10} {'CPU s':>8}")
    for info in ours(host):
        line = f"{info['name']:8} {info['labels']['plan']:8} {info['status']:8}"
        if info["status"] == "running":
            use = host.container(info["id"]).stats()
            memory = f"{use['memory_bytes'] / 2**20:.1f} of {(use['memory_limit_bytes'] or 0) / 2**20:.0f}"
            line += f" {memory:>14} {use['pids']:>4} of {use['pids_limit']:<3} {use['cpu_usec'] / 1e6:>7.2f}"
        print(line)


def down(host: Client) -> None:
    """Stop and delete the sites; their pages stay."""
    for info in ours(host):
        container = host.container(info["id"])
        container.stop(timeout_seconds=1)
        container.remove()
        print(f"{info['name']} deleted")


def ours(host: Client) -> list[ContainerInfo]:
    return sorted(host.list_containers(all=True, filters={"label": LABEL}), key=lambda info: info["name"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Host web sites for several tenants.")
    parser.add_argument("action", choices=["up", "status", "down"])
    parser.add_argument("--root", help="another place for everything pycontainer keeps")
    arguments = parser.parse_args()
    actions = {"up": up, "status": status, "down": down}
    try:
        with Client(arguments.root) as host:
            actions[arguments.action](host)
    except PycontainerError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
