"""Every example does what it says."""

import json
import os
import subprocess
import sys

import pytest

from tests.integration.conftest import IMAGE
from tests.support.images import CHECKOUT
from tests.support.poll import SLOWNESS
from tests.support.readme import blocks
from tests.support.world import Result, World


def run(world: World, argv: list[str], *, timeout_seconds: float = 120, **environment: str) -> Result:
    """Run an example from the checkout, as a person would, in the world and its network."""
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        timeout=timeout_seconds * SLOWNESS,
        env={**os.environ, "PYCONTAINER_ROOT": world.root, **environment},
    )
    return Result(done.returncode, done.stdout, done.stderr)


def check_quickstart(world: World, result: Result, image: str, page: str) -> None:
    """Check what the quickstart showed, and that the instance is what the script says."""
    assert result.exit_code == 0, result
    program = f"{CHECKOUT}/.venv/bin/pycontainer"
    for text in (
        page,
        "==> pycontainer ps",
        "==> pycontainer stats",
        f"{program} enter web",
        f"{program} stats web",
        f"{program} stop web",
        f"{program} rm -f web",
    ):
        assert text in result.stdout, text
    record = world.inspect("web")
    assert (record["status"], record["image"], record["memory_bytes"]) == ("running", image, 200 << 20)
    (use,) = json.loads(world.ok("stats", "--no-stream", "--format", "json", "web"))
    assert (use["memory_limit_bytes"], use["pids_limit"]) == (200 << 20, 100)


def test_quickstart_busybox_twice(own_world: World) -> None:
    world = own_world
    argv = world.network.inside.argv("examples/quickstart.sh", "--busybox")
    for text in ("", "replacing the 'web' of an earlier run"):
        result = run(world, argv, PORT="8085")
        check_quickstart(world, result, "busybox", "<h1>Hello from pycontainer</h1>")
        assert text in result.stdout
    assert "Hello" in world.network.outside.http_get("http://192.0.2.1:8085/")


def test_quickstart_leaves_a_foreign_web_alone(own_world: World) -> None:
    own_world.ok("run", "-d", "--name", "web", IMAGE, "payload", "sleep", "0")
    result = run(own_world, own_world.network.inside.argv("examples/quickstart.sh", "--busybox"))
    assert result.exit_code == 1
    assert "'web'" in result.stderr
    assert own_world.status("web") == "running"


@pytest.mark.requires("debian_mirror")
def test_quickstart_debian(own_world: World, tmp_path: "os.PathLike[str]") -> None:
    """The package mirror is reached through the machine's network, the page through the world's: curl is redirected."""
    world = own_world
    world.ok("run", "-d", "--name", "keeps-the-supervisor", IMAGE, "payload", "sleep", "0")
    with open(f"{tmp_path}/curl", "w") as file:
        file.write(f'#!/bin/sh\nexec {" ".join(world.network.inside.argv("/usr/bin/curl"))} "$@"\n')
    os.chmod(f"{tmp_path}/curl", 0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = run(world, ["examples/quickstart.sh"], PORT="8086", PATH=path, timeout_seconds=900)
    check_quickstart(world, result, "debian-nginx", "Welcome to nginx!")
    version = world.cli("exec", "web", "nginx", "-v")
    assert version.exit_code == 0
    assert "nginx version: nginx/" in version.stderr
    world.ok("rm", "-f", "web")
    check_readme(world)


def check_readme(world: World) -> None:
    """Run the Python and the YAML of README.md, with the image that both name."""
    (program,) = blocks("python")
    result = run(world, world.network.inside.argv(sys.executable, "-c", program))
    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result
    assert lines[0].startswith("running nginx version: nginx/")
    assert "web running" in lines
    assert lines[-1] == "no container 'web' 'pycontainer ps --all' lists them"

    hosting, spec = blocks("yaml")
    with open(f"{world.root}/hosting.yaml", "w") as file:
        file.write(hosting)
    would_be = world.ok("up", "-f", f"{world.root}/hosting.yaml", "--dry-run")
    assert "+ tenant acme" in would_be and "+ site acme/shop" in would_be
    with open(f"{world.root}/web.yaml", "w") as file:
        file.write(spec)
    world.ok("run", "-d", "-f", f"{world.root}/web.yaml")
    assert "Welcome to nginx!" in world.network.inside.http_get_soon("http://127.0.0.1:8080/")
    assert world.inspect("web")["restart"] == "on-failure:3"


def test_web_yaml(world: World) -> None:
    world.ok("run", "-d", "-f", f"{CHECKOUT}/examples/web.yaml")
    page = world.network.outside.http_get_soon("http://192.0.2.1:8081/")
    assert page == "<h1>Hello from YAML</h1>\n"
    assert world.inspect("web-from-yaml")["memory_bytes"] == 64 << 20


def test_hosting(world: World) -> None:
    def hosting(action: str) -> str:
        argv = world.network.inside.argv(sys.executable, "examples/hosting.py", "--root", world.root, action)
        result = run(world, argv)
        assert (result.exit_code, result.stderr) == (0, ""), result
        return result.stdout

    for _ in range(2):  # the second time finds them running
        assert hosting("up").splitlines()[0] == "apple    http://127.0.0.1:8101/"
    for name, port in (("apple", 8101), ("berry", 8102), ("cherry", 8103)):
        assert world.network.inside.http_get_soon(f"http://127.0.0.1:{port}/") == f"<h1>{name}</h1>\n"
    lines = hosting("status").splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["apple", "small", "running"],
        ["berry", "small", "running"],
        ["cherry", "large", "running"],
    ]
    assert "of 128" in lines[3]
    assert hosting("down").splitlines() == ["apple deleted", "berry deleted", "cherry deleted"]
    assert world.ok("ps", "-aq") == ""
