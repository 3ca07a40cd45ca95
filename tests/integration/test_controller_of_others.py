"""A resource controller of another package: installed, used, changed, refused (examples/controller-idle)."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import IMAGE
from tests.support.hostns import HostNetwork
from tests.support.world import World, unique_name

EXAMPLE = Path(__file__).parents[2] / "examples" / "controller-idle"
PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]


def test_controller_of_another_package(host_network: HostNetwork, busybox_rootfs: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "source")  # building leaves files beside the sources
    install = [*PIP, "install", "--no-deps", "--root-user-action=ignore", str(tmp_path / "source")]
    subprocess.run(install, check=True)
    world = World(host_network)
    try:
        world.import_image(busybox_rootfs, IMAGE)
        name = unique_name()
        world.ok("run", "-d", "--name", name, "--limit", "idle=yes", IMAGE, "sleep", "1000")
        cpu = world.inspect(name)["cgroup"]["paths"]["cpu"]
        assert Path(f"{cpu}/cpu.idle").read_text() == "1\n"
        world.ok("set", name, "--limit", "idle=no")
        assert Path(f"{cpu}/cpu.idle").read_text() == "0\n"
        refused = world.refused(2, "create", "--limit", "idle=perhaps", IMAGE, "true")
        assert "limit idle: 'perhaps' is neither yes nor no" in refused
        world.close()
    finally:
        world.scrub()
        uninstall = [*PIP, "uninstall", "-y", "--root-user-action=ignore", "pycontainer-idle"]
        subprocess.run(uninstall, check=True)


def test_limit_that_nobody_knows(world: World) -> None:
    refused = world.refused(2, "create", "--limit", "idle=yes", IMAGE, "true")
    assert "limit idle: no controller has this name; no package with more controllers is installed" in refused
