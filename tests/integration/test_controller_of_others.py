"""A resource controller of another package: installed, used, changed, refused (examples/controller-idle)."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.integration.conftest import IMAGE
from tests.support.hostns import HostNetwork
from tests.support.world import World, unique_name

EXAMPLE = Path(__file__).parents[2] / "examples" / "controller-idle"
PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]


def install_beside(directory: Path) -> str:
    """Return a `pycontainer` with the example, in an environment of its own: emulated machines share that of the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "venv"], check=True)
    (packages,) = directory.glob("venv/lib/python3*/site-packages")
    (packages / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    shutil.copytree(EXAMPLE, directory / "source")  # building leaves files beside the sources
    install: list[str | Path] = [*PIP, "install", "--no-deps", "--root-user-action=ignore", "--target", packages]
    subprocess.run([*install, directory / "source"], check=True)
    program = directory / "venv/bin/pycontainer"
    program.write_text(f"#!{directory}/venv/bin/python\nfrom pycontainer.cli.entry import main\nmain()\n")
    program.chmod(0o755)
    return str(program)


def test_controller_of_another_package(host_network: HostNetwork, busybox_rootfs: str, tmp_path: Path) -> None:
    world = World(host_network, program=install_beside(tmp_path))
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


def test_limit_that_nobody_knows(world: World) -> None:
    refused = world.refused(2, "create", "--limit", "idle=yes", IMAGE, "true")
    assert "limit idle: no controller has this name; no package with more controllers is installed" in refused
