"""The volumes of a world while it lives: who uses one, its first content, what it holds; nothing of that is recorded.

A start takes the lock of each volume that it mounts. So nobody sees one that is being filled, and what a crash left half
filled is emptied before it is used.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pycontainer.disk.storage import Caps, Usage
from pycontainer.disk.volume import VolumeData
from pycontainer.errors import InvalidState, NotFound, PycontainerError, StartFailed, from_wire
from pycontainer.failpoints import reach
from pycontainer.linux.files import remove_tree, syncfs
from pycontainer.linux.treecount import Counted
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.runtime.imagevolumes import content, open_image
from pycontainer.runtime.worker import command
from pycontainer.spec.model import Mount
from pycontainer.store.volumes import Volume, Volumes
from pycontainer.supervisor.caller import may_see

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

COUNT_SECONDS = 2.0  # that a list waits for what nobody counts; `system df` waits longer
_HIGHEST_ID = 65535


class VolumeKeeper:
    """The volumes of one world."""

    def __init__(self, paths: HostPaths) -> None:
        self._paths = paths
        self._store = Volumes(paths)
        self._locks: dict[str, asyncio.Lock] = {}
        self.going: set[str] = set()  # directories that are being made or erased
        self._readers: Counter[str] = Counter()  # backups at work, by volume
        self._starting: set[tuple[str, str]] = set()  # volumes, and whose start has them already
        self._restoring: set[str] = set()

    # -- what there is -----------------------------------------------------------------------------------------------

    def all(self) -> list[Volume]:
        return self._store.list()

    def get(self, name: str) -> Volume:
        return self._store.get(name)

    def has(self, name: str) -> bool:
        return self._store.has(name)

    def left_over(self) -> list[str]:
        """Return the directories of volumes that a crash left unfinished, or half removed."""
        return [directory for directory in self._store.left_over() if directory not in self.going]

    @contextlib.asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[None]:
        """Have the volume's content for ourselves, as far as other starts, fillings and removals go."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            yield

    def is_busy(self, name: str) -> bool:
        """Tell whether somebody fills or restores it just now."""
        lock = self._locks.get(name)
        return lock is not None and lock.locked()

    def create(
        self, name: str, caps: Caps, *, labels: Mapping[str, str] | None = None, is_anonymous: bool = False
    ) -> Volume:
        return self._store.create(
            name,
            lambda directory: VolumeData(directory).prepare(caps),
            labels=labels,
            is_anonymous=is_anonymous,
        )

    def ensure(self, name: str) -> None:
        """Make a volume that is named for the first time."""
        if not self._store.has(name):
            self.create(name, Caps())

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[VolumeData]:
        """Give the data of a volume for a while in which it is not removed. InvalidState while its content is on its way."""
        self._store.get(name)
        if os.path.exists(self._marker(name)):
            raise InvalidState(
                f"volume '{name}' is just being filled or restored, or that was cut off",
                hint="try again later; what was cut off is emptied by the next start, or restored anew",
            )
        self._readers[name] += 1
        try:
            yield self.data(name)
        finally:
            self._readers[name] -= 1

    @contextlib.asynccontextmanager
    async def restoring(
        self, world: "World", name: str, caps: Caps, labels: Mapping[str, str]
    ) -> AsyncIterator[VolumeData]:
        """Give the data of a new volume, or of one that is empty and that nobody uses; an exception leaves it as it was.

        A new one gets the labels.
        """
        if self._store.has(name):
            self.require_restored(name)
            async with self.locked(name), self._noted_restore(name):
                data = self.data(name)
                if users := self.at_work(world, name):
                    raise InvalidState(f"volume '{name}' is in use by {named(users)}", hint="stop them first")
                marker = self._marker(name)
                if os.path.exists(marker):
                    await asyncio.to_thread(clear, data)
                    os.unlink(marker)
                if not await asyncio.to_thread(data.is_empty):
                    raise InvalidState(f"volume '{name}' is not empty", hint="restore into a new one")
                if caps != Caps():
                    await asyncio.to_thread(data.cap, caps)
                with self._filling(marker):
                    try:
                        yield data
                        await asyncio.to_thread(_write_out, data)
                    except BaseException:
                        await asyncio.shield(asyncio.to_thread(clear, data))
                        os.unlink(marker)
                        raise
            return
        staging = self._store.begin(name)
        self.going.add(staging)
        try:
            VolumeData(staging).prepare(caps)
            yield VolumeData(staging)
            await asyncio.to_thread(_write_out, VolumeData(staging))
            reach("volume:restored")
            self._store.finish(staging, name, labels=labels)
        except BaseException:
            await self.erase(staging)
            raise
        finally:
            self.going.discard(staging)

    @contextlib.asynccontextmanager
    async def _noted_restore(self, name: str) -> AsyncIterator[None]:
        self._restoring.add(name)
        try:
            yield
        finally:
            self._restoring.discard(name)

    def require_restored(self, name: str) -> None:
        """Raise InvalidState for a volume that is being restored: that may take hours, in which nobody should wait for it."""
        if name in self._restoring:
            raise InvalidState(f"volume '{name}' is just being restored", hint="try again when it is there")

    def at_work(self, world: "World", name: str) -> list[Container]:
        """Return the containers that may be writing to a volume: those that run, and those whose start has it."""
        return [user for user in users_of(world, name) if user.id in world.runs or (name, user.id) in self._starting]

    def without_anonymous(self, mounts: Iterable[Mount]) -> tuple[Mount, ...]:
        """Return the mounts for another container, which is to get anonymous volumes of its own in the place of these."""
        return tuple(
            dataclasses.replace(mount, source="")
            if mount.type == "volume" and self._is_anonymous(mount.source)
            else mount
            for mount in mounts
        )

    def _is_anonymous(self, name: str) -> bool:
        try:
            return self._store.get(name).is_anonymous
        except NotFound:
            return False

    def missing(self, mounts: Iterable[Mount]) -> list[str]:
        """Return the volumes among mounts that there are not yet."""
        return [mount.source for mount in mounts if mount.type == "volume" and not self._store.has(mount.source)]

    def data(self, name: str) -> VolumeData:
        return VolumeData(self._store.directory(name))

    def sources(self, mounts: Iterable[Mount]) -> dict[str, tuple[str, Callable[[], int]]]:
        """Return for the name of each volume among `mounts` its place, and what opens a detached mount of it."""
        found: dict[str, tuple[str, Callable[[], int]]] = {}
        for mount in mounts:
            if mount.type == "volume":
                self.ensure(mount.source)
                found[mount.source] = (
                    f"{self._store.directory(mount.source)}/data",
                    self.data(mount.source).open_tree,
                )
        return found

    # -- removing ----------------------------------------------------------------------------------------------------

    def remove(self, world: "World", name: str) -> str:
        """Take a volume out of sight; return what `erase` is to be given. Raises NotFound, InvalidState naming its users."""
        self._store.get(name)
        if users := users_of(world, name):
            raise InvalidState(
                f"volume '{name}' is used by {named(users)}", hint="remove them first: pycontainer rm NAME"
            )
        if self._readers[name] or self.is_busy(name):
            raise InvalidState(f"volume '{name}' is being filled, backed up or restored", hint="try again later")
        self._locks.pop(name, None)
        place = self._store.retire(name)
        self.going.add(place)
        return place

    async def erase(self, *places: str) -> None:
        """Delete what was taken out of sight, beside other requests."""
        self.going.update(places)
        try:
            await asyncio.shield(asyncio.to_thread(_erase_all, places))
        finally:
            self.going.difference_update(places)

    def retire_anonymous(self, world: "World", mounts: Iterable[Mount]) -> list[str]:
        """Take the anonymous volumes among the mounts of a container that is gone out of sight, if no other has them."""
        places = []
        for mount in mounts:
            if mount.type == "volume":
                with contextlib.suppress(NotFound, InvalidState):
                    if self._is_anonymous(mount.source):
                        places.append(self.remove(world, mount.source))
        return places

    def retire_made(self, world: "World", names: Iterable[str]) -> list[str]:
        """Take out of sight what was made for a container that came to nothing: volumes without a user, and empty."""
        places = []
        for name in names:
            with contextlib.suppress(NotFound, InvalidState, OSError):
                if self.data(name).is_empty():
                    places.append(self.remove(world, name))
        return places

    # -- the first content -------------------------------------------------------------------------------------------

    async def fill(self, world: "World", container: Container, undo: contextlib.ExitStack) -> None:
        """Copy what the image has where an empty volume is mounted, as Docker does, before anybody sees the volume.

        `undo` lets go of the volumes when the start is over: until then one that is a disk image stays mounted, once, and no
        other start or restore takes it for one that nobody writes to.
        Raises StartFailed; the volume is empty then, as before.
        """
        for mount in container.spec.mounts:
            if mount.type != "volume":
                continue
            self.ensure(mount.source)
            self.require_restored(mount.source)
            async with self.locked(mount.source):
                others = [user for user in self.at_work(world, mount.source) if user.id != container.id]
                self._starting.add((mount.source, container.id))
                undo.callback(self._starting.discard, (mount.source, container.id))
                if others:
                    continue  # what is in it is theirs
                data, marker = self.data(mount.source), self._marker(mount.source)
                is_unfinished = os.path.exists(marker)
                if data.is_image and (is_unfinished or (mount.copy and container.image is not None)):
                    undo.callback(os.close, data.open_tree())
                if is_unfinished:
                    await asyncio.to_thread(clear, data)
                    os.unlink(marker)
                if mount.copy and container.image is not None and data.is_empty():
                    await self._fill_from_image(container, container.image.layers, mount, data, marker)

    async def _fill_from_image(
        self, container: Container, layers: list[str], mount: Mount, data: VolumeData, marker: str
    ) -> None:
        image_fd = open_image(layers)
        try:
            with content(image_fd, mount.target) as found:
                if found is None:
                    return
                if found.is_empty:  # a database's, waiting for its owner
                    _give_root(data, found.status)
                    return
                with self._filling(marker):
                    try:
                        await self._copy(image_fd, mount.target, data)
                        _give_root(data, found.status)
                        await asyncio.to_thread(_write_out, data)
                    except (PycontainerError, OSError) as error:
                        await asyncio.to_thread(clear, data)
                        os.unlink(marker)
                        why = error.message if isinstance(error, PycontainerError) else error.strerror or str(error)
                        raise StartFailed(
                            f"cannot start '{container.spec.name}': cannot copy '{mount.target}' of the image into volume "
                            f"'{mount.source}': {why}",
                            hint=getattr(error, "hint", "")
                            or f"with -v {mount.source}:{mount.target}:nocopy it stays empty",
                            step="volumes",
                        ) from error
        finally:
            os.close(image_fd)

    @contextlib.contextmanager
    def _filling(self, marker: str) -> Iterator[None]:
        """Mark that the content is on its way, for whoever comes after a crash.

        The mark outlives a failure: it goes when the content is whole, or with who has emptied the volume.
        """
        os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        reach("volume:filling")
        yield
        reach("volume:filled")
        os.unlink(marker)

    def _marker(self, name: str) -> str:
        return f"{self._store.directory(name)}/filling"

    async def _copy(self, image_fd: int, target: str, data: VolumeData) -> None:
        """Let two confined workers copy: one sees the image alone and reads, the other the volume alone and writes."""
        read_fd, write_fd = os.pipe()
        volume_fd = -1
        try:
            volume_fd = data.open_tree()
            reader = await self.worker("out", image_fd, f"{target}/.", stdout=write_fd)
            os.close(write_fd)
            write_fd = -1
            writer = await self.worker("in", volume_fd, "/", stdin=read_fd)
        finally:
            for fd in (read_fd, write_fd, volume_fd):
                if fd >= 0:
                    os.close(fd)
        read, written = await asyncio.gather(said(reader), said(writer), return_exceptions=True)
        for outcome in (written, read):  # a reader whose writer ended has nothing to say
            if isinstance(outcome, BaseException):
                raise outcome

    async def worker(
        self, direction: str, mount_fd: int, path: str, *, stdin: int | None = None, stdout: int | None = None
    ) -> asyncio.subprocess.Process:
        """Start a confined copy, whose root the detached mount `mount_fd` becomes (runtime/copy_worker.py)."""
        return await asyncio.create_subprocess_exec(
            *command(
                "copy_worker", direction, "--root-fd", str(mount_fd), "--filters", self._paths.seccomp_dir, "--", path
            ),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=asyncio.subprocess.DEVNULL if stdout is None else stdout,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=[mount_fd],
        )


# -- of one volume -------------------------------------------------------------------------------------------------------


def users_of(world: "World", name: str) -> list[Container]:
    """Return the containers that mount a volume, whether they run or not; one that is being made counts as well."""
    return [
        container
        for container in world.present()
        if any(mount.type == "volume" and mount.source == name for mount in container.spec.mounts)
    ]


def named(containers: list[Container]) -> str:
    """Return the names of containers, as far as who asks may see them."""
    seen = [f"'{container.spec.name}'" for container in containers if may_see(container.spec.tenant)]
    return ", ".join(seen if len(seen) == len(containers) else [*seen, "what is not this tenant's"])


async def said(worker: asyncio.subprocess.Process) -> list[str]:
    """Return what a copy left out, or raise the error it tells of; it is gone then, come what may."""
    try:
        _, errors = await worker.communicate()
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    for line in errors.splitlines():
        with contextlib.suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict) and isinstance(message.get("error"), dict):
                raise from_wire(message["error"])
            if isinstance(message, dict) and "left_out" in message and not worker.returncode:
                return [str(name) for name in message["left_out"]]
    raise PycontainerError(f"a copy ended without a word (status {worker.returncode})")


def clear(data: VolumeData) -> None:
    """Delete all that a volume holds."""
    mount_fd = data.open_tree()
    try:
        for name in os.listdir(f"/proc/self/fd/{mount_fd}/"):
            remove_tree(f"/proc/self/fd/{mount_fd}/{name}")
    finally:
        os.close(mount_fd)


def _write_out(data: VolumeData) -> None:
    """Wait until the disk has what a volume holds: after a loss of power, what says that it is whole would be wrong else."""
    mount_fd = data.open_tree()
    try:
        root_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
        try:
            syncfs(root_fd)
        finally:
            os.close(root_fd)
    finally:
        os.close(mount_fd)


def _give_root(data: VolumeData, like: os.stat_result) -> None:
    """Give the volume's root the owner and the mode of the image's directory."""
    if not (like.st_uid <= _HIGHEST_ID and like.st_gid <= _HIGHEST_ID):
        return
    mount_fd = data.open_tree()
    try:
        place = f"/proc/self/fd/{mount_fd}/."
        os.chown(place, like.st_uid, like.st_gid)
        os.chmod(place, like.st_mode & 0o7777)
    finally:
        os.close(mount_fd)


def _erase_all(places: tuple[str, ...]) -> None:
    first: OSError | None = None
    for place in places:
        try:
            VolumeData(place).erase()
        except OSError as error:
            first = first or error
    if first is not None:
        raise PycontainerError(
            f"cannot remove a volume entirely: {first}", hint="'pycontainer doctor --storage --fix' tries again"
        ) from first


# -- what they hold ------------------------------------------------------------------------------------------------------


async def count(directories: list[str], seconds: float) -> dict[str, tuple[int, int, bool]]:
    """Walk directories in a process of its own; return (bytes, inodes, whether all was seen) of each."""
    counted = await count_all(directories, seconds)
    return {path: (found.used_bytes, found.inodes, found.is_complete) for path, found in counted.items()}


async def count_all(directories: list[str], seconds: float) -> dict[str, Counted]:
    """Walk directories in a process of its own; return all that it counts."""
    if not directories:
        return {}
    worker = await asyncio.create_subprocess_exec(
        *command("usage_worker", str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await asyncio.wait_for(worker.communicate(json.dumps(directories).encode()), seconds + 30)
    except TimeoutError:
        output = b""
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    try:
        counted = json.loads(output)
    except ValueError:
        counted = {}
    return {path: Counted(*counted.get(path, (0, 0, False, 0, 0))) for path in directories}


def _usages(volumes: list[Volume]) -> dict[str, Usage | None]:
    usages: dict[str, Usage | None] = {}
    for volume in volumes:
        try:
            usages[volume.name] = VolumeData(volume.directory).usage()
        except OSError:  # it went just now
            usages[volume.name] = None
    return usages


async def describe(world: "World", volumes: list[Volume], seconds: float = COUNT_SECONDS) -> list[dict[str, object]]:
    """Return a VolumeInfo of each; what no quota counts is walked, for so long."""
    usages = await asyncio.to_thread(_usages, volumes)  # an image that nobody uses is mounted for that
    walked = await count([volume.data for volume in volumes if usages[volume.name] is None], seconds)
    infos: list[dict[str, object]] = []
    for volume in volumes:
        try:
            data = VolumeData(volume.directory)
            backend, caps = data.backend, data.caps()
        except OSError:
            continue
        usage = usages[volume.name]
        used_bytes, used_inodes, is_exact = (
            walked[volume.data] if usage is None else (usage.used_bytes, usage.used_inodes, True)
        )
        infos.append(
            {
                "name": volume.name,
                "created": volume.created,
                "labels": volume.labels,
                "anonymous": volume.is_anonymous,
                "mountpoint": volume.data,
                "backend": backend,
                "size_bytes": caps.hard_bytes,
                "inodes": caps.hard_inodes,
                "used_bytes": used_bytes,
                "used_inodes": used_inodes,
                "used_is_exact": is_exact,
                "containers": [user.spec.name for user in users_of(world, volume.name) if may_see(user.spec.tenant)],
            }
        )
    return infos
