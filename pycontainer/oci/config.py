"""The bundle's config.json, read whole and checked before anything is made.

    BUNDLE/config.json      OCI runtime-spec 1.2 for Linux
    BUNDLE/rootfs           or wherever `root.path` says

The first mistake is an InvalidInput of one line that begins with the JSON path: `config.json: linux.namespaces[2].type: ...`.
What the specification lets a runtime ignore is ignored. Sections: config_process, config_mounts, config_namespaces,
config_idmaps, config_linux, config_resources. Source: OCI runtime-spec config.md, config-linux.md.
"""

import os
import stat

from pycontainer.errors import InvalidInput
from pycontainer.oci.config_idmaps import IdMap, is_mapped, read_id_maps
from pycontainer.oci.config_linux import (
    Device,
    read_cgroups_path,
    read_devices,
    read_inside_paths,
    read_intel_rdt,
    read_personality,
    read_rootfs_propagation,
    read_seccomp,
)
from pycontainer.oci.config_mounts import Mount, read_mounts
from pycontainer.oci.config_namespaces import (
    is_of_runtime,
    read_namespaces,
    read_net_devices,
    read_sysctls,
    read_time_offsets,
)
from pycontainer.oci.config_process import ID_MOST, Capabilities, Process, parse_process
from pycontainer.oci.config_resources import parse_resources
from pycontainer.oci.fields import INT32_MAX, Fields, environment, shown, wrong

__all__ = [
    "FILE",
    "HOOKS",
    "ID_MOST",
    "Capabilities",
    "Config",
    "Device",
    "Hook",
    "IdMap",
    "Mount",
    "Process",
    "load",
    "parse",
    "parse_kept",
    "parse_process",
    "parse_resources",
    "read",
]

FILE = "config.json"
MAX_BYTES = 16 << 20  # Podman writes 30 KiB, 25 of them the seccomp policy; a Kubernetes object ends at 1.5 MiB
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_HOST_NAME_MOST = 64  # __NEW_UTS_LEN


class Hook:
    """A program of the engine; `args` holds at least its own name, `env` nothing when none is given."""

    __slots__ = ("args", "env", "path", "timeout_seconds")

    def __init__(self, path: str, args: list[str], env: list[str], timeout_seconds: int | None) -> None:
        self.path = path
        self.args = args
        self.env = env
        self.timeout_seconds = timeout_seconds


class Config:
    """What config.json says, in the kernel's terms.

    root_path            absolute, no symbolic link in it; a directory when it was looked at
    process              None: `create` takes it, `start` has nothing to do
    hooks                each of HOOKS, perhaps empty
    namespaces           pid net ipc uts mnt user cgroup time → path of the one to join, empty for a new one
    time_offsets         monotonic, boottime → (seconds, nanoseconds)
    net_devices          name on the host → name inside, which may end in %d
    resources            as in the JSON, checked, unknown keys left out
    rootfs_propagation   as written, empty when missing
    shares_mounts        no mount namespace but the runtime's own
    seccomp              raw; security/seccomp_json.py checks it
    sysctl               path beneath /proc/sys → value
    personality          PER_LINUX or PER_LINUX32
    """

    __slots__ = (
        "annotations",
        "cgroups_path",
        "devices",
        "domainname",
        "gid_mappings",
        "hooks",
        "hostname",
        "intel_rdt",
        "masked_paths",
        "mount_label",
        "mounts",
        "namespaces",
        "net_devices",
        "oci_version",
        "personality",
        "process",
        "readonly_paths",
        "resources",
        "root_path",
        "root_readonly",
        "rootfs_propagation",
        "seccomp",
        "shares_mounts",
        "sysctl",
        "time_offsets",
        "uid_mappings",
    )

    def __init__(self) -> None:
        self.oci_version = ""
        self.root_path = ""
        self.root_readonly = False
        self.hostname = ""
        self.domainname = ""
        self.annotations: dict[str, str] = {}
        self.process: Process | None = None
        self.mounts: list[Mount] = []
        self.hooks: dict[str, list[Hook]] = {}
        self.namespaces: dict[str, str] = {}
        self.uid_mappings: list[IdMap] = []
        self.gid_mappings: list[IdMap] = []
        self.time_offsets: dict[str, tuple[int, int]] = {}
        self.devices: list[Device] = []
        self.net_devices: dict[str, str] = {}
        self.cgroups_path = ""
        self.resources: dict[str, object] = {}
        self.rootfs_propagation = ""
        self.shares_mounts = False
        self.seccomp: dict[str, object] | None = None
        self.sysctl: dict[str, str] = {}
        self.masked_paths: list[str] = []
        self.readonly_paths: list[str] = []
        self.mount_label = ""
        self.personality: int | None = None
        self.intel_rdt: dict[str, object] | None = None


def load(bundle: str) -> Config:
    """Read and check the config.json of a bundle."""
    from pycontainer.oci.text import loads

    return parse(loads(read(bundle), FILE), bundle)


def parse(data: object, bundle: str) -> Config:
    """Return what the JSON value `data` says; paths in it that are relative are in `bundle`."""
    fields = Fields(data, FILE)
    bundle = os.path.abspath(bundle)
    config = Config()
    config.oci_version = _version(fields)
    config.root_path, config.root_readonly = _root(fields, bundle)
    config.annotations = fields.text_map("annotations")
    config.hooks = _hooks(fields)
    linux = fields.inner("linux") or Fields({}, fields.at("linux"))
    config.namespaces = read_namespaces(linux)
    config.hostname = _host_name(fields, "hostname", linux, config.namespaces)
    config.domainname = _host_name(fields, "domainname", linux, config.namespaces)
    config.uid_mappings, config.gid_mappings = _id_mappings(linux, config.namespaces)
    config.mounts = read_mounts(fields, bundle, has_user_namespace="user" in config.namespaces)
    config.time_offsets = read_time_offsets(linux, config.namespaces)
    config.net_devices = read_net_devices(linux, config.namespaces)
    config.sysctl = read_sysctls(linux, config.namespaces)
    config.devices = read_devices(linux)
    config.cgroups_path = read_cgroups_path(linux)
    if linux.has("resources"):
        config.resources = parse_resources(linux.data["resources"], linux.at("resources"))
    config.rootfs_propagation = read_rootfs_propagation(linux)
    config.seccomp = read_seccomp(linux)
    config.masked_paths = read_inside_paths(linux, "maskedPaths")
    config.readonly_paths = read_inside_paths(linux, "readonlyPaths")
    config.mount_label = linux.text_or("mountLabel")
    config.personality = read_personality(linux)
    config.intel_rdt = read_intel_rdt(linux)
    config.shares_mounts = is_of_runtime("mnt", config.namespaces, linux)
    if config.shares_mounts:
        _check_shared_mounts(config, linux)
    if fields.has("process"):
        config.process = parse_process(fields.data["process"], fields.at("process"))
        _check_mapped(config, config.process, fields.at("process.user"))
    return config


def parse_kept(data: object) -> Config:
    """Return what a container that was made goes on to need: its process and what confines it, its hooks.

    `parse` had no complaint; the root or the namespaces that it looked at may have gone since.
    """
    fields = Fields(data, FILE)
    config = Config()
    config.hooks = _hooks(fields)
    linux = fields.inner("linux") or Fields({}, fields.at("linux"))
    config.uid_mappings, config.gid_mappings = (read_id_maps(linux, key) for key in ("uidMappings", "gidMappings"))
    config.seccomp = read_seccomp(linux)
    config.personality = read_personality(linux)
    if fields.has("process"):
        config.process = parse_process(fields.data["process"], fields.at("process"))
    return config


def read(bundle: str) -> bytes:
    """Return the bytes of the config.json of a bundle; it must be a regular file, for a FIFO would hold us up."""
    path = os.path.join(bundle, FILE)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise InvalidInput(
            f"{FILE}: not found in bundle {shown(bundle)}", hint="name the bundle's directory with --bundle"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{FILE}: cannot read {shown(path)}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{FILE}: {shown(path)} is not a regular file")
        chunks, length = [], 0
        while chunk := os.read(fd, 1 << 18):
            chunks.append(chunk)
            length += len(chunk)
            if length > MAX_BYTES:
                raise InvalidInput(f"{FILE}: more than {MAX_BYTES} bytes")
        return b"".join(chunks)
    finally:
        os.close(fd)


def _version(fields: Fields) -> str:
    """Return `ociVersion`: SemVer 2.0.0 of major version 1, whose later versions add what a runtime may ignore."""
    version = fields.text("ociVersion")
    where = fields.at("ociVersion")
    release, plus, build = version.partition("+")
    release, dash, early = release.partition("-")
    numbers = release.split(".")
    if (
        len(numbers) != 3
        or not all(_is_number(number) for number in numbers)
        or (dash and not _are_words(early))
        or (plus and not _are_words(build))
    ):
        wrong(where, f"{shown(version)} is not a version such as 1.2.0")
    if numbers[0] != "1":
        wrong(where, f"{shown(version)} is not supported: this runtime implements 1.x")
    return version


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and (text == "0" or text[0] != "0")


def _are_words(text: str) -> bool:
    return all(word.isascii() and word.replace("-", "0").isalnum() for word in text.split("."))


def _root(fields: Fields, bundle: str) -> tuple[str, bool]:
    """Return the root's real path and whether it is read-only.

    A relative path is in the bundle and stays there: `..` in one would make the bundle's place part of its meaning.
    """
    root = Fields(fields.required("root"), fields.at("root"))
    path, where = root.text("path"), root.at("path")
    if not path:
        wrong(where, "empty")
    if not path.startswith("/") and ".." in path.split("/"):
        wrong(where, f"{shown(path)} leaves the bundle", hint="write it as an absolute path")
    try:
        found = os.path.realpath(os.path.join(bundle, path), strict=True)
        is_directory = stat.S_ISDIR(os.stat(found).st_mode)
    except OSError as error:
        wrong(where, f"{shown(path)}: {error.strerror}")
    if not is_directory:
        wrong(where, f"{shown(path)} is not a directory")
    return found, root.boolean("readonly")


def _hooks(fields: Fields) -> dict[str, list[Hook]]:
    hooks = fields.inner("hooks")
    if hooks is None:
        return {kind: [] for kind in HOOKS}
    return {kind: [_hook(entry) for entry in hooks.objects(kind)] for kind in HOOKS}


def _hook(entry: Fields) -> Hook:
    path = entry.absolute_path("path")
    timeout = entry.integer_or_none("timeout", 1, INT32_MAX)
    return Hook(path, entry.texts("args") or [path], environment(entry, "env"), timeout)


def _host_name(fields: Fields, key: str, linux: Fields, namespaces: dict[str, str]) -> str:
    name = fields.text_or(key)
    if len(name.encode()) > _HOST_NAME_MOST:
        wrong(fields.at(key), f"{shown(name)} is longer than {_HOST_NAME_MOST} bytes")
    if name and is_of_runtime("uts", namespaces, linux):
        wrong(fields.at(key), "needs another uts namespace than the runtime's: it would change the host's name")
    return name


def _id_mappings(linux: Fields, namespaces: dict[str, str]) -> tuple[list[IdMap], list[IdMap]]:
    """Return the maps of users and groups; there are both if there is a new user namespace, and none if there is none."""
    maps = {key: read_id_maps(linux, key) for key in ("uidMappings", "gidMappings")}
    for key, found in maps.items():
        if found and "user" not in namespaces:
            wrong(linux.at(key), "needs a user namespace in linux.namespaces")
        if not found and namespaces.get("user") == "":
            wrong(linux.at(key), "missing: a new user namespace needs it")
    return maps["uidMappings"], maps["gidMappings"]


def _check_shared_mounts(config: Config, linux: Fields) -> None:
    """Refuse what the runtime's own mount namespace cannot hold, or would have to be changed for."""
    without = "needs another mount namespace than the runtime's"
    if "user" in config.namespaces:
        wrong(linux.at("namespaces"), f"a user namespace {without}: the host's mounts are not its to leave")
    if config.rootfs_propagation:
        wrong(linux.at("rootfsPropagation"), f"{without}: it would change the host's")
    for key, paths in (("maskedPaths", config.masked_paths), ("readonlyPaths", config.readonly_paths)):
        if paths:  # who may chroot(2) comes to the host's /proc
            wrong(linux.at(key), f"{without}: the paths would be in reach all the same")


def _check_mapped(config: Config, process: Process, where: str) -> None:
    """Refuse a user or group that the new user namespace does not have: the kernel would say no more than EINVAL."""
    if config.namespaces.get("user") != "":
        return
    for key, number, maps in (("uid", process.uid, config.uid_mappings), ("gid", process.gid, config.gid_mappings)):
        if not is_mapped(number, maps):
            wrong(f"{where}.{key}", f"{number} is not in linux.{key}Mappings")
