"""Overlays: upper directories as the kernel makes them, and layers as it shows them."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.poll import SLOWNESS


def change(directory: Path, lowers: Sequence[Path | str], script: str) -> Path:
    """Run a shell script in an overlay of `lowers` (lowest first); return its upper directory, a new one in `directory`.

    The overlay is mounted in a namespace that ends with the script.
    """
    upper, work, merged = (directory / name for name in ("upper", "work", "merged"))
    for made in (upper, work, merged):
        made.mkdir(parents=True)
    options = f"lowerdir={':'.join(str(lower) for lower in reversed(lowers))},upperdir={upper},workdir={work}"
    command = f"set -eu; mount -t overlay pct -o {options} {merged}; cd {merged}; {script}"
    subprocess.run(["unshare", "--mount", "sh", "-c", command], check=True, timeout=60 * SLOWNESS)
    os.chmod(upper, 0o755)
    return upper


@contextlib.contextmanager
def mounted(layers: Sequence[Path | str], at: Path) -> Iterator[Path]:
    """Mount layers (lowest first) as a container sees them, without ids mapped and read-only."""
    at.mkdir()
    empty = at.parent / "empty"
    empty.mkdir(exist_ok=True)
    lowers = ":".join(str(layer) for layer in (empty, *reversed(layers)))
    subprocess.run(["mount", "-t", "overlay", "pycontainer-test", "-o", f"ro,lowerdir={lowers}", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)
        at.rmdir()
