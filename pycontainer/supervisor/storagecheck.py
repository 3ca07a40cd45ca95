"""What a power cut, a full disk or a kill left on disk: found, explained, and repaired if that is asked.

Each check yields findings; a finding names one thing, and holds what would put it right, where that is known to be right.
They look while containers run and imports are at work, so nothing counts that somebody may be making or removing just now:
what the supervisor itself is at, what a lock is held on, what is younger than a minute.
"""

import asyncio
import fcntl
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from pycontainer.disk.layers import is_layer_id
from pycontainer.disk.pool import Pool
from pycontainer.disk.volume import FIRST_PROJECT as FIRST_VOLUME_PROJECT
from pycontainer.disk.volume import PROJECTS as VOLUME_PROJECTS
from pycontainer.errors import InvalidState, NotFound, PycontainerError
from pycontainer.linux import loopdevices, quota
from pycontainer.linux.files import identity
from pycontainer.linux.mounts import MNT_DETACH, umount2
from pycontainer.spec.names import is_container_id
from pycontainer.store.blobs import digest_of_file
from pycontainer.store.images import ImageStore
from pycontainer.store.layers import Layer, read_layer
from pycontainer.store.refs import ImageRecord
from pycontainer.supervisor.finding import Finding
from pycontainer.supervisor.imagework import erase
from pycontainer.supervisor.removal import TRASH, removed_id
from pycontainer.supervisor.volumes import clear, count_all

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_TEMPORARY = re.compile(r"\.([0-9]{1,7})\.new", re.ASCII)  # of write_atomically
_IMAGE_TEMPORARY = "disk.img."  # of DiskImage
_FIRST_PROJECT, _PROJECTS = 0x50430000, 0x10000  # of containers, disk/project.py
_MOUNTINFO_TARGET = 4  # the field, proc_pid_mountinfo(5)


def findings(world: "World") -> list[Finding]:
    """Return what all quick checks find; looks at names and records, at no content."""
    found: list[Finding] = []
    for check in (_containers, _volumes, _records, _staging, _garbage, _frozen, runs, _addresses, _ranges, _projects,
                  _loops, mounts, _pools, _pooled, temporaries):  # fmt: skip
        found += [finding._replace(check=check) for finding in check(world)]
    return found


async def content_findings(world: "World", seconds: float = 600.0) -> list[Finding]:
    """Return layers of images that do not hold what they held when they were made, by number of names and size of files.

    No content is read. An import is on the disk before it has a name: it is the file system, or a person, that loses files.
    """
    store, names = world.images, dict[str, list[str]]()
    for record in store.refs.all():
        for key in record["layers"]:
            names.setdefault(key, []).append(record["name"])
    noted = [layer for key in sorted(names) if (layer := _whole_layer(store, key)) and layer.content is not None]
    counted = await count_all([layer.path for layer in noted], seconds)
    found = []
    for layer in noted:
        held, is_complete = counted[layer.path][3:], counted[layer.path].is_complete
        if is_complete and held != layer.content and _whole_layer(store, layer.key) == layer:
            (now, now_bytes), (made, made_bytes) = held, layer.content or held
            found.append(
                Finding(
                    "damaged layer",
                    layer.path,
                    f"it holds {now} names and {now_bytes} bytes, {made} and {made_bytes} when it was made",
                    f"remove what has it, then bring it in again: image {', '.join(sorted(names[layer.key]))}",
                    None,
                )
            )
    return found


def _whole_layer(store: ImageStore, key: str) -> Layer | None:
    """Return a layer that is there and whose note can be read, for what is wrong with others is another finding."""
    try:
        layer = read_layer(store.layers_dir, key)
    except InvalidState:
        return None
    return layer if layer.exists() else None


def deep_findings(world: "World") -> Iterator[Finding]:
    """Yield blobs that are not what their names say; reads all of them. Runs beside the event loop."""
    for digest in sorted(world.images.blobs.all()):
        path = world.images.blobs.path(digest)
        try:
            looked_at = identity(path)
            found = digest_of_file(path)
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError as error:
            yield Finding("damaged blob", path, f"it cannot be read: {error.strerror}", _AGAIN, None, path)
            continue
        if found != digest:
            yield Finding(
                "damaged blob",
                path,
                f"its content has the digest {found}",
                "removes it; bring the image in again",
                lambda digest=digest, looked_at=looked_at: _drop_blob(world, digest, looked_at),  # type: ignore[misc]
                path,
            )


def _drop_blob(world: "World", digest: str, looked_at: tuple[int, ...]) -> None:
    """Remove a blob, unless it was fetched anew since it was read."""
    with world.images.staging.locked():
        if identity(world.images.blobs.path(digest)) == looked_at:
            world.images.blobs.remove(digest)


_AGAIN = "remove the image and bring it in again"


# -- containers and volumes ----------------------------------------------------------------------------------------------


def _containers(world: "World") -> Iterator[Finding]:
    for name in _names(world.paths.containers_dir):
        path = f"{world.paths.containers_dir}/{name}"
        if name.startswith(TRASH):
            if not world.removal.is_erasing(removed_id(name)):
                yield Finding(
                    "half-removed container", path, "it was removed, its files not entirely", "removes them",
                    lambda name=name: world.removal.erase_remains(removed_id(name)), path,  # type: ignore[misc]
                )  # fmt: skip
        elif name in world.broken:
            yield Finding(
                "damaged record", f"{path}/spec.json", world.broken[name].error.message,
                f"'pycontainer rm --force {name}' removes the container", None, path,
            )  # fmt: skip
        elif (
            name in {*world.containers, *world.making, *world.names.values()}
            or not is_container_id(name)
            or world.ages.is_young(path)
        ):
            continue
        elif os.path.lexists(f"{path}/spec.json"):
            yield Finding(
                "unknown container", path, "the supervisor that runs has not read its record",
                "'pycontainer service stop' has the next one read it", None, path,
            )  # fmt: skip
        else:
            yield Finding(
                "half-made container", path, "a directory without a record: its creation was cut off", "removes it",
                lambda name=name: world.removal.discard_half_made(name), path,  # type: ignore[misc]
            )  # fmt: skip


def _unfinished(what: str, path: str, erase: Callable[[], object]) -> Finding:
    """Return the finding of a directory that was being made (`.new-*`), or deleted, when nobody could go on."""
    made = "half-made" if "/.new-" in path else "half-removed"
    return Finding(f"{made} {what}", path, "its making or removal was cut off", "removes it", erase, path)


def _volumes(world: "World") -> Iterator[Finding]:
    for path in world.volumes.left_over():
        yield _unfinished("volume", path, lambda path=path: world.volumes.erase(path))  # type: ignore[misc]
    for volume in world.volumes.all():
        marker = f"{volume.directory}/filling"
        if not os.path.isdir(volume.data):
            yield Finding(
                "volume without data",
                volume.directory,
                "its directory 'data' is gone",
                "make it, or remove the rest",
                None,
            )
        elif os.path.exists(marker) and not world.volumes.is_busy(volume.name):
            yield Finding(
                "half-filled volume", volume.directory, "its first content is not all there", "empties it",
                lambda name=volume.name: _empty(world, name), volume.data,  # type: ignore[misc]
            )  # fmt: skip


async def _empty(world: "World", name: str) -> None:
    async with world.volumes.locked(name):
        marker = f"{world.volumes.get(name).directory}/filling"
        if not os.path.exists(marker):
            return  # somebody else was here
        if world.volumes.at_work(world, name):
            raise InvalidState(f"volume '{name}' is in use by now")
        await asyncio.to_thread(clear, world.volumes.data(name))
        os.unlink(marker)


# -- images --------------------------------------------------------------------------------------------------------------


def _records(world: "World") -> Iterator[Finding]:
    """Images whose record, layers or blobs are damaged or gone."""
    store = world.images
    readable = {record["name"]: record for record in store.refs.all()}
    refs_dir = f"{store.directory}/refs"
    for file in _names(refs_dir):
        stem = file.removesuffix(".json")
        name = stem[1:].replace("-", ":") if stem.startswith("@") else stem.replace("%2F", "/")
        if file.endswith(".json") and name not in readable:
            path = f"{refs_dir}/{file}"
            yield Finding(
                "damaged record", path, f"what it says of image '{name}' cannot be read",
                "sets it aside as *.damaged; bring the image in again",
                lambda name=name, path=path: _set_aside(store, name, path),  # type: ignore[misc]
            )  # fmt: skip
    for record in readable.values():
        yield from _of_image(world, record)


def _set_aside(store: ImageStore, name: str, path: str) -> None:
    """Rename a damaged record, unless an import has written it anew."""
    with store.staging.locked():
        try:
            store.refs.read(name)
        except NotFound:
            return
        except PycontainerError:
            os.rename(path, f"{path}.damaged")


def _of_image(world: "World", record: ImageRecord) -> Iterator[Finding]:
    store, name = world.images, record["name"]
    is_used = record["id"] in world.images_in_use()
    if why := _damage(store, record):
        yield Finding(
            "damaged image", name, why,
            f"{_AGAIN}: containers are made of it" if is_used else "removes the image; bring it in again",
            None if is_used else lambda: _drop_image(world, name),
        )  # fmt: skip
        return
    for digest in filter(None, (record["manifest"], *record["blobs"])):
        if not store.blobs.has(digest):
            yield Finding(
                "incomplete image",
                name,
                f"blob {digest} is gone: it starts, but cannot be saved or pushed",
                _AGAIN,
                None,
            )


def _damage(store: ImageStore, record: ImageRecord) -> str:
    """Say what is wrong with the layers of an image; nothing when they are whole."""
    for key in record["layers"]:
        try:
            layer = read_layer(store.layers_dir, key)
        except InvalidState as error:
            return error.message
        if not layer.exists():
            return f"layer '{layer.path}' is gone"
    return ""


def _drop_image(world: "World", name: str) -> Awaitable[None] | None:
    """Remove the record of an image, unless an import has brought it in anew."""
    store = world.images
    with store.staging.locked():
        try:
            if not _damage(store, store.refs.read(name)):
                return None
        except NotFound:
            return None
        store.refs.remove(name)
    return erase(store.retire_left_over(world.images_in_use()))


def _staging(world: "World") -> Iterator[Finding]:
    """What imports left that did not live to their end: nobody holds their locks."""
    directory = world.images.staging.directory
    for name in _names(directory):
        path = f"{directory}/{name}"
        if _is_free(path):
            yield Finding(
                "dead import", path, "an import that was cut off, or what it removed", "removes it",
                lambda: erase(world.images.retire_left_over()), path,
            )  # fmt: skip


def _garbage(world: "World") -> Iterator[Finding]:
    """Layers and blobs that no image needs, and images without a name that no container needs."""
    store = world.images
    if not os.path.isdir(store.directory):
        return
    in_use = world.images_in_use()
    with store.staging.locked():
        records = [*store.refs.all()]
        if not store.are_all(records, in_use):
            return  # a record is damaged or lost: its layers may be a container's
        layers, blobs = store.needed(records)
        unneeded = [f"{store.layers_dir}/{key}" for key in _names(store.layers_dir) if key not in layers]
        unneeded += [store.blobs.path(digest) for digest in sorted(store.blobs.all() - blobs)]
    for path in unneeded:
        kind = "unneeded layer" if path.startswith(store.layers_dir) else "unneeded blob"
        yield Finding(
            kind, path, "no image needs it", "removes it",
            lambda: erase(store.retire_unneeded(world.images_in_use())[1]), path,
        )  # fmt: skip


def _frozen(world: "World") -> Iterator[Finding]:
    """Frozen layers that no container and no snapshot names, and what was not finished of making or deleting one."""
    for path in world.layers.frozen.left_over():
        if not world.ages.is_young(path):
            yield _unfinished(
                "snapshot layer",
                path,
                lambda path=path: world.layers.erase_now(path),  # type: ignore[misc]
            )
    claimed = world.layers.claimed()
    for name in _names(world.paths.layers_dir) if claimed is not None else ():
        path = f"{world.paths.layers_dir}/{name}"
        if is_layer_id(name) and name not in (claimed or ()) and not world.ages.is_young(path):
            yield Finding(
                "unneeded snapshot layer", path, "no container and no snapshot names it", "removes it",
                lambda: world.layers.sweep(),
            )  # fmt: skip


# -- what belongs to containers that are gone ----------------------------------------------------------------------------


def runs(world: "World") -> Iterator[Finding]:
    """Present runs that belong to no container."""
    for file in _names(world.paths.run_containers_dir):
        container_id = file.removesuffix(".json")
        path = f"{world.paths.run_containers_dir}/{file}"
        if file.endswith(".json") and container_id not in _known(world):
            yield Finding(
                "run of a container that is gone", path, "what it says of a present run is of no container", "removes it",
                lambda path=path: os.unlink(path),  # type: ignore[misc]
            )  # fmt: skip


def _addresses(world: "World") -> Iterator[Finding]:
    directory = f"{world.paths.networks_dir}/addresses"
    known = _known(world)
    reserved = world.networks.reserved()
    for container_id in sorted(reserved - known):
        yield Finding(
            "addresses of a container that is gone", f"{directory}/{container_id}.json",
            "they can be given to no other", "gives them back",
            lambda container_id=container_id: world.networks.release(container_id),  # type: ignore[misc]
        )  # fmt: skip
    for file in _names(directory):
        container_id = file.removesuffix(".json")
        path = f"{directory}/{file}"
        if file.endswith(".json") and container_id not in known | reserved:
            yield Finding(
                "addresses of a container that is gone", path, "the next supervisor would hold them", "removes the file",
                lambda path=path: os.unlink(path),  # type: ignore[misc]
            )  # fmt: skip


def _ranges(world: "World") -> Iterator[Finding]:
    """Claims of user ids whose owner is gone: those of this world, in the host's own world those of all."""
    for base, owner in world.idranges.orphans():
        if world.paths.root is None or owner.startswith(f"{world.paths.root}/"):
            yield Finding(
                "id range without an owner", f"{world.paths.idranges_dir}/{base}", f"'{owner}' is gone", "gives it back",
                lambda: world.idranges.sweep(),
            )  # fmt: skip


def _projects(world: "World") -> Iterator[Finding]:
    """Quota projects of ours with limits and nothing in them: a layer and a volume hold a directory at least."""
    directory = world.paths.state_dir
    if not quota.is_enforced(directory):
        return
    for first, count in ((_FIRST_PROJECT, _PROJECTS), (FIRST_VOLUME_PROJECT, VOLUME_PROJECTS)):
        for project in quota.limited(directory, first, first + count - 1):
            if not quota.read(directory, project).used_inodes:
                yield Finding(
                    "quota without an owner", f"project {project} of '{directory}'", "it limits nothing that is there",
                    "takes the limits away",
                    lambda project=project: quota.write(  # type: ignore[misc]
                        directory, project, soft_bytes=None, hard_bytes=None, soft_inodes=None, hard_inodes=None
                    ),
                )  # fmt: skip


def _loops(world: "World") -> Iterator[Finding]:
    for device, image in loopdevices.images():
        if image.startswith(f"{world.paths.state_dir}/") and (
            image.endswith(" (deleted)") or not _has_owner(world, image)
        ):
            yield Finding(
                "loop device without an owner", f"/dev/{device}", f"its file is '{image}'", "detaches it",
                lambda device=device: loopdevices.detach(f"/dev/{device}"),  # type: ignore[misc]
            )  # fmt: skip


def mounts(world: "World") -> Iterator[Finding]:
    """Mounts in directories of containers and volumes that are gone: nothing of ours is attached there for others to see.

    And roots that `mount` attached of such containers.
    """
    places_of_ours = (world.paths.containers_dir, world.paths.volumes_dir, world.paths.mounts_dir)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        places = [_unescaped(line.split(" ", 5)[_MOUNTINFO_TARGET]) for line in file]
    for place in reversed(places):  # what lies on another first
        is_inside = place.startswith(tuple(f"{directory}/" for directory in places_of_ours))
        if is_inside and not _has_owner(world, place):
            yield Finding(
                "mount without an owner", place, "it is in the way of a removal", "detaches it",
                lambda place=place: umount2(place, MNT_DETACH),  # type: ignore[misc]
            )  # fmt: skip


def _pools(world: "World") -> Iterator[Finding]:
    for name in _names(world.paths.tenants_dir):
        path = f"{world.paths.tenants_dir}/{name}"
        if name.endswith(".pool") and not world.ages.is_young(path):
            try:
                world.tenants.find(name.removesuffix(".pool"))
            except NotFound:
                yield Finding(
                    "pool of a tenant that is gone", path, "what its containers wrote", "removes it",
                    lambda name=name: world.tenants.pool(name.removesuffix(".pool")).erase(), path,  # type: ignore[misc]
                )  # fmt: skip
            except PycontainerError:
                continue  # its record is damaged: the pool may be wanted


def _pooled(world: "World") -> Iterator[Finding]:
    """What tenants' pools hold of containers that are gone."""
    directory = world.paths.tenants_dir
    for name in _names(directory):
        pool = Pool(f"{directory}/{name}")
        if not name.endswith(".pool") or not pool.exists():
            continue
        try:
            world.tenants.find(name.removesuffix(".pool"))
        except PycontainerError:
            continue  # all of it is a finding, or its record is
        try:
            held = pool.layers()
        except OSError as error:
            yield Finding(
                "damaged pool", f"{directory}/{name}", f"it cannot be looked into: {error.strerror}",
                f"check its file system: fsck -f {directory}/{name}/disk.img; its containers must be stopped", None,
            )  # fmt: skip
            continue
        for container_id in sorted(held - _known(world)):
            if is_container_id(container_id) and not world.removal.has_remains(container_id):
                yield Finding(
                    "files of a container that is gone", f"{directory}/{name}/disk.img: {container_id}",
                    "they take the tenant's space", "removes them",
                    lambda pool=pool, container_id=container_id: asyncio.to_thread(pool.erase_layer, container_id),  # type: ignore[misc]
                )  # fmt: skip


def temporaries(world: "World", *, young: bool = False) -> Iterator[Finding]:
    """Files that were to replace others, of processes that are gone; images that are `young` when nobody can be at them."""
    paths = world.paths
    directories = [paths.tenants_dir, paths.networks_dir, f"{paths.networks_dir}/addresses", paths.run_containers_dir]
    directories += [paths.seccomp_dir, paths.apparmor_dir, f"{paths.images_dir}/refs"]
    directories += [*(volume.directory for volume in world.volumes.all())]
    directories += [f"{c.directory}{part}" for c in world.present() for part in ("", "/etc", "/snapshots")]
    for directory in directories:
        for name in _names(directory):
            path = f"{directory}/{name}"
            match = _TEMPORARY.search(name)
            is_image = name.startswith(_IMAGE_TEMPORARY) and (young or not world.ages.is_young(path))
            if is_image or (match is not None and match.end() == len(name) and not _lives(match[1])):
                yield Finding(
                    "unfinished file", path, "its writing was cut off", "removes it",
                    lambda path=path: os.unlink(path), path,  # type: ignore[misc]
                )  # fmt: skip


# -- helpers -------------------------------------------------------------------------------------------------------------


def _known(world: "World") -> set[str]:
    """Return the ids of the containers that there are: whole, damaged, or being made just now."""
    return {*world.containers, *world.broken, *world.making}


def _has_owner(world: "World", path: str) -> bool:
    """Tell whether a path of ours belongs to a container, a volume or a tenant that is there, or to the images."""
    for directory, owners in (
        (world.paths.containers_dir, _known(world) | {f"{TRASH}{gone}" for gone in world.removal.erasing()}),
        (world.paths.mounts_dir, _known(world)),
        (
            world.paths.volumes_dir,
            {volume.name for volume in world.volumes.all()}
            | {os.path.basename(place) for place in world.volumes.going},
        ),
    ):
        if path.startswith(f"{directory}/"):
            return path.removeprefix(f"{directory}/").split("/")[0] in owners
    return True


def _lives(pid: str) -> bool:
    """Tell whether a process is there, and not only waits to be reaped: then it has no words. proc_pid_cmdline(5)"""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return bool(file.read(1))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_free(path: str) -> bool:
    """Tell whether nobody holds the lock of a staging directory or lock file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def _names(directory: str) -> Iterable[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _unescaped(text: str) -> str:
    """Return a path of mountinfo as it is: blanks and the like stand there as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
