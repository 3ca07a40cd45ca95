"""Podman with a machine of its own, configured as docs/oci.md says."""

import json
from pathlib import Path
from typing import Any

from tests.engines.machine import Machine
from tests.engines.recipes import recipe
from tests.support.hostns import HostNetwork
from tests.support.world import Result

IMAGE, PAUSE = "localhost/busybox", "localhost/pause"

# What a machine without systemd, CAP_SYS_RESOURCE and a registry needs beside the recipe. Podman asks for 1 048 576 open
# files otherwise, and for a pause image that it would have to build.
_SETTINGS = f"""
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "{PAUSE}"

[network]
network_backend = "cni"
"""

_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{directory}/storage"
runroot = "/run/containers/storage"
"""


# what `kube play` makes once is a network
_POD = f"""
apiVersion: v1
kind: Pod
metadata:
  name: first
spec:
  containers:
    - name: main
      image: {IMAGE}
      imagePullPolicy: Never
      command: ["sh", "-c", "exec sleep 1000"]
"""


class Podman:
    """The command, and a machine for it."""

    def __init__(self, network: HostNetwork, runtime: str) -> None:
        self.machine = Machine(network)
        self.runtime = runtime

    def start(self, tarball: Path) -> None:
        """Make the machine, import the image, and make what Podman makes once."""
        self.machine.start()
        self.machine.write(
            "/etc/containers/containers.conf.d/pycontainer.conf", recipe("containers.conf", self.runtime)
        )
        self.machine.write("/etc/containers/containers.conf.d/tests.conf", _SETTINGS)
        self.machine.write("/etc/containers/storage.conf", _STORAGE.format(directory=self.machine.directory))
        path = ("--change", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin")  # `kube play` gives none of its own
        for image, change in ((IMAGE, path), (PAUSE, ("--change", 'ENTRYPOINT ["/bin/payload", "sleep", "0"]'))):
            self.ok("import", *change, str(tarball), image, timeout_seconds=120)
        assert self.ok("run", "--rm", "-p", "9999:9", IMAGE, "echo", "warm") == "warm"
        self.ok("run", "-d", "--name", "warm", IMAGE, "payload", "sleep", "0")
        self.ok("exec", "warm", "true")
        self.ok("kube", "play", "-", stdin=_POD)
        self.clear()
        self.machine.wait_without("conmon")  # which cleans up after its container

    def cli(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> Result:
        return self.machine.run("podman", *arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def ok(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        return self.machine.ok("podman", *arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def inspect(self, container: str) -> dict[str, Any]:
        (record,) = json.loads(self.ok("inspect", container))
        return dict(record)

    def pid(self, container: str) -> int:
        return int(self.inspect(container)["State"]["Pid"])

    def clear(self) -> None:
        """Remove every pod and container."""
        self.ok("pod", "rm", "--all", "--force", "--time=0")
        self.ok("rm", "--all", "--force", "--time=0")

    def close(self) -> None:
        self.machine.close()
