"""containerd with a machine of its own: `ctr`, and the CRI over the same socket."""

from pathlib import Path

from tests.engines.machine import Machine
from tests.engines.recipes import recipe
from tests.support.hostns import HostNetwork
from tests.support.poll import poll_until
from tests.support.world import Result

PREFIX = "localhost/test"
IMAGE, PAUSE = f"{PREFIX}:busybox", f"{PREFIX}:pause"
SOCKET = "/run/containerd/containerd.sock"
HANDLER = "pycontainer"

# The recipe is appended: containerd takes one section per plugin whole, so files that are imported cannot add to it.
_SETTINGS = f"""
version = 2
root = "{{directory}}/containerd"
state = "/run/containerd"
disabled_plugins = [{", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in ("aufs", "btrfs", "devmapper", "zfs"))}]

[plugins."io.containerd.internal.v1.opt"]
path = "{{directory}}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/engine.d"
"""

_NETWORK = """{
  "cniVersion": "0.4.0",
  "name": "engine",
  "plugins": [
    {"type": "bridge", "bridge": "engine0", "isGateway": true, "ipMasq": true,
     "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.77.0.0/24"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"""


class Containerd:
    """The daemon in its machine."""

    def __init__(self, network: HostNetwork, runtime: str) -> None:
        self.machine = Machine(network)
        self.runtime = runtime

    def start(self, archive: Path) -> None:
        """Make the machine, start the daemon and import both images for `ctr` and for the CRI."""
        self.machine.start()
        settings = _SETTINGS.format(directory=self.machine.directory) + recipe("containerd.toml", self.runtime)
        self.machine.write("/etc/containerd/config.toml", settings)
        self.machine.write("/etc/cni/engine.d/10-engine.conflist", _NETWORK)
        daemon = self.machine.spawn("containerd", log="containerd.log")
        poll_until(
            lambda: daemon.poll() is not None or self.ctr("version").exit_code == 0,
            timeout_seconds=30,
            interval_seconds=0.1,
            what="containerd answers",
        )
        for namespace in ("default", "k8s.io"):
            self.ok("--namespace", namespace, "images", "import", "--base-name", PREFIX, str(archive))
        self.run("warm", "true")
        self.machine.wait_without("containerd-shim")

    def ctr(self, *arguments: str, stdin: str | None = None) -> Result:
        return self.machine.run("ctr", *arguments, stdin=stdin)

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        return self.machine.ok("ctr", *arguments, stdin=stdin)

    def run(self, name: str, *command: str, options: tuple[str, ...] = ()) -> Result:
        """Run a container to its end, with the runtime."""
        return self.ctr("run", "--rm", "--runc-binary", self.runtime, *options, IMAGE, name, *command)

    def run_detached(self, name: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """Start a container and return where its output goes."""
        log = f"{self.machine.directory}/{name}.log"
        common = ("--runc-binary", self.runtime, "--log-uri", f"file://{log}")
        self.ok("run", "--detach", *common, *options, IMAGE, name, *command)
        return log

    def status(self, name: str) -> str:
        """Return the status of a task, or nothing."""
        for line in self.ok("tasks", "list").splitlines()[1:]:
            if line.split()[0] == name:
                return line.split()[2]
        return ""

    def pid(self, name: str) -> int:
        for line in self.ok("tasks", "list").splitlines()[1:]:
            if line.split()[0] == name:
                return int(line.split()[1])
        raise AssertionError(f"no task {name}")

    def remove(self, name: str) -> None:
        """Kill a task, wait for its end, and remove the container."""
        if self.status(name) not in ("", "STOPPED"):
            self.ok("tasks", "kill", "--signal", "SIGKILL", name)
            poll_until(lambda: self.status(name) in ("", "STOPPED"), what=f"{name} ends")
        self.ctr("tasks", "rm", name)
        self.ok("containers", "rm", name)

    def clear(self) -> None:
        """Remove every container of `ctr`."""
        for name in self.ok("containers", "list", "--quiet").split():
            self.remove(name)

    def close(self) -> None:
        self.machine.close()
