"""`image pull` and `image push` against a real registry on the loopback of the world's host, with a password."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.registry import PASSWORD, USER, Registry, registry
from tests.support.terminal import Terminal
from tests.support.world import World

pytestmark = pytest.mark.requires("registry")
LOGIN = ("--no-tls-verify", "--username", USER, "--password-stdin")


@pytest.fixture
def private(world: World) -> Iterator[Registry]:
    os.makedirs(world.paths.pulls_dir, exist_ok=True)
    with registry(private=True, inside=world.network.inside.argv()) as running:
        yield running
    os.rmdir(world.paths.pulls_dir)  # nothing is left in it; it is made once


def test_push_and_pull_back(world: World, private: Registry) -> None:
    """The image comes back with the same id, is run, and nothing of the way stays behind."""
    target = f"{private.host}/team/box:1"
    image_id = json.loads(world.ok("image", "list", "--format", "json"))[0]["id"]
    digest = world.ok("image", "push", *LOGIN, "busybox", target, stdin=f"{PASSWORD}\n")
    assert digest.startswith("sha256:") and len(digest) == 71
    pulled = world.ok("image", "pull", *LOGIN, f"{target}@{digest}", stdin=f"{PASSWORD}\n")
    assert pulled == image_id
    assert world.ok("run", "--rm", target, "echo", "came back") == "came back"
    assert private.fetches(_layer(private)) == 1
    assert os.listdir(world.paths.pulls_dir) == []

    with tempfile.TemporaryDirectory(prefix="pct-auth-") as directory:
        authfile = f"{directory}/auth.json"
        login = ["skopeo", "login", "--tls-verify=false", "--authfile", authfile, "-u", USER, "--password-stdin"]
        command = world.network.inside.argv(*login, private.host)
        subprocess.run(command, input=PASSWORD.encode(), check=True, capture_output=True)
        world.ok("image", "push", "--no-tls-verify", "--authfile", authfile, "--format", "v2s2", "busybox", target)
        result = world.cli(
            "image", "pull", "--no-tls-verify", target, "again", environment={"REGISTRY_AUTH_FILE": authfile}
        )
        assert (result.exit_code, result.stdout.strip(), result.stderr) == (0, image_id, "")
    assert private.fetches(_layer(private)) == 1, "the store has it since"
    assert {"again", target} < {*world.ok("image", "list", "-q").splitlines()}
    world.ok("image", "rm", "again", target)


def _layer(private: Registry) -> str:
    """Return the digest of the layer that was pushed."""
    puts = [request for request in private.requests if request.startswith("PUT ") and "digest=sha256%3A" in request]
    sizes = {}
    for request in puts:
        name = request.partition("digest=sha256%3A")[2].split()[0]
        path = Path(private.directory, f"data/docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data")
        sizes[path.stat().st_size] = name
    return f"sha256:{sizes[max(sizes)]}"


def test_refusals_in_one_line(world: World, private: Registry) -> None:
    target = f"{private.host}/team/box:1"
    cases = (
        (("push", "busybox"), 2, "pycontainer: 'busybox' does not say which registry"),
        (("push", "busybox", "team/box"), 2, "pycontainer: 'team/box' does not say which registry"),
        (("push", "none", target), 3, "pycontainer: no image 'none'"),
        (("push", "--no-tls-verify", "busybox", target), 7, f"pycontainer: '{target}': it refuses these credentials"),
        (("push", "busybox", target), 1, f"pycontainer: '{target}': the registry speaks plain HTTP"),
        (("pull", "--no-tls-verify", target), 7, f"pycontainer: '{target}': it refuses these credentials"),
        (("pull", "--username", USER, target), 2, "pycontainer: a name and a password belong together"),
        (("pull", "Bad Name"), 2, "pycontainer: 'Bad Name' is no reference to an image in a registry"),
        (("pull", target, "Bad Name"), 2, "pycontainer: 'Bad Name' cannot name a new image"),
        (("pull", "--authfile", "/nowhere", target), 3, "pycontainer: no auth file '/nowhere'"),
    )
    for words, code, line in cases:
        result = world.cli("image", *words)
        assert (result.exit_code, result.stderr.startswith(line)) == (code, True), (words, result.stderr)
        assert len(result.stderr.splitlines()) <= 2, result.stderr
    missing = world.cli("image", "pull", *LOGIN, f"{private.host}/none:1", stdin=PASSWORD)
    assert (missing.exit_code, ": it has no such image" in missing.stderr) == (3, True), missing.stderr
    assert PASSWORD not in missing.stderr
    with tempfile.TemporaryDirectory(prefix="pct-path-") as path:
        os.symlink(str(shutil.which("nsenter")), f"{path}/nsenter")
        nothing = world.cli("image", "pull", target, environment={"PATH": path})
    assert nothing.exit_code == 6 and "'skopeo', which is not installed" in nothing.stderr, nothing.stderr
    assert os.listdir(world.paths.pulls_dir) == []


def test_bars_on_a_terminal(world: World, private: Registry) -> None:
    with tempfile.TemporaryDirectory(prefix="pct-auth-") as directory:
        authfile = f"{directory}/auth.json"
        login = ["skopeo", "login", "--tls-verify=false", "--authfile", authfile, "-u", USER, "--password-stdin"]
        command = world.network.inside.argv(*login, private.host)
        subprocess.run(command, input=PASSWORD.encode(), check=True, capture_output=True)
        options = ("--no-tls-verify", "--authfile", authfile)
        target = f"{private.host}/bar:1"
        world.ok("image", "push", *options, "busybox", target)
        with Terminal(world.argv("image", "pull", *options, target, "bar"), world.environment) as terminal:
            terminal.expect(r"\r\x1b\[Kpulling  \[[#\xc2\xb7]{24,}\]")
            terminal.expect(r"sha256:[0-9a-f]{64}")
            assert terminal.wait() == 0
        world.ok("image", "rm", "bar")
