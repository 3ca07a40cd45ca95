"""Builders that take what is there: from-oci, from-container, alpine, static-site. What they keep, drop and refuse."""

import hashlib
import http.server
import json
import os
import socket
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.integration.test_rootfs_tools import build, names
from tests.support.world import World, unique_name


def run(*argv: object) -> str:
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True).stdout


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Return path -> type, mode, owners, content or target, inode's links of everything in a directory."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        links = status.st_nlink if stat.S_ISREG(status.st_mode) else 0
        found[str(path.relative_to(root))] = (status.st_mode, status.st_uid, status.st_gid, content, links)
    return found


# -- from-oci


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of three layers, made by umoci: the second changes and adds, the third deletes and replaces a directory."""
    directory = tmp_path_factory.mktemp("oci")
    layout, bundle = directory / "layout", directory / "bundle"
    image = f"{layout}:web"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", image)
    run("umoci", "unpack", "--image", image, bundle)
    root = bundle / "rootfs"
    (root / "etc/opaque").mkdir(parents=True)
    (root / "etc/opaque/low").write_text("low")
    (root / "etc/deleted").write_text("deleted")
    (root / "etc/changed").write_text("first")
    (root / "bin").mkdir()
    (root / "bin/su").write_text("su")
    (root / "bin/su").chmod(0o4755)
    os.link(root / "bin/su", root / "bin/su2")
    (root / "bin/sh").symlink_to("/bin/su")
    run("umoci", "repack", "--refresh-bundle", "--image", image, bundle)
    (root / "etc/changed").write_text("second")
    (root / "etc/added").write_text("added")
    os.chown(root / "etc/added", 33, 44)
    run("umoci", "repack", "--refresh-bundle", "--image", image, bundle)
    (root / "etc/deleted").unlink()
    (root / "etc/opaque/low").unlink()
    (root / "etc/opaque/high").write_text("high")
    run("umoci", "repack", "--refresh-bundle", "--image", image, bundle)
    settings = [
        "--config.cmd=serve",
        "--config.cmd=-v",
        "--config.env=A=1",
        "--config.user=33:44",
        "--config.stopsignal=QUIT",
    ]
    settings += [
        "--config.workingdir=/srv",
        "--config.exposedports=80/tcp",
        "--config.volume=/data",
        "--config.label=a=b",
    ]
    run("umoci", "config", "--image", image, "--config.entrypoint=/bin/sh", *settings)
    return layout


CONFIG = {
    "entrypoint": ["/bin/sh"],
    "cmd": ["serve", "-v"],
    "env": ["A=1"],
    "user": "33:44",
    "workdir": "/srv",
    "exposed_ports": ["80/tcp"],
    "volumes": ["/data"],
    "stop_signal": "QUIT",
    "labels": {"a": "b"},
}


@pytest.mark.requires("skopeo", "umoci")
@pytest.mark.parametrize("form", ["oci", "oci-archive", "docker-archive"])
def test_from_oci(layout: Path, tmp_path: Path, form: str) -> None:
    """The layers laid over each other, as umoci has them; twice the same bytes."""
    source = layout
    if form != "oci":
        source = tmp_path / "image.tar"
        run("skopeo", "copy", "--quiet", f"oci:{layout}:web", f"{form}:{source}:docker.io/library/web:1")
    out = tmp_path / "out"
    exit_code, text = build("from-oci", source, "-o", out)
    assert exit_code == 0, text
    found = tree(out)
    assert found == tree(layout.parent / "bundle/rootfs")
    assert "etc/deleted" not in found
    assert "etc/opaque/low" not in found
    assert found["etc/changed"][3] == b"second"
    assert found["bin/su"] == (stat.S_IFREG | 0o4755, 0, 0, b"su", 2)
    assert json.loads((tmp_path / "out.json").read_text()) == CONFIG
    digests = set()
    for archive in (tmp_path / "1.tar", tmp_path / "2.tar"):
        assert build("from-oci", "-o", archive, source, SOURCE_DATE_EPOCH="1700000000")[0] == 0
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.requires("skopeo", "umoci")
def test_from_oci_of_docker(layout: Path, tmp_path: Path) -> None:
    """A docker archive's health check, which is no part of an OCI config, with Docker's nanoseconds as seconds."""
    archive, directory, out = tmp_path / "docker.tar", tmp_path / "docker", tmp_path / "out.tar"
    run("skopeo", "copy", "--quiet", f"oci:{layout}:web", f"docker-archive:{archive}:docker.io/library/web:1")
    directory.mkdir()
    run("tar", "--extract", "--file", archive, "--directory", directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    config = json.loads((directory / manifest[0]["Config"]).read_text())
    config["config"]["Healthcheck"] = {"Test": ["CMD", "true"], "Interval": 1_500_000_000, "StartPeriod": 2_000_000_000}
    text = json.dumps(config)
    manifest[0]["Config"] = f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    (directory / manifest[0]["Config"]).write_text(text)
    (directory / "manifest.json").write_text(json.dumps(manifest))
    run("tar", "--create", "--file", archive, "--directory", directory, *names(directory))
    exit_code, said = build("from-oci", archive, "-o", out)
    assert exit_code == 0, said
    check = {"test": ["CMD", "true"], "interval_seconds": 1.5, "start_period_seconds": 2.0}
    assert json.loads((tmp_path / "out.tar.json").read_text()) == {**CONFIG, "healthcheck": check}


@pytest.mark.requires("skopeo", "umoci")
def test_from_oci_refuses(layout: Path, tmp_path: Path) -> None:
    """One line for each, and nothing is left."""
    out, plain, broken = tmp_path / "out", tmp_path / "plain.tar", tmp_path / "broken"
    (tmp_path / "empty").mkdir()
    run("tar", "--create", "--file", plain, "--directory", tmp_path, "empty")
    run("cp", "-a", layout, broken)
    layer = max((path for path in (broken / "blobs/sha256").iterdir()), key=lambda path: path.stat().st_size)
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 1
    layer.write_bytes(data)
    (tmp_path / "cut.tar").write_bytes(b"\1" * 700)
    for source, problem in (
        ("none", "there is no file or directory '{}'"),
        ("empty", "'{}' is no OCI image layout: it has no file 'oci-layout'"),
        ("plain.tar", "'{}' holds no image: neither 'oci-layout' nor 'manifest.json'"),
        ("cut.tar", "'{}' is not a tar archive, or is damaged"),
        ("broken", "skopeo cannot read '{}' (see above)"),
    ):
        exit_code, text = build("from-oci", tmp_path / source, "-o", out)
        assert (exit_code, f"from-oci: {problem.format(tmp_path / source)}\n" in text) == (1, True), text
    assert layer.name in text, "which blob it is"
    assert names(tmp_path) == ["broken", "cut.tar", "empty", "plain.tar"]


# -- from-container


@pytest.fixture
def container(world: World) -> Iterator[str]:
    name = unique_name()
    script = """rm /www/index.html; echo mine >/www/new; chown 33:44 /www/new; cp /bin/busybox /bin/su1; chmod 4755 /bin/su1
    ln /www/new /www/hard; mkfifo /www/fifo; touch /ready; exec sleep 1000"""
    world.ok("run", "-d", "--name", name, "-e", "PASSWORD=secret", "-u", "0", "-w", "/www", IMAGE, "sh", "-c", script)
    world.ok("exec", name, "sh", "-c", "until test -e /ready; do sleep 0.1; done")
    yield name
    world.ok("rm", "-f", name)


@pytest.mark.parametrize("status", ["running", "stopped"])
def test_from_a_container(world: World, container: str, tmp_path: Path, status: str) -> None:
    """What it wrote, over what it was made of; what is mounted stays out, and what it was told in its environment."""
    if status == "stopped":
        world.ok("stop", "-t", "0", container)
    out = tmp_path / "out"
    exit_code, text = build("from-container", container, "-o", out, PYCONTAINER_ROOT=world.root)
    assert exit_code == 0, text
    found = tree(out)
    assert found["www/new"] == (stat.S_IFREG | 0o644, 33, 44, b"mine\n", 2)
    assert found["bin/su1"][:3] == (stat.S_IFREG | 0o4755, 0, 0)
    assert found["bin/sh"][3] == "busybox"
    assert {"www/index.html", "www/fifo"} & set(found) == set()
    assert names(out / "proc") == names(out / "dev") == names(out / "sys") == []
    config = json.loads((tmp_path / "out.json").read_text())
    assert (config["cmd"][:2], config["workdir"], config["user"]) == (["sh", "-c"], "/www", "0")
    assert "secret" not in (tmp_path / "out.json").read_text()


def test_build_from_a_container(world: World, container: str) -> None:
    """It becomes an image that starts as it did, with what it wrote."""
    world.ok("image", "build-from", "from-container", "copied", "--", container)
    assert world.ok("run", "--rm", "copied", "cat", "new") == "mine"
    (image,) = (each for each in json.loads(world.ok("image", "list", "--format", "json")) if each["name"] == "copied")
    assert image["config"]["workdir"] == "/www"
    world.ok("image", "rm", "copied")


def test_from_no_container(world: World, tmp_path: Path) -> None:
    world.ok("info")
    exit_code, text = build("from-container", "none", "-o", tmp_path / "out", PYCONTAINER_ROOT=world.root)
    assert exit_code == 1
    assert text.endswith(
        "from-container: cannot read container 'none' (see above)\n"
        "hint: 'pycontainer ps --all' lists them; a directory has a '/' in it: ./none\n"
    )
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["lxc", "openvz", "plain"])
def test_from_a_directory(tmp_path: Path, kind: str) -> None:
    """Ids counted from where they begin; modes, links, attributes and holes as they are; no devices, no sockets."""
    base = 0 if kind == "openvz" else 100000
    area = tmp_path / "area"
    root = {"lxc": area / "rootfs", "openvz": area / "fs", "plain": area}[kind]
    (root / "usr/bin").mkdir(parents=True)
    (root / "dev").mkdir()
    (root / "sbin").mkdir()
    (root / "sbin/init").symlink_to("/lib/systemd/systemd")
    su, web = root / "usr/bin/su", root / "usr/web"
    su.write_text("su")
    web.write_text("web")
    os.link(web, root / "usr/hard")
    os.setxattr(web, "user.mine", b"kept")
    with open(root / "usr/sparse", "wb") as file:
        file.truncate(64 << 20)
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "usr/device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "usr/socket"))
    for path in (root, *root.rglob("*")):
        os.lchown(path, base, base)
    os.chown(web, base + 33, base + 44)
    su.chmod(0o4755)
    os.utime(web, ns=(5, 1_600_000_000_123_456_789))
    out = tmp_path / "out"
    exit_code, text = build("from-container", f"{area}/", "-o", out)
    assert exit_code == 0, text
    found = tree(out)
    assert set(found) == {
        "dev",
        "proc",
        "run",
        "sys",
        "tmp",
        "sbin",
        "sbin/init",
        "usr",
        "usr/bin",
        "usr/bin/su",
        "usr/hard",
        "usr/sparse",
        "usr/web",
    }
    assert found["usr/bin/su"] == (stat.S_IFREG | 0o4755, 0, 0, b"su", 1)
    assert found["usr/web"] == (stat.S_IFREG | 0o644, 33, 44, b"web", 2)
    assert os.getxattr(out / "usr/web", "user.mine") == b"kept"
    assert (out / "usr/web").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert (out / "usr/sparse").stat().st_blocks < 1000
    assert json.loads((tmp_path / "out.json").read_text()) == {"cmd": ["/sbin/init"]}


def test_from_a_directory_refuses(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none/rootfs").symlink_to("/")
    (tmp_path / "root/usr").mkdir(parents=True)
    os.chown(tmp_path / "root/usr", 70000, 0)
    for source, problem in (
        ("none", "'{}' is no root file system: it has neither /usr nor /bin"),
        ("root", "'{}' has files of id 70000, which is not one of the 65536 from 0 on"),
        ("gone", "there is no directory '{}'"),
    ):
        exit_code, text = build("from-container", tmp_path / source, "-o", tmp_path / "out")
        assert (exit_code, f"from-container: {problem.format(tmp_path / source)}\n" in text) == (1, True), text
    exit_code, text = build("from-container", f"{tmp_path}/root", "-o", tmp_path / "root/out")
    assert (exit_code, "is within" in text) == (1, True), text
    assert (names(tmp_path), names(tmp_path / "root")) == (["none", "root"], ["usr"])


# -- alpine


@pytest.fixture(scope="module")
def minirootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for Alpine's tarball: busybox's root with the files by which Alpine is told. The real one was not tried."""
    directory = tmp_path_factory.mktemp("alpine")
    assert build("busybox", directory / "root")[0] == 0
    root = directory / "root"
    (root / "etc/alpine-release").write_text("3.20.3\n")
    (root / "etc/hostname").write_text("localhost\n")
    (root / "etc/shadow").write_text("root:*::0:::::\n")
    os.chown(root / "etc/shadow", 0, 42)
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    tarball = directory / "alpine-minirootfs-3.20.3-x86_64.tar.gz"
    run("tar", "--create", "--gzip", "--file", tarball, "--directory", root, ".")
    return tarball


def test_alpine(minirootfs: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(minirootfs.read_bytes()).hexdigest()
    arguments = ("--from", minirootfs, "--sha256", digest.upper(), "-o")
    assert build("alpine", *arguments, tmp_path / "out")[0] == 0
    found = tree(tmp_path / "out")
    assert found["etc/shadow"][:3] == (stat.S_IFREG | 0o644, 0, 42)
    assert {"etc/hostname", "dev/null"} & set(found) == set()
    assert json.loads((tmp_path / "out.json").read_text()) == {"cmd": ["/bin/sh"]}
    for name in ("1.tar", "2.tar"):
        assert build("alpine", *arguments, tmp_path / name, SOURCE_DATE_EPOCH="1700000000")[0] == 0
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_alpine_from_a_mirror(minirootfs: Path, tmp_path: Path) -> None:
    """Where Alpine's mirrors have it; what is not there, or is not what it should be, leaves nothing."""
    place = tmp_path / "alpine/v3.20/releases/x86_64"
    place.mkdir(parents=True)
    (place / minirootfs.name).write_bytes(minirootfs.read_bytes())
    digest = hashlib.sha256(minirootfs.read_bytes()).hexdigest()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *connection: Quiet(*connection, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        mirror = f"http://127.0.0.1:{server.server_port}/alpine/"
        options = ("--mirror", mirror, "--arch", "x86_64", "-o", tmp_path / "out", "--release")
        exit_code, text = build("alpine", *options, "3.21.0", "--sha256", digest, no_proxy="127.0.0.1")
        assert (exit_code, "404" in text, "cannot download" in text) == (1, True, True), text
        exit_code, text = build("alpine", *options, "3.20.3", "--sha256", "0" * 64, no_proxy="127.0.0.1")
        assert (exit_code, f"is not what it should be: its SHA-256 is {digest}\n" in text) == (1, True), text
        assert names(tmp_path) == ["alpine"]
        assert build("alpine", *options, "3.20.3", "--sha256", digest, no_proxy="127.0.0.1")[0] == 0
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (tmp_path / "out/etc/alpine-release").read_text() == "3.20.3\n"


def test_a_tarball_cannot_leave_its_root(tmp_path: Path) -> None:
    """Through a link, `..`, an absolute name or a hard link, though the checksum is right. tar sees nothing to write to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    bad = tmp_path / "bad.tar"
    with tarfile.open(bad, "w") as archive:
        for name, kind, target in (
            ("etc", tarfile.DIRTYPE, ""),
            ("etc/alpine-release", tarfile.REGTYPE, ""),
            ("link", tarfile.SYMTYPE, str(outside)),
            ("link/through-a-link", tarfile.REGTYPE, ""),
            (f"../../../../../../../..{outside}/dots", tarfile.REGTYPE, ""),
            (f"{outside}/absolute", tarfile.REGTYPE, ""),
            ("hard", tarfile.LNKTYPE, str(outside / "mine")),
            ("device", tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, target, 0o755
            archive.addfile(member)
    digest = hashlib.sha256(bad.read_bytes()).hexdigest()
    build("alpine", "--from", bad, "--sha256", digest, "-o", tmp_path / "out")
    assert names(outside) == ["mine"]
    assert (outside / "mine").stat().st_nlink == 1
    assert not any(path.is_char_device() for path in (tmp_path).rglob("device"))


# -- static-site


def test_static_site(tmp_path: Path) -> None:
    """Readable for all, whatever the modes were; no version control, no devices; a link is a link."""
    site = tmp_path / "site"
    (site / ".git").mkdir(parents=True)
    (site / ".git/config").write_text("secret")
    (site / ".well-known").mkdir()
    (site / "index.html").write_text("<h1>Hello</h1>")
    (site / "index.html").chmod(0o4600)
    (site / "link").symlink_to("/etc/passwd")
    os.mkfifo(site / "fifo")
    (site / "404.html").write_text("nothing here")
    for name in ("1.tar", "2.tar"):
        exit_code, text = build("static-site", site, "-o", tmp_path / name)
        assert exit_code == 0, text
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    with tarfile.open(tmp_path / "1.tar") as archive:
        members = {member.name: member for member in archive}
    assert {name for name in members if name.startswith("./www")} == {
        "./www", "./www/.well-known", "./www/404.html", "./www/index.html", "./www/link",
    }  # fmt: skip
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
    assert members["./www/index.html"].mode == 0o644
    assert members["./www/link"].linkname == "/etc/passwd"
    exit_code, text = build("static-site", tmp_path, "-o", site / "out")
    assert (exit_code, "is within" in text) == (1, True), text
    assert build("static-site", tmp_path / "none", "-o", tmp_path / "out") == (
        1,
        f"static-site: there is no directory '{tmp_path}/none'\n",
    )
