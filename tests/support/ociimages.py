"""OCI images made by umoci from a busybox tree."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

from tests.support.images import CHECKOUT

_CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # net_raw, permitted and effective


def run(*command: object, **options: object) -> str:
    """Run a program that must succeed; return what it wrote."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return str(done.stdout)


def build_base(directory: Path) -> None:
    """Make a root file system with all that a layer can hold: owners, modes, links, attributes, holes, times, odd names."""
    run(f"{CHECKOUT}/rootfs-tools/busybox", directory)
    for name in ("etc/keep", "srv/d", "var/cache/apt", "usr/lib/real", "opt/gone"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for name in ("etc/keep/a", "etc/keep/b", "srv/d/x", "var/cache/apt/list", "opt/gone/y", "usr/lib/real/z"):
        (directory / name).write_text(name)
    os.link(directory / "etc/keep/a", directory / "etc/keep/hard")
    os.symlink("keep", directory / "etc/link")
    os.symlink("usr/lib/real", directory / "reallib")
    (directory / "srv" / "line\nfeed é").write_text("odd")
    with open(directory / "sparse", "wb") as file:
        file.truncate(10 << 20)
        file.seek(5 << 20)
        file.write(b"middle")
    os.chown(directory / "srv", 33, 44)
    os.chmod(directory / "srv", 0o2750)
    os.chown(directory / "etc/keep/b", 65535, 1)
    os.chmod(directory / "etc/keep/b", 0o4711)
    os.setxattr(directory / "srv/d/x", "user.mine", b"kept")
    os.setxattr(directory / "srv", "user.dir", b"kept")
    shutil.copy(directory / "bin/busybox", directory / "bin/ping-like")
    os.setxattr(directory / "bin/ping-like", "security.capability", _CAPABILITY)
    for name in ("etc/keep/b", "srv", "reallib"):
        os.utime(directory / name, ns=(0, 1_577_934_245_123_456_789), follow_symlinks=False)


def build_layout(work: Path) -> Path:
    """Make work/oci with the image `img`: a base, and over it what changes, removes, replaces and only inserts."""
    base, layout, bundle = work / "base", work / "oci", work / "bundle"
    build_base(base)
    image = f"{layout}:img"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", image)
    run("umoci", "unpack", "--image", image, bundle)
    run("cp", "-a", f"{base}/.", f"{bundle}/rootfs/")
    run("umoci", "repack", "--image", image, bundle)
    shutil.rmtree(bundle)
    run("umoci", "unpack", "--image", image, bundle)
    rootfs = bundle / "rootfs"
    (rootfs / "etc/keep/a").unlink()
    shutil.rmtree(rootfs / "opt/gone")
    (rootfs / "opt/gone").write_text("a file now")
    (rootfs / "etc/keep/b").write_text("changed")
    (rootfs / "new").mkdir()
    (rootfs / "new/file").write_text("new")
    run("umoci", "repack", "--image", image, bundle)
    (work / "inserted").write_text("inserted")
    run("umoci", "insert", "--image", image, work / "inserted", "/srv/d/inserted")
    run("umoci", "insert", "--image", image, work / "inserted", "/reallib/through-a-link")
    (work / "fresh").mkdir()
    (work / "fresh/only").write_text("fresh")
    run("umoci", "insert", "--image", image, "--opaque", work / "fresh", "/var/cache")
    run("umoci", "insert", "--image", image, "--whiteout", "/etc/link")
    run(
        *("umoci", "config", "--image", image, "--config.cmd", "/bin/sh", "--config.env", "A=1"),
        *("--config.label", "x=y", "--config.volume", "/data", "--config.exposedports", "80/tcp"),
        *("--config.user", "33:44", "--config.workingdir", "/srv", "--config.stopsignal", "SIGQUIT"),
    )
    shutil.rmtree(bundle, ignore_errors=True)
    return layout
