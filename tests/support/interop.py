"""What other tools make of an image: trees unpacked by umoci and podman, answers of skopeo."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.poll import SLOWNESS

# Podman's own places, hidden so that nothing of it is left: locks in /dev/shm, state in /run, caches
_HIDDEN = ("/dev/shm", "/run", "/var/lib/containers", "/var/cache")


def umoci_unpack(layout: Path, name: str, bundle: Path) -> Path:
    """Unpack an image of an OCI layout; return its root file system."""
    subprocess.run(
        ["umoci", "unpack", "--image", f"{layout}:{name}", bundle],
        check=True,
        timeout=120 * SLOWNESS,
        capture_output=True,
    )
    return bundle / "rootfs"


def podman(directory: Path, script: str) -> str:
    """Run a shell script in which $podman is podman with all its files in `directory`; return what it wrote."""
    own = f"podman --root {directory}/root --runroot /run/pct --tmpdir /run/tmp --storage-driver vfs"
    setup = "set -eu\n" + "".join(f"mkdir -p {path}; mount -t tmpfs pct {path}\n" for path in _HIDDEN)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{setup}podman="{own}"\n{script}'],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory)},
        timeout=180 * SLOWNESS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def podman_load(archive: Path, directory: Path) -> tuple[list[str], Path]:
    """Load an archive with podman, all of whose files are in `directory`; return the names and the first one's tree."""
    directory.mkdir()
    script = f"""$podman load -q -i {archive} | tee {directory}/loaded
    name=$(sed -n '1s/^Loaded image: //p' {directory}/loaded)
    $podman image mount "$name"; $podman image unmount "$name" >&2"""
    *loaded, place = podman(directory, script).splitlines()
    return [line.partition(": ")[2] for line in loaded], Path(place)


def skopeo_inspect(reference: str) -> dict[str, Any]:
    """Return what skopeo says of an image."""
    done = subprocess.run(["skopeo", "inspect", reference], check=True, stdout=subprocess.PIPE, timeout=60 * SLOWNESS)
    value: dict[str, Any] = json.loads(done.stdout)
    return value
