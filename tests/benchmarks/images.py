"""Bringing in an image of a gigabyte against what other tools need for the same file, and creating from large and small ones.

    .venv/bin/python -m tests.benchmarks.images [--rounds N] [--megabytes N] [--directory DIR]

The image is made of this machine's own /usr: one layer, gzip'ed, in an OCI archive. Ours and theirs take turns:

    ours      the store's worker loads the archive (verify, keep the blobs, unpack, sync)
    theirs    skopeo copy oci-archive:FILE oci:DIR; umoci unpack; sync

Peak memory is the sum of the peaks (VmHWM) of the worker and its children, so an upper bound. Needs root, skopeo and umoci.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pycontainer.client.client import Client
from pycontainer.runtime.worker import command
from tests.support.ocilayout import ARCHITECTURE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE

_SAMPLE_SECONDS = 0.05
_CREATES = 30
_SMALL_MEGABYTES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--directory", default="/var/tmp", help="on the file system to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pct-bench-", dir=arguments.directory) as name:
        directory = Path(name)
        large, files = make_archive(directory, "large", arguments.megabytes)
        small, _ = make_archive(directory, "small", _SMALL_MEGABYTES)
        sizes = (_SMALL_MEGABYTES, arguments.megabytes)
        packed = large.stat().st_size / 1e6
        print(f"{arguments.megabytes} MB in {files} files, {packed:.0f} MB packed; {arguments.rounds} rounds, medians")
        ours, theirs, peaks = [], [], []
        for _ in range(arguments.rounds):
            theirs.append(timed(lambda: theirs_unpack(large, directory / "theirs")))
            shutil.rmtree(directory / "theirs")
            begun = time.monotonic()
            peaks.append(ours_load(large, directory / "ours"))
            os.sync()
            ours.append(time.monotonic() - begun)
            shutil.rmtree(directory / "ours")
        show("skopeo copy + umoci unpack", theirs)
        show("image load", ours)
        print(f"{'peak memory of image load':32} {max(peaks) / 1e6:8.0f} MB")
        for megabytes, seconds in zip(sizes, creates([small, large], directory / "world"), strict=True):
            show(f"create from an image of {megabytes} MB", seconds)


def show(what: str, seconds: list[float]) -> None:
    unit, factor = ("ms", 1000) if max(seconds) < 1 else ("s", 1)
    spread = f"{min(seconds) * factor:.2f} to {max(seconds) * factor:.2f}"
    print(f"{what:32} {statistics.median(seconds) * factor:8.2f} {unit} ({spread})")


def timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    os.sync()
    return time.monotonic() - begun


def theirs_unpack(archive: Path, directory: Path) -> None:
    directory.mkdir()
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{archive}", f"oci:{directory}/layout:it"], **quiet)  # type: ignore[call-overload]
    subprocess.run(["umoci", "unpack", "--image", f"{directory}/layout:it", directory / "bundle"], **quiet)  # type: ignore[call-overload]


def ours_load(archive: Path, root: Path) -> int:
    """Load an archive into a new store with the worker alone; return the sum of the peaks of its processes, in bytes."""
    worker = subprocess.Popen(command("import_worker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None and worker.stdout is not None
    request = {"root": str(root), "action": "load", "source": str(archive), "name": "", "platform": "", "in_use": []}
    worker.stdin.write(json.dumps(request).encode() + b"\n")
    worker.stdin.close()
    os.set_blocking(worker.stdout.fileno(), False)
    peaks: dict[int, int] = {}
    said = b""
    while worker.poll() is None:
        peaks |= {pid: peak for pid in (worker.pid, *children(worker.pid)) if (peak := peak_bytes(pid))}
        said += worker.stdout.read() or b""
        time.sleep(_SAMPLE_SECONDS)
    said += worker.stdout.read() or b""
    if worker.returncode:
        raise SystemExit(said.decode())
    return sum(peaks.values())


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def creates(archives: list[Path], root: Path) -> list[list[float]]:
    """Return how long the creations of containers took, asked for by a client, from each archive's image in turn."""
    seconds: list[list[float]] = [[] for _ in archives]
    with Client(root) as host:
        names = [host.load_images(archive)[0].name for archive in archives]
        os.sync()
        for number in range(_CREATES):
            for name, taken in zip(names, seconds, strict=True):
                begun = time.monotonic()
                container = host.create(name, ["/bin/true"])
                if number:  # the first finds what is made once
                    taken.append(time.monotonic() - begun)
                container.remove()
    subprocess.run([*_PROGRAM, "--root", str(root), "service", "stop"], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)
    return seconds


_PROGRAM = (os.path.join(os.path.dirname(sys.executable), "pycontainer"),)


def make_archive(directory: Path, name: str, megabytes: int) -> tuple[Path, int]:
    """Make an OCI archive of one layer with files of /usr; return its path and how many files there are."""
    layout = directory / f"{name}.layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    plain, left, files = directory / f"{name}.plain", megabytes * 1_000_000, 0
    with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as tar:
        for top, names, found in os.walk("/usr"):
            names.sort()
            for one in sorted(found):
                path = os.path.join(top, one)
                if left <= 0 or not os.path.isfile(path):
                    continue
                tar.add(path, path.lstrip("/"), recursive=False)
                left, files = left - os.lstat(path).st_size, files + 1
    if left > 0:
        raise SystemExit(f"/usr holds less than {megabytes} MB: choose fewer --megabytes")
    diff_id = digest_of(plain)
    subprocess.run(["gzip", "-n", "-6", plain], check=True)
    layer = blob(layout, plain.with_suffix(".plain.gz"), LAYER_TYPE)
    image = {"architecture": ARCHITECTURE, "os": "linux", "config": {"Cmd": ["/bin/true"]}}
    image["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]}
    config = json_blob(layout, image, "application/vnd.oci.image.config.v1+json")
    manifest = json_blob(layout, {"schemaVersion": 2, "config": config, "layers": [layer]}, MANIFEST_TYPE)
    entry = {**manifest, "annotations": {"org.opencontainers.image.ref.name": name}}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    archive = directory / f"{name}.tar"
    subprocess.run(["tar", "-cf", archive, "-C", layout, "oci-layout", "index.json", "blobs"], check=True)
    shutil.rmtree(layout)
    return archive, files


def json_blob(layout: Path, value: object, media_type: str) -> dict[str, object]:
    path = layout / "json"
    path.write_text(json.dumps(value))
    return blob(layout, path, media_type)


def blob(layout: Path, path: Path, media_type: str) -> dict[str, object]:
    """Move a file into the layout; return its descriptor."""
    digest, size = digest_of(path), path.stat().st_size
    path.rename(layout / "blobs/sha256" / digest)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
