"""config.json of a bundle (oci/config.py), the process of `exec -p` and the resources of `update -r`."""

import json
import os

from pycontainer.oci import config
from pycontainer.oci.config import Config, Process
from tests.fuzz.inputs import directory, encoded, parsed, value_of
from tests.support import ociconfigs

MAX_BYTES = 8000


def _compact(name: str) -> dict[str, object]:
    """Return a sample without what only makes it long; a namespace that it joins is a file that is there."""
    text = json.dumps({**ociconfigs.ALL[name], "annotations": {"a": "b"}})
    for path in ("/run/netns/netns-2d4a4c9e-5c9b-2b0e-7a3e-2f0d1f6f3c11", "/var/run/netns/cni-5b9d9a7e-7f6c"):
        text = text.replace(path, "/dev/null")
    made: dict[str, object] = json.loads(text)
    return made


SEEDS = encoded(
    (
        *map(_compact, ociconfigs.ALL),
        ociconfigs.RARE,
        ociconfigs.RARE["process"],
        {"memory": {"limit": 1}, "pids": {"limit": -1}},
    )
)


def try_one(data: bytes) -> None:
    value = value_of(data)
    os.makedirs(f"{directory()}/rootfs", exist_ok=True)
    found = parsed(lambda given: config.parse(given, directory()), value)
    if isinstance(found, Config):
        _check(found)
    process = parsed(lambda given: config.parse_process(given, "process.json"), value)
    if isinstance(process, Process):
        _check_process(process)
    resources = parsed(lambda given: config.parse_resources(given, "update"), value)
    if isinstance(resources, dict):
        again = config.parse_resources(json.loads(json.dumps(resources)), "update")
        assert again == resources
        assert all("/" not in name for name in resources.get("unified", {}))


def _check(found: Config) -> None:
    assert found.oci_version.startswith("1.") and os.path.isdir(found.root_path)
    for path in (*(mount.destination for mount in found.mounts), *(device.path for device in found.devices)):
        parts = path.split("/")
        assert parts[0] == "" and len(parts) > 1 and not {"", ".", ".."} & {*parts[1:]}
    for mount in found.mounts:
        assert not mount.flags & mount.cleared and "\0" not in mount.data
        assert not mount.is_bind or (mount.source.startswith("/") and not mount.data and mount.type == "bind")
        assert mount.idmap in ("", "idmap", "ridmap") and bool(mount.uid_mappings) == bool(mount.gid_mappings)
    for path in found.sysctl:
        assert path.split("/")[0] in ("net", "kernel", "fs") and not {"", ".", ".."} & {*path.split("/")}
    assert ".." not in found.cgroups_path.replace(":", "/").split("/")
    assert {*found.namespaces} <= {"pid", "net", "mnt", "ipc", "uts", "user", "cgroup", "time"}
    for maps in (found.uid_mappings, found.gid_mappings):
        for side in ("inside", "outside"):
            ranges = sorted((getattr(one, side), one.count) for one in maps)
            assert all(first + count <= then for (first, count), (then, _) in zip(ranges, ranges[1:], strict=False))
    for hook in (hook for hooks in found.hooks.values() for hook in hooks):
        assert hook.path.startswith("/") and hook.args and hook.timeout_seconds != 0
    if found.process is not None:
        _check_process(found.process)


def _check_process(process: Process) -> None:
    assert process.args and process.args[0] and process.cwd.startswith("/")
    for text in (*process.args, *process.env, process.cwd):
        assert b"\0" not in text.encode()
    names = [entry.partition("=")[0] for entry in process.env]
    assert all(names) and len({*names}) == len(names)
    assert all(0 <= one < 2**32 - 1 for one in (process.uid, process.gid, *process.additional_gids))
    assert all(soft <= hard < 2**64 for _, soft, hard in process.rlimits)
