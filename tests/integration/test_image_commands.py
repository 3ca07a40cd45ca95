"""`pycontainer image` over the whole path: load, inspect, tag, prune, squashfs and erofs images. IMG-08."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.ociimages import build_layout, run
from tests.support.poll import poll_until
from tests.support.terminal import Terminal
from tests.support.world import World, unique_name

IMAGE = "busybox"
_MAKE = {"squashfs": ("mksquashfs",), "erofs": ("mkfs.erofs",)}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with oci/, docker.tar and base/."""
    directory = tmp_path_factory.mktemp("archives")
    build_layout(directory)
    run("skopeo", "copy", "-q", f"oci:{directory}/oci:img", f"docker-archive:{directory}/docker.tar:local/img:1")
    return directory


def make_filesystem(kind: str, source: Path, target: Path) -> None:
    if kind == "squashfs":
        run("mksquashfs", source, target, "-quiet", "-no-progress")
    else:
        run("mkfs.erofs", target, source)


def loop_devices(world: World) -> list[str]:
    """Return the files of the world that loop devices are over."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            name = path.read_text().strip()
        except OSError:  # it went while we looked
            continue
        if name.startswith(world.root):
            found.append(name)
    return found


@pytest.mark.requires("umoci")
@pytest.mark.requires("skopeo")
def test_load_inspect_tag_run_prune(own_world: World, archives: Path) -> None:
    world = own_world
    assert world.ok("image", "load", "-i", str(archives / "docker.tar")) == "docker.io/local/img:1"
    world.ok("image", "tag", "docker.io/local/img:1", "mine")
    (shown,) = json.loads(world.ok("image", "inspect", "mine"))
    assert shown["names"] == ["docker.io/local/img:1", "mine"] and len(shown["layers"]) == 6
    assert shown["config"]["user"] == "33:44" and shown["config"]["volumes"] == ["/data"]
    assert (by_id := json.loads(world.ok("image", "inspect", shown["id"][7:19])))[0]["id"] == shown["id"], by_id
    script = "cat /srv/d/inserted /usr/lib/real/through-a-link; ls /etc/link /opt/gone/y; id -u; echo $A; pwd"
    done = world.cli("run", "--rm", "mine", "sh", "-c", script)
    assert done.stdout.split() == ["insertedinserted33", "1", "/srv"]
    assert done.stderr.count("No such file") + done.stderr.count("Not a directory") == 2
    world.ok("image", "rm", "docker.io/local/img:1")
    assert world.ok("image", "prune") == ""
    name = unique_name()
    world.ok("create", "--name", name, "mine", "true")
    assert world.ok("image", "prune", "--all") == IMAGE
    world.ok("rm", name)
    world.ok("image", "rm", "mine")
    assert json.loads(world.ok("image", "list", "--format", "json")) == []


@pytest.mark.requires("umoci")
@pytest.mark.requires("skopeo")
def test_refusals_are_one_line_with_a_hint(world: World, archives: Path) -> None:
    assert "holds neither an OCI layout nor a docker archive" in world.refused(
        2, "image", "load", "-i", str(archives / "base")
    )
    assert "is for linux/" in world.refused(6, "image", "load", "-i", str(archives / "oci"), "--platform", "linux/m68k")
    assert "says itself how its containers start" in world.refused(
        2, "image", "import", "--cmd", "x", str(archives / "oci"), "x"
    )
    assert "no file or directory" in world.refused(3, "image", "load", "-i", "/none")


def test_archives_on_standard_input(own_world: World, tmp_path: Path) -> None:
    """From one pycontainer to another, by way of a program that compresses, and from a file."""
    world = own_world
    (before,) = json.loads(world.ok("image", "list", "--format", "json"))

    def piped(*words: str) -> str:
        script = f'{shlex.join(world.argv("image", "save", IMAGE))} | zstd -q | "$@"'
        shell = ["sh", "-c", script, "sh", *world.argv(*words)]
        done = subprocess.run(shell, env=world.environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    assert piped("image", "load") == IMAGE
    assert piped("image", "load", "-i", "-", "--name", "loaded") == "loaded"
    assert piped("image", "import", "-", "imported") == before["id"]
    assert {image["id"] for image in json.loads(world.ok("image", "list", "--format", "json"))} == {before["id"]}
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    with open(tmp_path / "root.tar") as file:
        subprocess.run(world.argv("image", "import", "-", "plain"), env=world.environment, stdin=file, check=True)
    assert "'-': the archive is damaged" in world.refused(2, "image", "load", stdin="text")
    assert world.refused(2, "image", "import", "-", "x", stdin="") == world.refused(2, "image", "import", "-", "x")
    with Terminal(world.argv("image", "load"), world.environment) as terminal:
        terminal.expect("pycontainer: an archive does not come from a terminal")
        terminal.expect("hint: name it: -i FILE")
        assert terminal.wait() == 2


@pytest.mark.requires("umoci")
@pytest.mark.requires("skopeo")
@pytest.mark.parametrize("kind", ["squashfs", "erofs"])
def test_a_file_system_is_the_lower_layer(
    request: pytest.FixtureRequest, own_world: World, archives: Path, tmp_path: Path, kind: str
) -> None:
    """Two containers share one mount of it; ids are mapped; nothing of it is left behind, also after kill -9."""
    world = own_world
    make_filesystem(kind, archives / "base", tmp_path / "image")
    assert f"--format {kind}" in world.refused(2, "image", "import", str(tmp_path / "image"), kind)
    world.ok("image", "import", "--format", kind, str(tmp_path / "image"), kind)
    (shown,) = json.loads(world.ok("image", "inspect", kind))
    assert shown["layers"][0]["format"] == kind and shown["layers"][0]["blob"] is None
    script = "stat -c '%u:%g %a' /srv; cat /etc/keep/b; echo new > /etc/keep/new; cat /etc/keep/new; rm /etc/keep/a"
    assert world.ok("run", "--rm", kind, "sh", "-c", script).split("\n") == ["33:44 2750", "etc/keep/bnew"]
    for name in ("one", "two"):
        world.ok("run", "-d", "--name", name, kind, "sleep", "1000")
    assert len(loop_devices(world)) == 1
    mounts = Path("/proc/self/mountinfo").read_text()
    assert world.root not in mounts
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    assert world.ok("exec", "one", "cat", "/etc/keep/b") == "etc/keep/b"
    world.ok("stop", "-t", "0", "one")
    world.ok("cp", "one:/etc/keep/b", str(tmp_path / "b"))  # of a stopped one
    assert (tmp_path / "b").read_text() == "etc/keep/b"
    assert "is used by containers" in world.refused(5, "image", "rm", kind)
    world.ok("rm", "-f", "one", "two")
    poll_until(lambda: not loop_devices(world), what="the loop device goes with its last user")
    world.ok("image", "rm", kind)
    assert os.listdir(f"{world.paths.images_dir}/layers") != [shown["layers"][0]["diff_id"].replace(":", "-")]


@pytest.mark.requires("umoci")
@pytest.mark.requires("skopeo")
@pytest.mark.parametrize("kind", ["squashfs", "erofs"])
def test_damaged_file_systems(own_world: World, archives: Path, tmp_path: Path, kind: str) -> None:
    image = tmp_path / f"image.{kind}"
    make_filesystem(kind, archives / "base", image)
    data = image.read_bytes()
    image.write_bytes(data[: len(data) // 2])
    message = own_world.refused(2, "image", "import", str(image), "x")
    assert re.search(rf"the {kind} file is cut off: it has \d+ of \d+ bytes", message)
    begin = 96 if kind == "squashfs" else 1024 + 128
    image.write_bytes(data[: begin - 90] + os.urandom(60) + data[begin - 30 :])  # within the superblock
    assert own_world.cli("image", "import", str(image), "x").exit_code in (2, 1)
    assert loop_devices(own_world) == []
    own_world.ok("image", "prune")
    assert [image["name"] for image in json.loads(own_world.ok("image", "list", "--format", "json"))] == [IMAGE]
    assert len(os.listdir(f"{own_world.paths.images_dir}/layers")) == 1


def test_unpadded_squashfs(own_world: World, tmp_path: Path) -> None:
    """A loop device has whole sectors only: the end of such a file must not be lost."""
    if shutil.which("mksquashfs") is None:
        pytest.skip("no mksquashfs")
    source = tmp_path / "tree"
    shutil.copytree(Path(own_world.paths.images_dir, "layers"), source, symlinks=True)
    (rootfs,) = source.glob("sha256-*/fs")
    run("mksquashfs", rootfs, tmp_path / "image.sfs", "-quiet", "-no-progress", "-nopad")
    own_world.ok("image", "import", str(tmp_path / "image.sfs"), "x")
    assert own_world.ok("run", "--rm", "x", "sh", "-c", "cat /bin/* | wc -c").isdigit()


def test_progress_on_a_terminal(world: World, tmp_path: Path) -> None:
    """One line that is wiped at the end, and nothing of it in a pipe."""
    (tmp_path / "tree/bin").mkdir(parents=True)
    (tmp_path / "tree/bin/big").write_bytes(os.urandom(1 << 20))
    subprocess.run(["tar", "-cf", tmp_path / "tree.tar", "-C", tmp_path / "tree", "."], check=True)
    name = unique_name()
    result = world.cli("image", "import", str(tmp_path / "tree.tar"), name)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", result.stdout) and result.stderr == ""
    argv = world.argv("image", "import", str(tmp_path / "tree.tar"), name)
    done = subprocess.run(
        ["script", "-qec", " ".join(argv), "/dev/null"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=world.environment,
        check=True,
    )
    bar, end = rb"\r\x1b\[Kcopying  \[#+\]  100%  [0-9.]+MiB of [0-9.]+MiB", rb"\r\x1b\[Ksha256:[0-9a-f]{64}\r\n$"
    assert re.search(bar + rb".*" + end, done.stdout)
    assert done.stdout.count(b"\n") == 1
    world.ok("image", "rm", name)
