"""What all peers are measured on: one root file system, the same in each form that somebody reads, and a network."""

import mmap
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from pycontainer.linux.namespaces import CLONE_NEWNS, unshare
from pycontainer.paths import HostPaths
from tests.engines.machine import hierarchies
from tests.support.hostns import HostNetwork
from tests.support.images import build_rootfs
from tests.support.ocilayout import Layout

_STATE = "/var/tmp"  # beneath it is what each peer keeps: images, layers, records
_STATE_BYTES, _STATE_INODES = 8 * 2**30, 400_000  # of memory a quarter at most, where that is less

TRUE = ("/bin/true",)
CLOCK = ("/bin/payload", "clock")
SLEEPER = ("/bin/sleeper",)  # ends at once when it is asked to; as a file, since ctr 1.6 takes a `-c` for its own
_SLEEPER = "#!/bin/sh\ntrap 'exit 0' TERM\nsleep 1000000 &\nwait\n"
PAYLOAD = "/bin/busybox"  # what both are


class Bed:
    """Files and network; `close` takes all of it away."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.directory = Path(tempfile.mkdtemp(prefix="pct-bench-", dir="/var/tmp"))
        self.rootfs = self.directory / "rootfs"
        self.tarball = self.directory / "rootfs.tar"
        self.archive = self.directory / "images.tar"
        build_rootfs(str(self.rootfs))
        (self.rootfs / "bin/sleeper").write_text(_SLEEPER)
        (self.rootfs / "bin/sleeper").chmod(0o755)
        subprocess.run(["tar", "-C", self.rootfs, "-cf", self.tarball, "."], check=True)
        layout = Layout(self.directory / "layout")
        layer = self.tarball.read_bytes()
        environment = {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
        pause = {**environment, "Entrypoint": ["/bin/payload", "sleep", "0"]}
        layout.index(
            ("busybox", layout.image([layer], config={**environment, "Cmd": ["sh"]})),
            ("pause", layout.image([layer], config=pause)),
        )
        subprocess.run(["tar", "-C", layout.directory, "-cf", self.archive, "."], check=True)
        self.network = HostNetwork()
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.directory), "LANG": "C.UTF-8",
        }  # fmt: skip

    def close(self) -> None:
        self.network.close()
        shutil.rmtree(self.directory)


def mount_memory(directory: str) -> None:
    """Mount an empty tmpfs, which goes with the mounts of this process at the latest."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", directory], check=True)


def touch_memory(size_bytes: int) -> None:
    """Write to so much memory, and free it: in a virtual machine the first write to a page is a fault of its host, too."""
    with mmap.mmap(-1, size_bytes) as memory:
        for offset in range(0, size_bytes, mmap.PAGESIZE):
            memory[offset] = 1


def leave_mounts() -> dict[str, str]:
    """Give this process mounts of its own; return the facts that come of it.

    What lives as long as a boot is in memory for each peer, as with an init that makes /run so; what lives longer is on a
    file system of its own.
    """
    unshare(CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    mount_memory("/run")
    return {"file_system": _mount_state(), "cgroups": _show_cgroups()}


def _mount_state() -> str:
    """Mount an ext4 of our own where the state of all peers is; return what that is.

    The file beneath is in memory, and the journal, the commits and the processors' time are those of any host's. What a
    disk had to do before us, or for others, would be most of the differences: ext4 without a journal looks, for each file
    that it makes, at all inodes of its group that became free within minutes.
    """
    image = "/run/pct-bench.img"
    with open(image, "wb") as file:
        file.truncate(min(_STATE_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4))
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(_STATE_INODES), image], check=True)
    subprocess.run(["mount", "-o", "loop,noinit_itable", image, _STATE], check=True)
    os.chmod(_STATE, 0o1777)
    _mount_claims()
    return "ext4 with a journal, made for this run, its blocks in memory; the state of all peers is on it"


def _mount_claims() -> None:
    """Have the claims of id ranges, which all worlds of a host share, on that file system, unless others hold some."""
    claims = Path(HostPaths().idranges_dir)
    claims.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(each.is_symlink() for each in claims.iterdir()):
        return
    own = tempfile.mkdtemp(prefix="pct-bench-ids-", dir=_STATE)
    subprocess.run(["mount", "--bind", own, claims], check=True)


def _show_cgroups() -> str:
    """Where v1 and v2 stand side by side, v2 has no controllers, and crun starts nothing: all peers are shown v1 alone."""
    found = hierarchies()
    if not any(each.kind == "cgroup" for each in found):
        return "v2"
    for each in found:
        if each.kind == "cgroup2":
            subprocess.run(["umount", each.directory], check=True)
            return "v1; the v2 tree beside it, which is without controllers, is hidden from all, as crun refuses both"
    return "v1"
