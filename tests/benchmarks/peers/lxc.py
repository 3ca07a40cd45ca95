"""LXC's own commands, with a configuration and a directory of their own."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.benchmarks.bed import SLEEPER, TRUE
from tests.benchmarks.peers.base import Peer
from tests.engines.machine import hierarchies

_CONFIG = """
lxc.rootfs.path = dir:{rootfs}
lxc.uts.name = bench
lxc.net.0.type = {network}
lxc.mount.auto = proc:mixed sys:ro
lxc.pty.max = 1
lxc.tty.max = 0
lxc.signal.halt = SIGTERM
lxc.seccomp.profile = /usr/share/lxc/config/common.seccomp
"""


class Lxc(Peer):
    name = "lxc"
    program = "lxc-start"
    isolation = (
        "namespaces, cgroups, LXC's seccomp filter; a network namespace with nothing in it; no user namespace, "
        "the root is not a layer of its own; a monitor for each container"
    )

    def prepare(self) -> None:
        super().prepare()
        self._path = Path(self.bed.directory, "lxc")
        self._path.mkdir()
        for network in ("empty", "none"):  # `none` is the host's
            text = _CONFIG.format(rootfs=self.bed.rootfs, network=network)
            (self._path / f"{network}.conf").write_text(text)

    def close(self) -> None:
        """End also what a measure that was cut off has left, and the cgroup that LXC makes once and keeps."""
        super().close()
        where = ("-P", f"{self.bed.directory}/lxc")
        listed = subprocess.run(
            self.bed.network.inside.argv("lxc-ls", *where, "--active", "-1"),
            capture_output=True,
            text=True,
            check=False,
        )
        for name in listed.stdout.split():
            subprocess.run(self.bed.network.inside.argv("lxc-stop", *where, "-n", name, "--kill"), check=False)
        for hierarchy in hierarchies():
            with contextlib.suppress(OSError):  # it was never made, or is another's, too
                os.rmdir(f"{hierarchy.directory}/lxc.pivot")

    def _start_argv(self, name: str, *command: str, network: str = "empty", foreground: bool = True) -> tuple[str, ...]:
        how = "--foreground" if foreground else "--daemon"
        config = f"{self._path}/{network}.conf"
        return ("lxc-start", "-P", str(self._path), "-n", name, "-f", config, how, "--", *command)

    def runs(self) -> Mapping[str, Callable[[], float]]:
        return {self.name: lambda: self.runner.time(*self._start_argv("true", *TRUE))}

    def steps(self) -> Mapping[str, Callable[[str], float]]:
        time, where = self.runner.time, ("-P", str(self._path), "-n")
        return {
            "start": lambda name: time(*self._start_argv(name, *SLEEPER, foreground=False)),
            "exec": lambda name: time(*self.exec_argv(name, *TRUE)),
            "stop": lambda name: time("lxc-stop", *where, name, f"--rcfile={self._path}/empty.conf"),
        }

    def exec_argv(self, name: str, *command: str) -> tuple[str, ...]:
        return ("lxc-attach", "-P", str(self._path), "-n", name, "--", *command)

    def serve(self, port: int) -> None:
        argv = self._start_argv("web", "/bin/httpd", "-f", "-p", str(port), "-h", "/www", network="none")
        self._web = self.runner.spawn(*argv)

    def unserve(self) -> None:
        self.runner.time("lxc-stop", "-P", str(self._path), "-n", "web", "--kill")
        self.runner.end(self._web, 0)
