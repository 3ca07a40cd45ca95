"""Kernels: Debian's cloud packages, unpacked and kept in the user's cache; nothing is installed."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

_FLAVOUR = "cloud-amd64"  # a third of the generic one's size


class Kernel(NamedTuple):
    """An unpacked package: its tree and the version that its modules lie under."""

    tree: Path
    version: str

    @property
    def image(self) -> Path:
        return self.tree / "boot" / f"vmlinuz-{self.version}"

    @property
    def modules(self) -> Path:
        return self.tree / "lib" / "modules" / self.version


def cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pycontainer-vm"


def fetch(series: str) -> Kernel:
    """Return the newest kernel of a series ("6.12") that was fetched before, or else that apt knows.

    RuntimeError if apt has none, or cannot download it.
    """
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = sorted((path.parent for path in cache.glob(f"linux-image-{series}[.-]*/complete")), key=_natural)
        tree = known[-1] if known else _download(series, cache)
    return Kernel(tree, next((tree / "lib/modules").iterdir()).name)


def _download(series: str, cache: Path) -> Path:
    names = subprocess.run(
        ["apt-cache", "pkgnames", f"linux-image-{series}"], capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = re.compile(rf"linux-image-{re.escape(series)}(\.\d+)+(-\d+|\+deb\d+)?-{_FLAVOUR}")
    found = sorted((name for name in names if wanted.fullmatch(name)), key=_natural)
    if not found:
        raise RuntimeError(f"apt knows no kernel {series}: run apt-get update")
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        subprocess.run(
            ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", found[-1]],
            cwd=directory,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        tree = Path(directory) / "tree"
        subprocess.run(["dpkg", "-x", str(next(Path(directory).glob("*.deb"))), str(tree)], check=True)
        if not (tree / "lib").exists():
            (tree / "lib").symlink_to("usr/lib")
        version = next((tree / "lib/modules").iterdir()).name
        depmod = shutil.which("depmod", path="/usr/sbin:/sbin")
        if depmod is None:
            raise RuntimeError("no depmod: apt-get install kmod")
        subprocess.run([depmod, "-b", str(tree), version], check=True)  # dpkg -x leaves no modules.dep
        (tree / "complete").touch()
        return tree.rename(cache / found[-1])


def _natural(path: "Path | str") -> list[tuple[int, str]]:
    """Sort 6.12.9 before 6.12.117."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path)) if part]
