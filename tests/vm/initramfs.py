"""The first file system: busybox, the modules that are not built in, and a script that finds the real root.

Source: kernel Documentation/driver-api/early-userspace/buffer-format.rst (the newc form).
"""

import lzma
import shutil
from pathlib import Path

from tests.vm.kernel import Kernel

_MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "overlay", "fuse", "virtiofs")
_INIT = r"""#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /dev /lower /rw /new
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for m in $($b cat /modules); do $b insmod /mod/$m || echo "insmod $m failed"; done
$b mount -t virtiofs -o ro root /lower || $b poweroff -f
$b mount -t tmpfs -o mode=755,size=75% rw /rw && $b mkdir /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work root /new || $b poweroff -f
$b mkdir -p /new/usr/lib/modules/VERSION
$b mount --bind /lowerMODULES /new/usr/lib/modules/VERSION
$b mount -t tmpfs -o mode=755,nosuid,nodev run /new/run
$b mount -t tmpfs -o mode=1777 tmp /new/tmp
$b mkdir /new/run/vm; $b cp /guest.sh /settings /new/run/vm/
$b mount --move /dev /new/dev; $b mount --move /sys /new/sys; $b mount --move /proc /new/proc
exec $b switch_root /new /bin/sh /run/vm/guest.sh boot
"""


def build(kernel: Kernel, guest: str, settings: str) -> bytes:
    """Return the archive; `guest` is the script of the second step, `settings` what it reads."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise RuntimeError("no busybox: apt-get install busybox-static")
    archive = _Archive()
    for name in ("bin", "mod", "dev"):
        archive.add(name, mode=0o040755)
    archive.add("bin/busybox", Path(busybox).read_bytes())
    names = []
    for path in _in_order(kernel):
        data = path.read_bytes()
        names.append(path.name.removesuffix(".xz"))
        archive.add(f"mod/{names[-1]}", lzma.decompress(data) if path.suffix == ".xz" else data)
    archive.add("modules", "\n".join(names).encode(), 0o100644)
    archive.add("settings", settings.encode(), 0o100644)
    archive.add("guest.sh", guest.encode())
    init = _INIT.replace("VERSION", kernel.version).replace("MODULES", str(kernel.modules.resolve()))
    archive.add("init", init.encode())
    return archive.finish()


class _Archive:
    """A cpio archive."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, name: str, data: bytes = b"", mode: int = 0o100755) -> None:
        path = name.encode() + b"\0"
        fields = (len(self._parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        for piece in (b"070701" + b"".join(b"%08x" % field for field in fields) + path, data):
            self._parts.append(piece + bytes(-len(piece) % 4))

    def finish(self) -> bytes:
        self.add("TRAILER!!!", mode=0)
        return b"".join(self._parts)


def _in_order(kernel: Kernel) -> list[Path]:
    """Return the paths of the modules wanted, each after those it needs; what is built in has none."""
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        needs[path] = needed.split()
        by_name[Path(path).name.partition(".ko")[0].replace("-", "_")] = path
    order: list[str] = []

    def visit(path: str) -> None:
        if path not in order:
            for needed in reversed(needs[path]):
                visit(needed)
            order.append(path)

    for name in _MODULES:
        if name in by_name:
            visit(by_name[name])
    return [kernel.modules / path for path in order]
