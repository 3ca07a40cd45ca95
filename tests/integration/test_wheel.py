"""What `pip install` gives elsewhere: the wheel, in a clean virtual environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import IMAGE
from tests.support.images import CHECKOUT
from tests.support.world import World


def must(*argv: str, **environment: str) -> str:
    done = subprocess.run(
        argv,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done
    return done.stdout


def test_wheel_runs_a_container(own_world: World, tmp_path: Path) -> None:
    source = tmp_path / "source"  # building leaves its files beside the sources
    shutil.copytree(f"{CHECKOUT}/pycontainer", source / "pycontainer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(f"{CHECKOUT}/rootfs-tools", source / "rootfs-tools")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(f"{CHECKOUT}/{name}", source)
    must(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("pycontainer-*.whl")
    base_python = os.path.realpath(sys.executable)
    must(base_python, "-m", "venv", f"{tmp_path}/venv")
    must(f"{tmp_path}/venv/bin/pip", "install", "--quiet", str(wheel))

    program = f"{tmp_path}/venv/bin/pycontainer"
    own_world.ok("service", "stop")  # the next command starts the wheel's
    run = own_world.network.inside.argv(
        program, "--root", own_world.root, "run", "--rm", IMAGE, "echo", "from the wheel"
    )
    assert must(*run) == "from the wheel\n"
    with open(f"/proc/{own_world.supervisor_pid()}/cmdline") as file:
        assert file.read().startswith(f"{tmp_path}/venv/bin/python")
    shared = f"{tmp_path}/venv/share/pycontainer/rootfs-tools"
    assert {*os.listdir(shared)} - {"__pycache__"} == {*os.listdir(f"{CHECKOUT}/rootfs-tools")} - {"__pycache__"}
    assert len(must(program, "image", "build-from", "--list").splitlines()) > 10
    build = own_world.network.inside.argv(program, "--root", own_world.root, "image", "build-from", "busybox", "built")
    assert must(*build).startswith("sha256:")
    run = own_world.network.inside.argv(
        program, "--root", own_world.root, "run", "--rm", "built", "cat", "/www/index.html"
    )
    assert "Hello from pycontainer" in must(*run)
    assert "pycontainer" in must(program, _PYCONTAINER_COMPLETE="bash_source")
