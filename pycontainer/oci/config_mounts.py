"""`mounts` of a bundle's config.json: the option words become flags, attributes and data.

Source: OCI runtime-spec config.md, Linux mount options; mount(8), mount_setattr(2).
"""

import os

from pycontainer.linux import mountflags as ms
from pycontainer.oci.config_idmaps import IdMap, read_id_maps
from pycontainer.oci.fields import Fields, shown, wrong

# word: (MS_* bits to set, MS_* bits to clear)
FLAGS = {
    "async": (0, ms.MS_SYNCHRONOUS),
    "atime": (0, ms.MS_NOATIME),
    "bind": (ms.MS_BIND, 0),
    "defaults": (0, 0),
    "dev": (0, ms.MS_NODEV),
    "diratime": (0, ms.MS_NODIRATIME),
    "dirsync": (ms.MS_DIRSYNC, 0),
    "exec": (0, ms.MS_NOEXEC),
    "iversion": (ms.MS_I_VERSION, 0),
    "lazytime": (ms.MS_LAZYTIME, 0),
    "loud": (0, ms.MS_SILENT),
    "mand": (ms.MS_MANDLOCK, 0),
    "noatime": (ms.MS_NOATIME, 0),
    "nodev": (ms.MS_NODEV, 0),
    "nodiratime": (ms.MS_NODIRATIME, 0),
    "noexec": (ms.MS_NOEXEC, 0),
    "noiversion": (0, ms.MS_I_VERSION),
    "nolazytime": (0, ms.MS_LAZYTIME),
    "nomand": (0, ms.MS_MANDLOCK),
    "norelatime": (0, ms.MS_RELATIME),
    "nostrictatime": (0, ms.MS_STRICTATIME),
    "nosuid": (ms.MS_NOSUID, 0),
    "nosymfollow": (ms.MS_NOSYMFOLLOW, 0),
    "rbind": (ms.MS_BIND | ms.MS_REC, 0),
    "relatime": (ms.MS_RELATIME, 0),
    "remount": (ms.MS_REMOUNT, 0),
    "ro": (ms.MS_RDONLY, 0),
    "rw": (0, ms.MS_RDONLY),
    "silent": (ms.MS_SILENT, 0),
    "strictatime": (ms.MS_STRICTATIME, 0),
    "suid": (0, ms.MS_NOSUID),
    "symfollow": (0, ms.MS_NOSYMFOLLOW),
    "sync": (ms.MS_SYNCHRONOUS, 0),
}
PROPAGATION = {
    "private": ms.MS_PRIVATE,
    "rprivate": ms.MS_PRIVATE | ms.MS_REC,
    "rshared": ms.MS_SHARED | ms.MS_REC,
    "rslave": ms.MS_SLAVE | ms.MS_REC,
    "runbindable": ms.MS_UNBINDABLE | ms.MS_REC,
    "shared": ms.MS_SHARED,
    "slave": ms.MS_SLAVE,
    "unbindable": ms.MS_UNBINDABLE,
}
# word: (MOUNT_ATTR_* bits to set, bits to clear first); relatime is the value 0 of the field of access times
RECURSIVE = {
    "ratime": (ms.MOUNT_ATTR_RELATIME, ms.MOUNT_ATTR__ATIME),
    "rdev": (0, ms.MOUNT_ATTR_NODEV),
    "rdiratime": (0, ms.MOUNT_ATTR_NODIRATIME),
    "rexec": (0, ms.MOUNT_ATTR_NOEXEC),
    "rnoatime": (ms.MOUNT_ATTR_NOATIME, ms.MOUNT_ATTR__ATIME),
    "rnodev": (ms.MOUNT_ATTR_NODEV, 0),
    "rnodiratime": (ms.MOUNT_ATTR_NODIRATIME, 0),
    "rnoexec": (ms.MOUNT_ATTR_NOEXEC, 0),
    "rnorelatime": (0, 0),  # as without the r: what the kernel does by default is relatime
    "rnostrictatime": (ms.MOUNT_ATTR_RELATIME, ms.MOUNT_ATTR__ATIME),
    "rnosuid": (ms.MOUNT_ATTR_NOSUID, 0),
    "rnosymfollow": (ms.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "rrelatime": (ms.MOUNT_ATTR_RELATIME, ms.MOUNT_ATTR__ATIME),
    "rro": (ms.MOUNT_ATTR_RDONLY, 0),
    "rrw": (0, ms.MOUNT_ATTR_RDONLY),
    "rstrictatime": (ms.MOUNT_ATTR_STRICTATIME, ms.MOUNT_ATTR__ATIME),
    "rsuid": (0, ms.MOUNT_ATTR_NOSUID),
    "rsymfollow": (0, ms.MOUNT_ATTR_NOSYMFOLLOW),
}
OTHERS = ("idmap", "ridmap", "tmpcopyup")


def known_options() -> list[str]:
    """Return every option word that is not passed to the filesystem, sorted: what `features` lists."""
    return sorted((*FLAGS, *PROPAGATION, *RECURSIVE, *OTHERS))


class Mount:
    """One mount.

    destination          absolute inside the container, without `.` and `..`; never `/`
    type                 the filesystem's name; "bind" for a bind mount, empty for a remount
    source               of a bind mount absolute on the host, else as written
    flags, cleared       MS_* bits to set (with MS_BIND, MS_REC) and those whose opposite was asked for; they share none
    propagation          MS_SHARED and its kin, with MS_REC for the r-forms, in the order given
    recursive_set, recursive_cleared    for mount_setattr(2) with AT_RECURSIVE: clear, then set, if either is not 0
    data                 what is the filesystem's own, comma separated; none of a bind mount, where such words are ignored
    idmap                "", "idmap" or "ridmap" (recursively); without mappings of its own, as the user namespace maps
    """

    __slots__ = (
        "cleared",
        "copies_up",
        "data",
        "destination",
        "flags",
        "gid_mappings",
        "idmap",
        "is_bind",
        "is_recursive",
        "propagation",
        "recursive_cleared",
        "recursive_set",
        "source",
        "type",
        "uid_mappings",
    )

    def __init__(self, destination: str, source: str, type: str) -> None:
        self.destination = destination
        self.source = source
        self.type = type
        self.flags = 0
        self.cleared = 0
        self.propagation: list[int] = []
        self.recursive_set = 0
        self.recursive_cleared = 0
        self.data = ""
        self.is_bind = False
        self.is_recursive = False
        self.copies_up = False
        self.idmap = ""
        self.uid_mappings: list[IdMap] = []
        self.gid_mappings: list[IdMap] = []


def read_mounts(fields: Fields, bundle: str, *, has_user_namespace: bool) -> list[Mount]:
    """Return `mounts` in their order; a bind mount's relative source is in `bundle`."""
    return [_read_mount(entry, bundle, has_user_namespace) for entry in fields.objects("mounts")]


def _read_mount(entry: Fields, bundle: str, has_user_namespace: bool) -> Mount:
    asked = entry.text("destination")
    destination = inside_path(asked)
    if destination == "/":
        wrong(entry.at("destination"), f"{shown(asked)} is the root, which `root` describes" if asked else "empty")
    mount = Mount(destination, entry.text_or("source"), entry.text_or("type"))
    remaining = _read_options(mount, entry.texts("options"))
    if mount.type == "bind":  # no filesystem has this name: some engines leave the option out
        mount.flags |= ms.MS_BIND
    mount.is_bind = bool(mount.flags & ms.MS_BIND)
    mount.is_recursive = bool(mount.flags & ms.MS_REC)
    if mount.is_bind:
        if not mount.source:
            wrong(entry.at("source"), "missing: a bind mount has one")
        mount.source = os.path.join(bundle, mount.source)
        mount.type = "bind"
        for index, word in remaining:
            if not _is_of_a_filesystem(word):
                wrong(f"{entry.at('options')}[{index}]", f"a bind mount has no option {shown(word)}")
        remaining = []  # the kernel would not look at them
    elif not mount.type and not mount.flags & ms.MS_REMOUNT:
        wrong(entry.at("type"), "missing: only bind mounts have none")
    if mount.copies_up and mount.type != "tmpfs":
        wrong(entry.at("options"), "tmpcopyup is for a tmpfs alone")
    mount.data = ",".join(word for _, word in remaining)
    _read_id_mapping(mount, entry, has_user_namespace)
    return mount


def _read_options(mount: Mount, words: list[str]) -> list[tuple[int, str]]:
    """Apply the words that we know, in their order, so that the last one wins; return the others with their index."""
    remaining = []
    for index, word in enumerate(words):
        if word in FLAGS:
            bits, cleared = FLAGS[word]
            mount.flags = mount.flags & ~cleared | bits
            mount.cleared = mount.cleared & ~bits | cleared
        elif word in PROPAGATION:
            mount.propagation.append(PROPAGATION[word])
        elif word in RECURSIVE:
            bits, cleared = RECURSIVE[word]
            mount.recursive_set = mount.recursive_set & ~cleared | bits
            mount.recursive_cleared = mount.recursive_cleared & ~bits | cleared
        elif word in ("idmap", "ridmap"):
            mount.idmap = word
        elif word == "tmpcopyup":
            mount.copies_up = True
        elif word:
            remaining.append((index, word))
    return remaining


def _is_of_a_filesystem(word: str) -> bool:
    """Tell whether a word says something to a filesystem, such as `mode=755`, which is there already under a bind mount.

    What is not may have been meant to confine: a flag misspelt, or with a value that only mount(8) knows (`ro=recursive`).
    """
    key, equals, _ = word.partition("=")
    return bool(equals) and not any(key in known for known in (FLAGS, PROPAGATION, RECURSIVE, OTHERS))


def _read_id_mapping(mount: Mount, entry: Fields, has_user_namespace: bool) -> None:
    mount.uid_mappings = read_id_maps(entry, "uidMappings")
    mount.gid_mappings = read_id_maps(entry, "gidMappings")
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        absent, there = ("gid", "uid") if mount.uid_mappings else ("uid", "gid")
        wrong(entry.at(f"{absent}Mappings"), f"missing: it belongs to {there}Mappings")
    if mount.uid_mappings and not mount.idmap:
        mount.idmap = "idmap"
    if not mount.idmap:
        return
    if not mount.is_bind:
        wrong(entry.at("options"), f"{mount.idmap} is for bind mounts alone")
    if not mount.uid_mappings and not has_user_namespace:
        wrong(entry.at("uidMappings"), f"missing: {mount.idmap} needs mappings, or a user namespace that has some")


def inside_path(path: str) -> str:
    """Return a path of the container as it is from its root: absolute, `.` and `..` resolved by the letter."""
    return os.path.normpath("/" + path.lstrip("/"))
