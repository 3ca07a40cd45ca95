"""Round trips of a Debian that other tools agree with: one image is one tree, whoever made it and whoever looks. IMG-01.

    packages ─▶ rootfs-tools ─▶ import ─▶ container ─▶ commit ─▶ save ─▶ skopeo, umoci, podman
    packages ─▶ rootfs-tools ─▶ podman; ours ─▶ umoci; skopeo ─▶ load ─▶ container

What a container sees is asked inside of it (tests/support/trees.py): so owners, attributes and what is left of what it
deleted are the kernel's word, and other tools are held against that.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.store.images import ImageStore
from pycontainer.store.load import load
from tests.support.interop import podman, podman_load, skopeo_inspect, umoci_unpack
from tests.support.ociimages import run
from tests.support.overlay import mounted
from tests.support.trees import Tree, View, assert_same, tree, view
from tests.support.world import World, unique_name

pytestmark = pytest.mark.requires("debian_mirror", "skopeo", "umoci", "podman")
NOTE = b"\0\xff=\n"
BINDS_LOW_PORTS = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service, effective

# What a container makes of an image, all that a layer can say; $1 and $2 are names of the same file of the image.
FIRST = r"""
cd /srv
echo new >new; mkdir -p deep/er whole/inner; echo a >whole/inner/a; echo b >file
ln new hard; ln new deep/er/hard; ln -s ../nowhere soft; chown -h 7:8 soft; ln soft deep/soft
touch -h -d @1234567890.000000001 soft
truncate -s 3M sparse; printf middle | dd of=sparse bs=4096 seek=300 conv=notrunc status=none
mkdir $'line\nfeed \xff'; echo odd >$'line\nfeed \xff/file'
cp /usr/bin/env tool; chown 33:65535 tool; chmod 6755 tool; setcap cap_net_bind_service+ep tool
setfattr -n user.note -v 0x00ff3d0a new; setfattr -n user.note -v 0x00ff3d0a deep
chmod 1777 deep; chown 65535:1 deep
echo changed >>/etc/bash.bashrc
touch -d @1600000000.987654321 /usr/bin/ping; setcap cap_net_bind_service+ep /usr/sbin/nginx
chmod 711 "$1"; ln /usr/bin/env /srv/linked
chown 12:34 /etc/sudoers; chmod 700 /etc/cron.d; setfattr -n user.note -v 0x00ff3d0a /etc/cron.d
rm /usr/bin/chage; rm -r /usr/share/doc/cron; rm -r /etc/cron.daily; mkdir /etc/cron.daily; echo mine >/etc/cron.daily/mine
mv /etc/nginx/nginx.conf /etc/nginx/renamed; mv /etc/sudoers.d /etc/moved
"""
SECOND = r"""
cd /srv
rm new; echo more >>hard; rm -r whole; echo file >whole; rm file; mkdir -m 750 file; echo x >file/x
rm -r /etc/cron.daily; mkdir -m 750 /etc/cron.daily; echo again >/etc/cron.daily/again
mkdir /usr/share/doc/cron; echo back >/usr/share/doc/cron/back; rm -r /etc/moved
setcap -r /usr/bin/ping; setfattr -x user.note deep; mkfifo fifo
touch -d @-1.5 hard; touch -d @1600000001.123456789 file /etc
"""


class Committed(NamedTuple):
    """What a container saw at its commit, and the image of that, saved."""

    seen: View
    layout: Path
    docker_archive: Path
    oci_archive: Path


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pct-round-", dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def base(debian_nginx: Path) -> Tree:
    """The Debian's tree, which has to have what this is about."""
    made = tree(debian_nginx)
    kinds = Counter[str]()
    for node in made.values():
        mode = int(node.mode, 8)
        kinds["capability"] += "security.capability" in node.attributes
        kinds["set-user-id"] += bool(mode & 0o4000)
        kinds["set-group-id"] += bool(mode & 0o2000)
        kinds["sticky"] += bool(mode & 0o1000)
        kinds["several names"] += len(node.files) > 1
        kinds["another owner"] += node.uid != 0 and node.gid != 0
        kinds["link"] += node.mode.startswith("0o12")
    assert len(kinds) == 7 and min(kinds.values()) > 0, kinds
    return made


def change(root: Path) -> None:
    """Change a Debian's tree on the host, as somebody's build would, in every way that a layer knows."""
    shutil.rmtree(root / "etc/cron.daily")
    shutil.rmtree(root / "usr/share/doc/cron")
    (root / "usr/bin/gpasswd").unlink()
    for name in ("etc/cron.daily", "opt/deep/er"):
        (root / name).mkdir(mode=0o750, parents=True)
    for name in ("opt/new", "etc/cron.daily/mine", "etc/bash.bashrc"):
        (root / name).write_text(name)
    os.link(root / "opt/new", root / "opt/deep/er/hard")
    (root / "opt/soft").symlink_to("../nowhere")
    os.link(root / "opt/soft", root / "opt/deep/soft", follow_symlinks=False)
    os.rename(root / "etc/nginx", root / "etc/moved")
    os.mkdir(os.fsencode(root) + b"/opt/line\nfeed")
    shutil.copy(root / "usr/bin/env", root / "opt/tool")
    os.chown(root / "opt/tool", 33, 65535)
    os.chmod(root / "opt/tool", 0o6755)
    os.setxattr(root / "opt/tool", "security.capability", BINDS_LOW_PORTS)
    os.setxattr(root / "opt/new", "user.note", NOTE)
    os.chown(root / "opt/deep", 65535, 1)
    os.chmod(root / "opt/deep", 0o1777)
    for number, name in enumerate(("opt/new", "opt/soft", "opt/deep", "etc")):
        os.utime(root / name, ns=(0, 10**18 + 123_456_789 + number), follow_symlinks=False)


@contextlib.contextmanager
def running(world: World, image: str) -> Iterator[str]:
    name = unique_name()
    world.ok("run", "-d", "--name", name, image, "sleep", "infinity")
    yield name
    world.ok("rm", "-f", name)


def seen_of(world: World, image: str) -> View:
    """Return what a new container of an image sees."""
    with running(world, image) as name:
        return view(int(world.inspect(name)["pid"]))


def as_shown(made: Tree, seen: View) -> Tree:
    """Return a tree as a container shows it: without what is mounted over it.

    A directory in which there was nothing to mount over yet has changed by that: its time is the container's.
    """
    hidden = tuple(f"{name}/" for name in seen.mounted)
    shown = {name: node for name, node in made.items() if not f"{name}/".startswith(hidden)}
    for name in seen.mounted:
        above = os.path.dirname(name) or "."
        if name not in made and above in shown:
            shown[above] = shown[above]._replace(mtime_ns=seen.tree[above].mtime_ns)
    return shown


@pytest.fixture(scope="module", autouse=True)
def awake(world: World) -> Iterator[None]:
    """Stay connected: a supervisor ends when nothing was asked of it for a minute, which other tools may take."""
    with world.client() as host:
        host.list_images()
        yield


@pytest.fixture(scope="module")
def debian(world: World, debian_nginx: Path) -> str:
    world.ok("image", "import", "--config", f"{debian_nginx}.json", str(debian_nginx), "debian", timeout_seconds=180)
    return "debian"


@pytest.fixture(scope="module")
def committed(world: World, debian: str, base: Tree, work: Path) -> Committed:
    """A container's changes in two layers, as a snapshot was taken in between."""
    twins = next(node.files for name, node in sorted(base.items()) if "usr/bin/" in name and len(node.files) > 1)
    with running(world, debian) as name:
        world.ok("exec", name, "bash", "-euc", FIRST, "bash", *(f"/{twin}" for twin in twins))
        world.ok("stop", "-t", "0", name)
        world.ok("snapshot", "create", name)
        world.ok("start", name)
        world.ok("exec", name, "bash", "-euc", SECOND)
        seen = view(int(world.inspect(name)["pid"]))
        done = world.cli("commit", name, "changed:1")
        assert (done.exit_code, done.stderr.count("\n")) == (0, 1) and "'./srv/fifo' is a" in done.stderr, done
    made = Committed(seen, work / "layout", work / "docker.tar", work / "oci.tar")
    world.ok("image", "save", "-o", str(made.oci_archive), "changed:1", timeout_seconds=180)
    # The base came as a directory. As it is packed now it is a blob, which goes out as it is from here on.
    world.ok("image", "load", "-i", str(made.oci_archive))
    for form, target in (("oci-dir", made.layout), ("docker-archive", made.docker_archive)):
        world.ok("image", "save", "--format", form, "-o", str(target), "changed:1", timeout_seconds=180)
    seen.tree.pop("srv/fifo")
    return made


@pytest.fixture(scope="module")
def bundle(committed: Committed, work: Path) -> tuple[Path, Tree]:
    """What umoci unpacks, before anybody changes it."""
    root = umoci_unpack(committed.layout, "changed:1", work / "bundle")
    return root, tree(root)


def test_a_container_sees_what_the_builder_made(world: World, debian: str, base: Tree) -> None:
    seen = seen_of(world, debian)
    assert_same(seen.tree, as_shown(base, seen))


def test_the_changes_are_what_they_should_be(committed: Committed, base: Tree) -> None:
    """What is compared below is not all the same by being all wrong."""
    seen = committed.seen.tree
    for name in ("usr/bin/chage", "etc/sudoers.d", "etc/moved", "srv/new", "srv/whole/inner/a", "etc/nginx/nginx.conf"):
        assert name not in seen, name
    for name in ("etc/cron.daily", "usr/share/doc/cron", "srv/file"):
        assert len([other for other in seen if os.path.dirname(other) == name]) == 1, name
    assert seen["srv/tool"].attributes == {"security.capability": BINDS_LOW_PORTS.hex()}
    assert seen["srv/tool"][:3] == ("0o106755", 33, 65535)
    assert seen["usr/sbin/nginx"].attributes == seen["srv/tool"].attributes
    assert "security.capability" in base["usr/bin/ping"].attributes and not seen["usr/bin/ping"].attributes
    assert seen["usr/bin/ping"].mtime_ns == 1_600_000_000_987_654_321
    assert seen["srv/hard"].mtime_ns == -1_500_000_000 and seen["srv/soft"].mtime_ns == 1_234_567_890_000_000_001
    assert seen["etc/cron.d"].attributes == {"user.note": NOTE.hex()} and not seen["srv/deep"].attributes
    assert seen["srv/linked"].files == ["srv/linked", "usr/bin/env"]
    assert seen["srv/soft"].files == ["srv/deep/soft", "srv/soft"]
    assert "srv/line\nfeed \udcff/file" in seen


def test_skopeo_and_umoci_read_what_was_committed(committed: Committed, bundle: tuple[Path, Tree]) -> None:
    _, layout, docker_archive, oci_archive = committed
    for place in (f"oci:{layout}", f"oci-archive:{oci_archive}", f"docker-archive:{docker_archive}"):
        found = skopeo_inspect(f"{place}:changed:1")
        assert (len(found["Layers"]), found["Os"]) == (3, "linux"), place
    assert_same(as_shown(bundle[1], committed.seen), committed.seen.tree)


def test_podman_loads_what_was_committed(committed: Committed, work: Path) -> None:
    """But for what podman's store cannot say where it copies a layer to lay the next one over it: times before 1970, several
    names of one link, and that a directory has lost an attribute."""
    _, place = podman_load(committed.oci_archive, work / "loaded")
    expected = {name: node._replace(mtime_ns=max(0, node.mtime_ns)) for name, node in committed.seen.tree.items()}
    for name in ("srv/soft", "srv/deep/soft"):
        expected[name] = expected[name]._replace(files=[name])
    expected["srv/deep"] = expected["srv/deep"]._replace(attributes={"user.note": NOTE.hex()})
    try:
        assert_same(as_shown(tree(place), committed.seen), expected)
    finally:
        shutil.rmtree(work / "loaded")


def test_containers_see_what_was_committed(world: World, committed: Committed, work: Path) -> None:
    """Here, and where the docker archive was loaded."""
    assert_same(seen_of(world, "changed:1").tree, committed.seen.tree)
    other = ImageStore(HostPaths(str(work / "other")))
    (info,) = load(other, str(committed.docker_archive), Importer())
    with mounted(other.get(info["name"]).layer_dirs, work / "at") as at:
        found = tree(at)
    found["."] = committed.seen.tree["."]  # of a directory of the test
    assert_same(as_shown(found, committed.seen), committed.seen.tree)
    sparse = os.stat(Path(other.get(info["name"]).layer_dirs[1], "srv/sparse"))
    assert sparse.st_blocks * 512 < sparse.st_size == 3 << 20


def test_what_umoci_makes_of_it(world: World, committed: Committed, bundle: tuple[Path, Tree], work: Path) -> None:
    """A bundle that was changed and packed again, and what is only inserted; also as skopeo copies it."""
    image, root = f"{committed.layout}:more", bundle[0]
    change(root)
    run("umoci", "repack", "--image", image, root.parent)
    (work / "fresh").mkdir()
    (work / "fresh/only").write_text("fresh")
    run("umoci", "insert", "--image", image, "--opaque", work / "fresh", "/etc/apt")
    run("umoci", "insert", "--image", image, work / "fresh/only", "/bin/inserted")  # beyond a link
    run("umoci", "insert", "--image", image, "--whiteout", "/etc/moved/mime.types")
    expected = tree(umoci_unpack(committed.layout, "more", work / "more"))
    assert "usr/bin/inserted" in expected and "etc/moved/mime.types" not in expected
    assert [name for name in expected if os.path.dirname(name) == "etc/apt"] == ["etc/apt/only"]
    world.ok("image", "load", "-i", str(committed.layout), timeout_seconds=180)
    seen = seen_of(world, "more")
    assert_same(seen.tree, as_shown(expected, seen))
    run("skopeo", "copy", "-q", f"oci:{image}", f"docker-archive:{work}/more.tar:local/more:1")
    assert world.ok("image", "load", "-i", f"{work}/more.tar", timeout_seconds=180) == "docker.io/local/more:1"
    more, copied = json.loads(world.ok("image", "inspect", "more", "docker.io/local/more:1"))
    assert [layer["diff_id"] for layer in copied["layers"]] == [layer["diff_id"] for layer in more["layers"]]
    world.ok("image", "rm", "more", "docker.io/local/more:1")


def test_what_podman_makes_of_it(world: World, debian_nginx: Path, work: Path) -> None:
    """A root file system that podman imports, a container of it that it commits, in both forms that it saves."""
    own = work / "podman"
    own.mkdir()
    pack = "tar --xattrs --xattrs-include=* --format=posix --numeric-owner -cf"
    subprocess.run([*pack.split(), own / "debian.tar", "."], cwd=debian_nginx, check=True)
    *_, place = podman(
        own,
        f"""$podman import -q {own}/debian.tar local/debian:1 >&2
        $podman create -q --name it --network none local/debian:1 true >&2; $podman mount it""",
    ).splitlines()
    change(Path(place))
    podman(
        own,
        f"""$podman commit -q it local/more:1 >&2
        for form in docker-archive oci-archive; do $podman save -q --format $form -o {own}/$form local/more:1; done""",
    )
    run("skopeo", "copy", "-q", f"oci-archive:{own}/oci-archive", f"oci:{own}/layout:more")
    expected = tree(umoci_unpack(own / "layout", "more", own / "bundle"))
    layers = []
    for form in ("oci-archive", "docker-archive"):
        name = world.ok("image", "load", "-i", f"{own}/{form}", timeout_seconds=180)
        assert name.rpartition("/")[2] == "more:1"
        seen = seen_of(world, name)
        assert_same(seen.tree, as_shown(expected, seen))
        layers.append([layer["diff_id"] for layer in json.loads(world.ok("image", "inspect", name))[0]["layers"]])
        world.ok("image", "rm", name)
    assert layers[0] == layers[1] and len(layers[0]) == 2
