"""Bringing in an image that others made: an archive of one layer, gzip'ed, checked, unpacked and on the disk."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.benchmarks.archive import make_archive
from tests.benchmarks.bed import Bed
from tests.benchmarks.figures import SUBJECT_LIBRARY, Row, absent, row
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.peers.engine import ContainerdPeer, DockerPeer, PodmanPeer
from tests.benchmarks.peers.ours import Command, timed
from tests.benchmarks.rounds import interleave

NAME = "image-load"
TITLE = "Bringing in an image"
COMPARES = True
TEXT = (
    "One layer of this machine's /usr in an archive, until `sync` has returned. Ours keeps the blobs, as containerd "
    "does; skopeo and umoci are two programs for it, without an engine. Podman and Docker are given the same layer in "
    "Docker's own format, as Docker 20.10 reads no OCI archive."
)
_NAME = "large"


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    megabytes = 10 if bed.quick else 200
    archive, files = make_archive(bed.directory, _NAME, megabytes)
    dockers = bed.directory / "docker.tar"
    skopeo = ["skopeo", "copy", "-q", f"oci-archive:{archive}", f"docker-archive:{dockers}:bench:large"]
    subprocess.run(skopeo, check=True, stdout=subprocess.DEVNULL)
    works: dict[str, Callable[[], float]] = {}
    for peer in peers:
        if isinstance(peer, Command | ContainerdPeer):
            works[peer.name] = lambda peer=peer: _synced(lambda: peer.load(archive))  # type: ignore[misc]
        elif isinstance(peer, PodmanPeer | DockerPeer):
            works[peer.name] = lambda peer=peer: _synced(lambda: peer.load(dockers))  # type: ignore[misc]
    works["skopeo, umoci"] = lambda: _unpack(archive, bed.directory / "unpacked")
    for name, values in interleave(works, 1 if bed.quick else 3).items():
        yield row(NAME, name, f"{megabytes} MB, {files} files", "s", values)
    for peer in peers:
        if peer.name not in works:
            yield absent(
                NAME, peer.name, "by the command's worker" if peer.name == SUBJECT_LIBRARY else "has no images"
            )


def _synced(work: Callable[[], float]) -> float:
    """Return the seconds of a load, and of what it takes until that is on the disk."""
    return work() + timed(os.sync)


def _unpack(archive: Path, directory: Path) -> float:
    directory.mkdir()

    def work() -> None:
        layout = f"{directory}/layout:it"
        for argv in (
            ["skopeo", "copy", "-q", f"oci-archive:{archive}", f"oci:{layout}"],
            ["umoci", "unpack", "--image", layout, f"{directory}/bundle"],
        ):
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.sync()

    try:
        return timed(work)
    finally:
        shutil.rmtree(directory)
