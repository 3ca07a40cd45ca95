#!/usr/bin/env python3
"""The same as hosting.yaml, by a program: three tenants with twelve sites of four kinds.

    .venv/bin/python examples/hosting/hosting.py up        make it so; again at any time
    .venv/bin/python examples/hosting/hosting.py diff      what `up` would change
    .venv/bin/python examples/hosting/hosting.py down      remove the sites; their volumes stay

Where hundreds of sites come from a database, this is the way: build the data, hand it over. The image is the one that
`examples/quickstart.sh --busybox` makes.
"""

import argparse
import sys
from pathlib import Path

from pycontainer import Client, PycontainerError
from pycontainer.hosting.apply import Progress
from pycontainer.hosting.hosting import Hosting

HERE = Path(__file__).parent
POOLS: dict[str, dict[str, object]] = {
    "apple": {"limits": {"memory": "512M", "cpus": 1, "pids": 400}, "contacts": ["ops@apple.example"]},
    "berry": {"plan": "medium", "contacts": ["ops@berry.example"]},
    "cherry": {"limits": {"memory": "256M", "cpus": 0.5}, "contacts": ["ops@cherry.example"]},
}
API_REPLICAS = {"apple": 2, "berry": 3, "cherry": 1}


def site(command: list[str], **settings: object) -> dict[str, object]:
    """Return a site of image busybox. With `init` it ends when it is asked to."""
    return {"image": "busybox", "command": command, "init": True, **settings}


def sites(tenant: str) -> dict[str, object]:
    """Return the four sites that each tenant has."""
    return {
        "www": site(
            ["httpd", "-f", "-p", "80", "-h", "/www"],
            plan="small" if tenant == "apple" else "default",
            domains=[f"www.{tenant}.example"],
            volumes=["./pages:/www:ro"],
        ),
        "guests": site(
            ["httpd", "-f", "-p", "80", "-h", "/www"],
            domains=[f"guests.{tenant}.example"],
            env={"SITE": tenant},
            volumes=["./app:/www:ro", "guests:/data"],
        ),
        "api": site(
            ["httpd", "-f", "-p", "8080", "-h", "/www"],
            replicas=API_REPLICAS[tenant],
            domains=[f"api.{tenant}.example"],
            port=8080,
            health_http="8080/cgi-bin/version",
            env={"VERSION": "1"},
            volumes=["./api:/www:ro"],
        ),
        "worker": site(
            ["sh", "-c", "while date >/data/last; do sleep 5; done"],
            limits={"memory": "32M", "pids": 10},
            volumes=["jobs:/data"],
        ),
    }


def tell(progress: Progress) -> None:
    if progress.is_finished:
        print(f"{progress.done} of {progress.total}  {progress.subject}: {progress.step}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Three tenants with twelve sites.")
    parser.add_argument("action", choices=["up", "diff", "down"])
    parser.add_argument("--root", help="another place for everything pycontainer keeps")
    arguments = parser.parse_args()
    data = {"hosting": "example", "tenants": {name: {**pool, "sites": sites(name)} for name, pool in POOLS.items()}}
    try:
        with Client(arguments.root) as host:
            hosting = Hosting.of(data, host, base_dir=HERE)
            if arguments.action == "diff":
                print(*hosting.diff().lines(), sep="\n")
                return 0
            act = hosting.up if arguments.action == "up" else hosting.down
            outcome = act(on_progress=tell)
            for subject, error in outcome.failed:
                print(f"{subject}: {error}", file=sys.stderr)
            return 1 if outcome.failed else 0
    except PycontainerError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
