"""The root file system of a container from outside: freezing what it has written, going back, looking at it.

    container's stack        snapshot "s1"        what becomes of it
    upper      rw            -                    SHARE, COPY: the snapshot gets a layer of its own, the stack stays
    frozen b                 frozen b             MOVE: upper becomes a frozen layer of both, and an empty one comes
    frozen a                 frozen a
    image layers             (the container's)

Steps are in an order in which a crash between any two leaves container and snapshots whole: `settle` finishes what was begun.
"""

import contextlib
import os
import stat
from collections.abc import Callable

from pycontainer.disk.layers import FrozenLayers, new_layer_id
from pycontainer.disk.storage import Freezing
from pycontainer.errors import InvalidState
from pycontainer.failpoints import reach
from pycontainer.linux.files import remove_tree, syncfs
from pycontainer.linux.mounts import clone_tree, in_private_mounts, move_mount, new_overlay
from pycontainer.runtime import treework
from pycontainer.runtime.container import Container
from pycontainer.store.fsimages import attach_layers, open_layers

MAX_MOVED = 64  # frozen layers of a stack, beyond which a snapshot is a copy and does not lengthen it
MAX_LAYERS = 128  # frozen layers of a snapshot or clone; overlayfs itself takes 500
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def freeze_by(container: Container, *, is_running: bool) -> Freezing:
    """Say how the present state of a container would be frozen."""
    way = container.storage().freezing
    if way is Freezing.MOVE and (is_running or container.driver == "copy" or len(container.lowers) >= MAX_MOVED):
        return Freezing.COPY
    return way


def is_unchanged(container: Container, frozen: FrozenLayers) -> bool:
    """Say whether nothing was written since the topmost frozen layer; the root directory itself counts as well."""
    if container.driver == "copy":
        return False
    upper_fd = open_upper(container)
    try:
        if os.listdir(upper_fd):
            return False
        details = os.fstat(upper_fd)
        mine = (stat.S_IMODE(details.st_mode), details.st_uid, details.st_gid, _attributes(upper_fd))
        if not container.lowers:
            return mine == (0o755, 0, 0, {})
        like_fd = os.open(frozen.path(container.lowers[-1]), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            details = os.fstat(like_fd)
            return mine == (stat.S_IMODE(details.st_mode), details.st_uid, details.st_gid, _attributes(like_fd))
        finally:
            os.close(like_fd)
    finally:
        os.close(upper_fd)


def move_to_frozen(container: Container, frozen: FrozenLayers) -> None:
    """Make what a stopped container has written its topmost frozen layer."""
    layer = new_layer_id()
    container.lowers.append(layer)
    try:
        container.save()  # the intent: `settle` goes on from here
        reach("snapshot:intent")
        container.storage().freeze(frozen.place(layer))
    except BaseException:
        if not frozen.exists(layer):
            container.lowers.remove(layer)  # whatever the disk says: what nobody's record names is deleted one day
            with contextlib.suppress(OSError):  # a record that names an absent layer is one that `settle` makes true
                container.save()
        raise


def freeze_apart(
    container: Container, frozen: FrozenLayers, layer: str, on_copied: Callable[[], object] = lambda: None
) -> None:
    """Make a frozen layer of what is written, which the container itself does not get; may take long. COPY and SHARE.

    From `on_copied` on the container may go on writing: only the disk is waited for.
    """
    place = frozen.begin(layer)
    reach("snapshot:begun")
    try:
        storage = container.storage()
        if storage.freezing is Freezing.SHARE:
            storage.freeze(place)
        else:
            os.mkdir(f"{place}/fs", 0o755)
            source_fd, target_fd = open_upper(container), os.open(f"{place}/fs", _DIR_FLAGS)
            try:
                treework.copy(source_fd, target_fd)
            finally:
                os.close(source_fd)
                os.close(target_fd)
        reach("snapshot:copied")
        on_copied()
        frozen.finish(layer)
    except BaseException:
        frozen.abandon(layer)
        raise


def check_depth(layers: int) -> None:
    """Refuse a stack that would be too deep."""
    if layers > MAX_LAYERS:
        raise InvalidState(
            f"{layers} frozen layers on one another are more than {MAX_LAYERS}",
            hint="make an image of it, and go on from that: pycontainer commit",
        )


def go_back(container: Container, frozen: FrozenLayers, layers: tuple[str, ...]) -> str:
    """Make `layers` the stack of a stopped container, with nothing written above; may take long.

    Returns a directory with what was written until now, to be deleted.
    """
    if container.driver == "copy" and layers:
        fill(container, (frozen.path(layers[-1]),), "upper.new")
        reach("restore:filled")
    before = container.lowers, container.clearing
    container.lowers, container.clearing = [] if container.driver == "copy" else list(layers), True
    try:
        container.save()
    except BaseException:  # else the next start would empty what the record says is to stay
        container.lowers, container.clearing = before
        raise
    reach("restore:intent")
    return _clear(container, frozen)


def settle(container: Container, frozen: FrozenLayers) -> str:
    """Finish what a crash cut off; return a directory to be deleted, or nothing."""
    if container.clearing:
        if container.driver == "copy" and _is_exchanged(container):
            container.clearing = False
            container.save()
            return ""
        return _clear(container, frozen)
    if container.lowers and container.driver == "overlay":
        storage, topmost = container.storage(), container.lowers[-1]
        if storage.freezing is Freezing.MOVE and not (
            frozen.exists(topmost) and os.path.isdir(f"{container.directory}/rootfs/upper")
        ):
            container.save()  # what is moved below a name that no record has would be deleted
            storage.freeze(frozen.place(topmost))
    return ""


def _is_exchanged(container: Container) -> bool:
    """Say whether the tree that a restore of a copy has filled is in its place: emptied once more, it would be lost."""
    tree_fd = container.storage().open_tree()
    try:
        rootfs = f"/proc/self/fd/{tree_fd}"
        if os.path.isdir(f"{rootfs}/upper.new") or not os.path.isdir(f"{rootfs}/upper"):
            return False
        remove_tree(f"{rootfs}/upper.old")
        return True
    finally:
        os.close(tree_fd)


def _clear(container: Container, frozen: FrozenLayers) -> str:
    trash = frozen.trash()
    container.storage().clear(trash, frozen.path(container.lowers[-1]) if container.lowers else "")
    reach("restore:cleared")
    container.clearing = False
    try:
        container.save()
    except (
        BaseException
    ):  # or what is written from now on would be emptied by the next supervisor, which reads the record
        container.clearing = True
        raise
    return trash


def fill(container: Container, layers: tuple[str, ...], name: str = "upper") -> None:
    """Copy a tree, that of `layers` (lowest first) on one another, into the writable layer; driver copy."""
    source_fd = open_layers(layers)
    try:
        tree_fd = container.storage().open_tree()
        try:
            if name != "upper":
                remove_tree(f"/proc/self/fd/{tree_fd}/{name}")  # of a restore that was cut off
                os.mkdir(name, 0o755, dir_fd=tree_fd)
            from_fd = os.open(".", _DIR_FLAGS, dir_fd=source_fd)
            to_fd = os.open(name, _DIR_FLAGS, dir_fd=tree_fd)
            try:
                treework.copy(from_fd, to_fd)
                syncfs(to_fd)  # before a record says that it is there
            except BaseException:
                if name != "upper":  # else it would keep the space that the container, which stays as it was, may need
                    remove_tree(f"/proc/self/fd/{tree_fd}/{name}")
                raise
            finally:
                os.close(to_fd)
                os.close(from_fd)
        finally:
            os.close(tree_fd)
    finally:
        os.close(source_fd)


def open_upper(container: Container) -> int:
    """Return a descriptor of the directory of what is written, for reading."""
    tree_fd = container.storage().open_tree()
    try:
        return os.open("upper", _DIR_FLAGS, dir_fd=tree_fd)
    finally:
        os.close(tree_fd)


def written(container: Container, frozen: FrozenLayers) -> list[tuple[str, str]]:
    """Return (A, C or D, path) of what a container has changed of what it was made of; one that runs may go on."""
    with contextlib.ExitStack() as undo:
        layers = [open_upper(container)]
        undo.callback(os.close, layers[0])
        for layer in reversed(container.lowers):
            layers.append(os.open(frozen.path(layer), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            undo.callback(os.close, layers[-1])
        base_fd = open_layers(container.base_layers())
        undo.callback(os.close, base_fd)
        return (
            treework.compared(layers[0], base_fd) if container.driver == "copy" else treework.changed(layers, base_fd)
        )


def write_written(container: Container, tree: str, target: str) -> bool:
    """Write what the directory `tree`, a copy's, has changed of its image into `target`; tell whether there is anything."""
    with contextlib.ExitStack() as undo:
        fds = [os.open(path, _DIR_FLAGS) for path in (tree, target)]
        for fd in fds:
            undo.callback(os.close, fd)
        base_fd = open_layers(container.base_layers())
        undo.callback(os.close, base_fd)
        return treework.write_upper(fds[0], base_fd, fds[1])


def mount_stopped(container: Container, attributes: int) -> int:
    """Return a detached mount of a stopped container's root, ids as they are on disk."""
    spec = container.spec
    if spec.rootfs_writable:
        return clone_tree(spec.rootfs, recursive=True)
    return in_private_mounts(lambda: _mount_layers(container, attributes))


def _mount_layers(container: Container, attributes: int) -> int:
    """Return a detached mount of a stopped container's root.

    Before Linux 6.18 an overlay takes no layer from a mount that is not attached to the caller's namespace. So the layer is
    attached, where nobody else sees it; the overlay keeps a hold of it.
    """
    rootfs = f"{container.directory}/rootfs"
    tree_fd = container.storage().open_tree()
    place_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        move_mount(tree_fd, place_fd)
    finally:
        os.close(tree_fd)
        os.close(place_fd)
    if container.driver == "copy":
        return clone_tree(f"{rootfs}/upper")
    return new_overlay(
        attach_layers(container.layers())[::-1],
        upper=f"{rootfs}/upper",
        work=f"{rootfs}/work",
        attributes=attributes,
        place=f"{rootfs}/upper",
    )


def _attributes(fd: int) -> dict[str, bytes]:
    return {name: os.getxattr(fd, name) for name in os.listxattr(fd) if not name.startswith("trusted.overlay.")}
