"""`image build-from`: recipes that become images, and really serve in a container of the profile they are for."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, PycontainerError
from tests.support.images import CHECKOUT
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import PROGRAM, World, unique_name

BUILDERS = {
    "alpine", "apache-php", "busybox", "debian", "from-container", "from-oci", "nginx", "postgres", "static-site", "systemd",
    "ubuntu",
}  # fmt: skip
BUILD_SECONDS = 300


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    """A builder of somebody's own, to which a test adds lines."""
    path = tmp_path / "builder"
    path.write_text('#!/bin/sh\nset -eu\nfor out; do :; done\necho "called with $*"\n')
    path.chmod(0o755)
    return path


def add(builder: Path, script: str) -> None:
    with builder.open("a") as file:
        file.write(script)


def build(world: World, *arguments: str) -> str:
    """Build in the machine's own network, where the package mirror is; the supervisor is in the world's."""
    world.ok("info")
    done = subprocess.run(
        [PROGRAM, "--root", world.root, "image", "build-from", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=BUILD_SECONDS * SLOWNESS,
        env={**os.environ, "HOME": world.root},
    )
    assert done.returncode == 0, done.stderr
    assert f"{arguments[0]}: made {world.paths.builds_dir}/" in done.stderr
    assert not os.path.exists(world.paths.builds_dir)
    return done.stdout.strip()


def address_of(world: World, name: str) -> str:
    return str(next(iter(world.inspect(name)["networks"].values()))["ip"])


def config_of(world: World, image: str) -> dict[str, object]:
    images = json.loads(world.ok("image", "list", "--format", "json"))
    config: dict[str, object] = next(each for each in images if each["name"] == image)["config"]
    return {key: value for key, value in config.items() if value}


# -- what recipes make


def test_list(world: World) -> None:
    lines = world.ok("image", "build-from", "--list").splitlines()
    assert {line.split()[0] for line in lines[1:]} == BUILDERS
    assert "The nginx web server" in next(line for line in lines if line.startswith("nginx"))


def test_help_of_a_recipe(world: World) -> None:
    assert world.ok("image", "build-from", "busybox", "--", "--help").startswith("Usage: busybox ")


def test_static_site(world: World, tmp_path: Path) -> None:
    """Twice the same image; pages, and what is said instead of one that is not there; it ends when it is asked to."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text("<h1>Hello</h1>\n")
    (tmp_path / "sub/data.json").write_text("{}\n")
    (tmp_path / "404.html").write_text("nothing here\n")
    first = build(world, "static-site", "site", "--", str(tmp_path))
    assert build(world, "static-site", "site", "--", str(tmp_path)) == first
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-m", "16M", "--read-only", "site")
    inside = world.network.inside
    url = f"http://{address_of(world, name)}:8080"
    assert inside.http_get_soon(f"{url}/") == "<h1>Hello</h1>\n"
    said = world.ok("exec", name, "wget", "-q", "-S", "-O", "-", "http://127.0.0.1:8080/sub/data.json")
    assert said == "{}"
    missing = world.cli("exec", name, "sh", "-c", "printf 'GET /none HTTP/1.0\\r\\n\\r\\n' | nc 127.0.0.1 8080")
    assert "404" in missing.stdout.splitlines()[0]
    assert "nothing here" in missing.stdout
    assert {line.split()[2] for line in world.ok("top", name).splitlines()[1:]} == {"33"}
    world.ok("stop", "-t", "20", name)
    assert world.inspect(name)["exit_code"] == 0
    world.ok("rm", name)
    world.ok("image", "rm", "site")


@pytest.mark.requires("debian_mirror")
def test_apache_php(world: World, tmp_path: Path) -> None:
    """A page that PHP executes; a request in the log; in order to the end, and again."""
    build(world, "apache-php", "apache-php")
    assert config_of(world, "apache-php") == {
        "cmd": ["apache2-foreground"],
        "exposed_ports": ["80/tcp"],
        "stop_signal": "SIGWINCH",
    }
    (tmp_path / "sum.php").write_text("<?php header('X-From: php'); echo 'sum ' . array_sum(range(1, 10)) . \"\\n\";")
    tmp_path.chmod(0o755)
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-v", f"{tmp_path}:/var/www/html:ro", "apache-php")
    for _ in range(2):
        url = f"http://{address_of(world, name)}/sum.php?page"
        assert world.network.inside.http_get_soon(url) == "sum 55\n"
        poll_until(
            lambda: '"GET /sum.php?page HTTP/1.1" 200' in world.ok("logs", name), what="the request is in the log"
        )
        assert {line.split()[2] for line in world.ok("top", name).splitlines()[1:]} == {"root", "33"}
        world.ok("stop", "-t", "20", name)
        assert world.inspect(name)["exit_code"] == 0
        world.ok("start", name)
    world.ok("rm", "-f", name)
    world.ok("image", "rm", "apache-php")


@pytest.mark.requires("debian_mirror")
def test_postgres(world: World) -> None:
    """Inside without a password, from a neighbour only with it; what was written is there after a restart."""
    build(world, "postgres", "postgres")
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-e", "POSTGRES_PASSWORD=secret", "postgres")
    ask = ("exec", name, "psql", "-Atc")
    poll_until(lambda: world.cli(*ask, "select 1").stdout == "1\n", timeout_seconds=60, what="the database answers")
    world.ok(*ask, "create table numbers as select generate_series(1, 1000) as n")
    neighbour = ("run", "--rm", "-e", "PGCONNECT_TIMEOUT=10", "postgres", "psql", "-wAtc", "select sum(n) from numbers")
    address = f"host={address_of(world, name)} user=postgres"
    assert world.ok(*neighbour, f"{address} password=secret") == "500500"
    assert "password authentication failed" in world.cli(*neighbour, f"{address} password=guessed").stderr
    assert "secret" not in world.ok("exec", name, "sh", "-c", "cat /proc/1/environ; ls /tmp")
    world.ok("restart", "-t", "30", name)
    poll_until(lambda: world.cli(*ask, "select 1").stdout == "1\n", timeout_seconds=60, what="it answers again")
    assert world.ok(*ask, "select count(*) from numbers") == "1000"
    world.ok("stop", "-t", "30", name)
    assert world.inspect(name)["exit_code"] == 0
    world.ok("rm", name)
    world.ok("image", "rm", "postgres")


# -- builders of others, and what goes wrong


def test_a_builder_of_ones_own(world: World, builder: Path) -> None:
    """Its output is passed through, its config taken, its files gone; through the Python API as well."""
    add(
        builder,
        'mkdir "$out"; cp -a "$2" "$out/bin"; echo \'{"cmd": ["/bin/busybox", "echo", "mine"]}\' >"$out.json"\n',
    )
    add(builder, 'echo "to stderr" >&2\n')
    box = builder.parent / "box"
    box.mkdir()
    (box / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (box / "busybox").chmod(0o755)
    result = world.cli("image", "build-from", str(builder), "mine", "--", "--from", str(box))
    assert result.exit_code == 0, result
    assert result.stderr.splitlines()[0].startswith(f"called with --from {box} -o {world.paths.builds_dir}/")
    assert "to stderr" in result.stderr
    assert result.stdout.startswith("sha256:")
    assert world.ok("run", "--rm", "mine") == "mine"
    assert not os.path.exists(world.paths.builds_dir)
    lines: list[str] = []
    with world.client() as host:
        image = host.build_image(builder, "mine2", ["--from", str(box)], on_output=lines.append)
        assert image.info["config"]["cmd"] == ["/bin/busybox", "echo", "mine"]
        assert (lines[0].startswith("called with"), lines[1]) == (True, "to stderr")
        image.remove()
    world.ok("image", "rm", "mine")


@pytest.mark.parametrize(
    ("script", "exit_code", "message"),
    [
        ("echo 'builder: no such thing' >&2; echo 'hint: try another' >&2; exit 1", 1, "(exit code 1): no such thing"),
        ("echo 'builder: what?' >&2; exit 2", 2, "(exit code 2): what?"),
        ("kill -9 $$", 1, "(SIGKILL): called with"),
        ("true", 1, "ended well but made no directory"),
        ('mkdir "$out"; echo "{" >"$out.json"', 2, "rootfs.json': not JSON at character"),
        ('mkdir "$out"; echo "[]" >"$out.json"', 2, "is no JSON object"),
        (
            'mkdir "$out"; echo \'{"cmd": 3}\' >"$out.json"',
            2,
            "3 for 'cmd' in the image's config is not a list of text",
        ),
    ],
)
def test_a_builder_that_fails(world: World, builder: Path, script: str, exit_code: int, message: str) -> None:
    add(builder, script)
    result = world.cli("image", "build-from", str(builder), "mine")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr.split("pycontainer: ", 1)[1]
    assert ("hint: try another" in result.stderr.splitlines()[-1]) == ("try another" in script)
    assert not os.path.exists(world.paths.builds_dir)
    with world.client() as host, pytest.raises(InvalidInput if exit_code == 2 else PycontainerError):
        host.build_image(builder, "mine")
    assert "mine" not in world.ok("image", "list", "-q").split()


def test_what_is_refused_before_the_work(world: World, builder: Path) -> None:
    add(builder, f"touch {builder.parent}/ran")
    refused = world.refused(3, "image", "build-from", "nginy", "mine")
    assert refused.startswith(
        "pycontainer: no recipe 'nginy', did you mean 'nginx'?\n"
        f"hint: '{world.suggested('pycontainer image build-from')} --list'"
    )
    assert "no builder './none'" in world.refused(3, "image", "build-from", "./none", "mine")
    assert "is not an image name" in world.refused(2, "image", "build-from", str(builder), "Mi ne")
    assert "missing the name of the image" in world.refused(2, "image", "build-from", str(builder))
    builder.chmod(0o644)
    assert "is not executable" in world.refused(2, "image", "build-from", str(builder), "mine")
    assert not (builder.parent / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_build(world: World, builder: Path, number: signal.Signals) -> None:
    """The builder is asked to end, and what it mounted ends with it. What a killed client leaves goes with the next build."""
    ready, asked, precious = (builder.parent / name for name in ("ready", "asked", "precious"))
    precious.mkdir()
    (precious / "file").touch()
    add(
        builder,
        f"""mkdir "$out" "$out/mount"; mount --bind {precious} "$out/mount"
    trap 'touch {asked}; exit 143' TERM; touch {ready}; while :; do sleep 0.1; done\n""",
    )
    world.ok("info")
    client = world.popen("image", "build-from", str(builder), "mine")
    try:
        poll_until(ready.exists, what="the builder is at work")
        assert world.paths.builds_dir not in Path("/proc/self/mountinfo").read_text()
        client.send_signal(number)
        assert client.wait(10 * SLOWNESS) == (-number if number == signal.SIGKILL else 128 + number)
    finally:
        client.kill()
        client.communicate()
    poll_until(asked.exists, what="the builder was asked to end")
    if number == signal.SIGKILL:
        (left,) = os.listdir(world.paths.builds_dir)
        builder.write_text("#!/bin/sh\nexit 1\n")
        poll_until(
            lambda: (
                world.cli("image", "build-from", str(builder), "mine").exit_code == 1
                and not os.path.exists(world.paths.builds_dir)
            ),
            what=f"{left} is gone with the next build",
        )
    assert not os.path.exists(world.paths.builds_dir)
    assert os.listdir(precious) == ["file"]
    assert "mine" not in world.ok("image", "list", "-q").split()


def test_import_with_a_config_file(world: World, tmp_path: Path) -> None:
    """As builders write it; what is said on the command line wins."""
    subprocess.run([f"{CHECKOUT}/rootfs-tools/busybox", tmp_path / "box.tar"], check=True, capture_output=True)
    config = str(tmp_path / "box.tar.json")
    world.ok("image", "import", "--config", config, str(tmp_path / "box.tar"), "box")
    assert config_of(world, "box") == {"cmd": ["sh"]}
    world.ok("image", "import", "--config", config, "--cmd", "ls", "-u", "www", str(tmp_path / "box.tar"), "box")
    assert config_of(world, "box") == {"cmd": ["ls"], "user": "www"}
    Path(config).write_text('{"cmd": ["sh"], "cmd": ["ls"]}')
    refused = world.refused(2, "image", "import", "--config", config, str(tmp_path / "box.tar"), "box")
    assert config in refused
    world.ok("image", "rm", "box")
