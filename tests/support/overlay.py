"""Upper directories as the kernel's overlayfs makes them, in a mount namespace that ends with the command."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.poll import SLOWNESS


def change(directory: Path, lowers: Sequence[Path | str], script: str) -> Path:
    """Run a shell script in an overlay of `lowers` (lowest first); return its upper directory, a new one in `directory`."""
    upper, work, merged = (directory / name for name in ("upper", "work", "merged"))
    for made in (upper, work, merged):
        made.mkdir(parents=True)
    options = f"lowerdir={':'.join(str(lower) for lower in reversed(lowers))},upperdir={upper},workdir={work}"
    command = f"set -eu; mount -t overlay pct -o {options} {merged}; cd {merged}; {script}"
    subprocess.run(["unshare", "--mount", "sh", "-c", command], check=True, timeout=60 * SLOWNESS)
    os.chmod(upper, 0o755)
    return upper
