"""Docker's daemon with a machine of its own."""

import json
from pathlib import Path
from typing import Any

from tests.engines.machine import Machine
from tests.engines.recipes import recipe
from tests.support.hostns import HostNetwork
from tests.support.poll import poll_until
from tests.support.world import Result

IMAGE = "busybox"
RUNTIME = "pycontainer"
_PROGRAM = "/usr/bin/docker"  # another one may stand before it in PATH


class Docker:
    """The daemon in its machine, and the command."""

    def __init__(self, network: HostNetwork, runtime: str) -> None:
        self.machine = Machine(network)
        self.runtime = runtime

    def start(self, tarball: Path) -> None:
        """Make the machine, start the daemon, import the image, and make what Docker makes once."""
        self.machine.start()
        settings = {
            **json.loads(recipe("daemon.json", self.runtime)),
            "data-root": f"{self.machine.directory}/docker",
            "hosts": ["unix:///run/docker.sock"],
            "storage-driver": "overlay2",
        }
        self.machine.write("/etc/docker/daemon.json", json.dumps(settings))
        daemon = self.machine.spawn("dockerd", log="dockerd.log")
        poll_until(
            lambda: daemon.poll() is not None or self.cli("version").exit_code == 0,
            timeout_seconds=60,
            interval_seconds=0.2,
            what="dockerd answers",
        )
        self.ok("import", str(tarball), IMAGE)
        assert self.ok("run", "--rm", "-p", "9999:9", IMAGE, "echo", "warm") == "warm"
        self.machine.wait_without("containerd-shim")

    def cli(self, *arguments: str, stdin: str | None = None) -> Result:
        return self.machine.run(_PROGRAM, *arguments, stdin=stdin)

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        return self.machine.ok(_PROGRAM, *arguments, stdin=stdin)

    def inspect(self, container: str) -> dict[str, Any]:
        (record,) = json.loads(self.ok("inspect", container))
        return dict(record)

    def state(self, container: str) -> dict[str, Any]:
        return dict(self.inspect(container)["State"])

    def clear(self) -> None:
        """Remove every container."""
        if names := self.ok("ps", "--all", "--quiet").split():
            self.ok("rm", "--force", *names)

    def close(self) -> None:
        self.machine.close()
