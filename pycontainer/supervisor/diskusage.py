"""What everything of a world takes on disk, and what of it could be given back.

Images are counted by the notes of their layers, what a quota counts is asked of the kernel, all else is walked: in a process
of its own, each time, for a limited time. There is no cache that could be wrong; what was not counted to its end says so.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

from pycontainer.errors import InvalidState
from pycontainer.store.blobs import is_digest
from pycontainer.store.layers import read_layer
from pycontainer.supervisor import pulls
from pycontainer.supervisor.removal import TRASH
from pycontainer.supervisor.volumes import count, describe

if TYPE_CHECKING:
    from pycontainer.runtime.container import Container
    from pycontainer.supervisor.world import World

SECONDS = 30.0


class Size(NamedTuple):
    """Bytes on disk; not exact when there was no time to count all of it, and it is more."""

    size_bytes: int
    is_exact: bool = True

    def __add__(self, other: object) -> "Size":
        assert isinstance(other, Size)
        return Size(self.size_bytes + other.size_bytes, self.is_exact and other.is_exact)


async def disk_usage(world: "World", seconds: float = SECONDS) -> dict[str, object]:
    """Return {"summary": a row for each kind, "images": .., "containers": .., "volumes": ..}, as docs/api.md says."""
    images = _images(world)
    containers, logs = await _containers(world, seconds)
    volumes = await describe(world, world.volumes.all(), seconds)
    others = await _others(world, seconds)
    unused = [image for image in images if not image["containers"]]
    stopped = [container for container in containers if container["status"] not in ("running", "paused", "restarting")]
    loose = [volume for volume in volumes if not volume["containers"]]
    total, needed = _layers_bytes(world, only_used=False), _layers_bytes(world, only_used=True)
    return {
        "summary": [
            _row("images", len(images), len(images) - len(unused), Size(total), Size(total - needed)),
            _row("containers", len(containers), len(containers) - len(stopped), _sum(containers), _sum(stopped)),
            _row("volumes", len(volumes), len(volumes) - len(loose), _sum_used(volumes), _sum_used(loose)),
            _row("logs", len(containers), len(containers), logs, Size(0)),
            *others,
        ],
        "images": images,
        "containers": containers,
        "volumes": volumes,
    }


def _row(kind: str, number: int, active: int, size: Size, reclaimable: Size) -> dict[str, object]:
    return {
        "type": kind,
        "count": number,
        "active": active,
        "size_bytes": size.size_bytes,
        "reclaimable_bytes": reclaimable.size_bytes,
        "is_exact": size.is_exact and reclaimable.is_exact,
    }


def _images(world: "World") -> list[dict[str, object]]:
    """Return each image: what it shares with others, what is its own, and who is made of it."""
    store = world.images
    records = [*store.refs.all()]
    owners: dict[str, set[str]] = {}
    for record in records:
        for key in record["layers"]:
            owners.setdefault(key, set()).add(record["id"])
    infos: list[dict[str, object]] = []
    for record in records:
        sizes = {key: _layer_bytes(world, key) for key in record["layers"]}
        shared = sum(size for key, size in sizes.items() if len(owners[key]) > 1)
        infos.append(
            {
                "name": "" if is_digest(record["name"]) else record["name"],
                "id": record["id"],
                "created": record["created"],
                "size_bytes": sum(sizes.values()),
                "shared_bytes": shared,
                "unique_bytes": sum(sizes.values()) - shared,
                "containers": [c.spec.name for c in world.present() if c.image and c.image.id == record["id"]],
            }
        )
    return infos


def _layers_bytes(world: "World", *, only_used: bool) -> int:
    """Return what all layers and blobs take, or those that an image in use needs: each counts once."""
    store = world.images
    in_use = world.images_in_use()
    records = [record for record in store.refs.all() if not only_used or record["id"] in in_use]
    keys = {key for record in records for key in record["layers"]}
    digests = {
        digest for record in records for digest in (record["id"], record["manifest"], *record["blobs"]) if digest
    }
    for key in keys:
        try:
            digests |= {blob for blob in (read_layer(store.layers_dir, key).blob,) if blob}
        except InvalidState:
            continue
    return sum(_layer_bytes(world, key) for key in keys) + sum(store.blobs.size_bytes(digest) for digest in digests)


def _layer_bytes(world: "World", key: str) -> int:
    try:
        return read_layer(world.images.layers_dir, key).size_bytes
    except InvalidState:
        return 0


async def _containers(world: "World", seconds: float) -> tuple[list[dict[str, object]], Size]:
    """Return each container with what its layer holds, and what the logs of all take."""
    known: dict[str, int] = {}
    containers = list(world.containers.values())
    for container in containers:
        if container.spec.rootfs_writable:
            known[container.id] = 0  # it writes to a directory of the host
            continue
        try:
            usage = container.storage().usage()
        except OSError:  # it goes just now
            continue
        if usage is not None:
            known[container.id] = usage.used_bytes
    walked = await count([f"{c.directory}/rootfs" for c in containers if c.id not in known], seconds)
    infos: list[dict[str, object]] = []
    logs = Size(0)
    for container in containers:
        counted = walked.get(f"{container.directory}/rootfs", (0, 0, False))
        size = Size(known[container.id]) if container.id in known else Size(counted[0], counted[2])
        log_bytes = _log_bytes(container)
        logs += Size(log_bytes)
        infos.append(
            {
                "id": container.id,
                "name": container.spec.name,
                "status": world.status(container),
                "size_bytes": size.size_bytes,
                "is_exact": size.is_exact,
                "log_bytes": log_bytes,
            }
        )
    return infos, logs


def _log_bytes(container: "Container") -> int:
    total = 0
    try:
        with os.scandir(container.directory) as entries:
            for entry in entries:
                if entry.name == "log" or entry.name.startswith("log."):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512  # stat(2)
    except OSError:  # it goes just now
        pass
    return total


async def _others(world: "World", seconds: float) -> list[dict[str, object]]:
    """Return rows for pulls and imports, at work or cut off, removed things on their way out, and frozen layers."""
    trash = [f"{world.paths.containers_dir}/{name}" for name in _names(world.paths.containers_dir, TRASH)]
    trash += world.volumes.left_over()
    staging, frozen = world.images.staging.directory, f"{world.paths.state_dir}/layers"
    pulled, waiting = pulls.all_of(world.paths.pulls_dir), set(pulls.interrupted(world.paths.pulls_dir))
    counted = await count([*trash, *pulled, *(path for path in (staging, frozen) if os.path.isdir(path))], seconds)
    rows = []
    if pulled:
        idle = [path for path in pulled if path in waiting]
        sizes = [sum((Size(*counted[path][::2]) for path in paths), Size(0)) for paths in (pulled, idle)]
        rows.append(_row("pulls", len(pulled), len(pulled) - len(idle), *sizes))
    for kind, paths, is_reclaimable in (
        ("staging", [staging], False),
        ("snapshots", [frozen], False),
        ("leftovers", trash, True),
    ):
        present = [counted[path] for path in paths if path in counted]
        size = Size(sum(item[0] for item in present), all(item[2] for item in present))
        entries = len(present) if is_reclaimable else len([*_names(paths[0])])
        if entries:
            rows.append(
                _row(kind, entries, 0 if is_reclaimable else entries, size, size if is_reclaimable else Size(0))
            )
    return rows


def _names(directory: str, prefix: str = "") -> list[str]:
    try:
        return [name for name in os.listdir(directory) if name.startswith(prefix)]
    except FileNotFoundError:
        return []


def _sum(infos: list[dict[str, object]]) -> Size:
    total = Size(0)
    for info in infos:
        size_bytes = info["size_bytes"]
        total += Size(size_bytes if isinstance(size_bytes, int) else 0, bool(info["is_exact"]))
    return total


def _sum_used(infos: list[dict[str, object]]) -> Size:
    total = Size(0)
    for info in infos:
        used_bytes = info["used_bytes"]
        total += Size(used_bytes if isinstance(used_bytes, int) else 0, bool(info["used_is_exact"]))
    return total
