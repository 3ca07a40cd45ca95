"""Bad configurations: refused before anything is made, with exit code 1, one line and, by ours, the member's path."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.runtime import Container, Json, Runtime

Change = Callable[[Json], Any]
RUNC = "runc"


def put(path: str, value: object) -> Change:
    """Return what sets a member, by its path with dots; a number is an index."""

    def change(config: Json) -> None:
        *way, last = path.split(".")
        place: Any = config
        for word in way:
            place = place[int(word)] if isinstance(place, list) else place.setdefault(word, {})
        place[int(last) if isinstance(place, list) else last] = value

    return change


def add(path: str, value: object) -> Change:
    """Return what appends to a list."""

    def change(config: Json) -> None:
        place: Any = config
        for word in path.split("."):
            place = place.setdefault(word, [])
        place.append(value)

    return change


def drop(path: str) -> Change:
    def change(config: Json) -> None:
        *way, last = path.split(".")
        place: Any = config
        for word in way:
            place = place[word]
        del place[last]

    return change


def mapped(*ranges: tuple[int, int, int]) -> Change:
    """Return what adds a user namespace with these ranges: inside, outside, count."""

    def change(config: Json) -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            config["linux"][kind] = [{"containerID": a, "hostID": b, "size": n} for a, b, n in ranges]

    return change


def rule(**changes: object) -> Change:
    """Return what sets a seccomp filter with one rule."""
    return put(
        "linux.seccomp",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", **changes}],
        },
    )


ONE_ID = {"containerID": 0, "hostID": 1, "size": 1}
CHAR_15 = {"type": "c", "major": 1, "minor": 5}
NOFILE = {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}

# name, change, what the message of ours names, whether runc refuses it too
REFUSED: list[tuple[str, Change, str, bool]] = [
    ("version missing", drop("ociVersion"), "ociVersion", False),
    ("version number", put("ociVersion", 1), "ociVersion", True),
    ("version text", put("ociVersion", "newest"), "ociVersion", False),
    ("version 2", put("ociVersion", "2.0.0"), "ociVersion", False),
    ("root missing", drop("root"), "root", True),
    ("root null", put("root", None), "root", True),
    ("root path missing", drop("root.path"), "root.path", False),
    ("root path empty", put("root.path", ""), "root.path", False),
    ("root path number", put("root.path", 7), "root.path", True),
    ("root is not there", put("root.path", "no-such"), "root.path", True),
    ("root is a file", put("root.path", "config.json"), "root.path", True),
    ("root readonly text", put("root.readonly", "yes"), "root.readonly", True),
    ("process list", put("process", []), "process", True),
    ("process text", put("process", "true"), "process", True),
    ("args missing", drop("process.args"), "process.args", True),
    ("args empty", put("process.args", []), "process.args", True),
    ("args null", put("process.args", None), "process.args", True),
    ("args text", put("process.args", "true"), "process.args", True),
    ("args of numbers", put("process.args", [1]), "process.args", True),
    ("args with NUL", put("process.args", ["true", "a\0b"]), "process.args", False),
    ("cwd missing", drop("process.cwd"), "process.cwd", True),
    ("cwd relative", put("process.cwd", "tmp"), "process.cwd", True),
    ("env text", put("process.env", "A=1"), "process.env", True),
    ("uid negative", put("process.user.uid", -1), "process.user.uid", True),
    ("uid too large", put("process.user.uid", 1 << 32), "process.user.uid", True),
    ("uid text", put("process.user.uid", "root"), "process.user.uid", True),
    ("uid fraction", put("process.user.uid", 1.5), "process.user.uid", True),
    ("rlimit unknown", put("process.rlimits", [{**NOFILE, "type": "RLIMIT_X"}]), "process.rlimits[0].type", True),
    ("rlimit twice", put("process.rlimits", [NOFILE, NOFILE]), "process.rlimits[1].type", False),
    ("rlimit soft above hard", put("process.rlimits", [{**NOFILE, "soft": 11}]), "process.rlimits[0]", True),
    ("rlimit negative", put("process.rlimits", [{**NOFILE, "soft": -1}]), "process.rlimits[0].soft", True),
    ("capability unknown", put("process.capabilities.effective", ["CAP_X"]), "process.capabilities.effective", False),
    ("capability text", put("process.capabilities.bounding", "CAP_KILL"), "process.capabilities.bounding", True),
    ("oom score text", put("process.oomScoreAdj", "1"), "process.oomScoreAdj", True),
    ("oom score too large", put("process.oomScoreAdj", 1001), "process.oomScoreAdj", True),
    ("mounts object", put("mounts", {}), "mounts", True),
    ("mount destination missing", add("mounts", {"type": "tmpfs"}), "mounts[4].destination", True),
    (
        "mount options text",
        add("mounts", {"destination": "/a", "type": "tmpfs", "options": "ro"}),
        "mounts[4].options",
        True,
    ),
    ("mount type unknown", add("mounts", {"destination": "/a", "type": "nosuchfs", "source": "x"}), "nosuchfs", True),
    ("namespaces object", put("linux.namespaces", {}), "linux.namespaces", True),
    ("namespace unknown", add("linux.namespaces", {"type": "nosuch"}), "linux.namespaces[5].type", True),
    ("namespace without type", add("linux.namespaces", {}), "linux.namespaces[5].type", True),
    ("namespace twice", add("linux.namespaces", {"type": "pid"}), "linux.namespaces[5].type", True),
    ("namespace path is not there", put("linux.namespaces.2.path", "/no/such"), "linux.namespaces[2].path", True),
    ("mappings overlap inside", mapped((0, 200000, 10), (5, 300000, 10)), "linux.uidMappings[1]", True),
    ("mappings overlap outside", mapped((0, 200000, 10), (100, 200005, 10)), "linux.uidMappings[1]", True),
    ("mapping of no ids", mapped((0, 200000, 0)), "linux.uidMappings[0].size", True),
    ("mapping too long", mapped((0, 200000, 1 << 32)), "linux.uidMappings[0].size", True),
    ("mappings without a namespace", put("linux.uidMappings", [ONE_ID]), "linux.uidMappings", False),
    ("cgroup path climbs", put("linux.cgroupsPath", "/../../../x"), "linux.cgroupsPath", False),
    ("cgroup path number", put("linux.cgroupsPath", 1), "linux.cgroupsPath", True),
    ("memory text", put("linux.resources.memory", {"limit": "64M"}), "linux.resources.memory.limit", True),
    ("pids list", put("linux.resources.pids", []), "linux.resources.pids", True),
    (
        "device type unknown",
        put("linux.devices", [{**CHAR_15, "path": "/dev/x", "type": "z"}]),
        "linux.devices[0].type",
        True,
    ),
    ("device without path", put("linux.devices", [CHAR_15]), "linux.devices[0].path", False),
    (
        "seccomp action unknown",
        put("linux.seccomp", {"defaultAction": "SCMP_ACT_X"}),
        "linux.seccomp.defaultAction",
        True,
    ),
    (
        "seccomp operator unknown",
        rule(args=[{"index": 0, "value": 1, "op": "SCMP_CMP_X"}]),
        "linux.seccomp.syscalls[0].args[0].op",
        True,
    ),
    (
        "seccomp index too large",
        rule(args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]),
        "linux.seccomp.syscalls[0].args[0].index",
        True,
    ),
    ("seccomp no names", rule(names=[]), "linux.seccomp.syscalls[0].names", False),
    (
        "seccomp architecture unknown",
        lambda config: (rule()(config), put("linux.seccomp.architectures", ["SCMP_ARCH_X"])(config)),
        "linux.seccomp.architectures[0]",
        True,
    ),
    ("propagation unknown", put("linux.rootfsPropagation", "public"), "linux.rootfsPropagation", True),
    ("masked paths text", put("linux.maskedPaths", "/proc/keys"), "linux.maskedPaths", True),
    ("sysctl number", put("linux.sysctl", {"kernel.shmmni": 1}), "linux.sysctl", True),
    ("hooks list", put("hooks", []), "hooks", True),
    ("hook without path", put("hooks", {"prestart": [{"args": ["x"]}]}), "hooks.prestart[0].path", True),
    ("hook path relative", put("hooks", {"poststop": [{"path": "bin/sh"}]}), "hooks.poststop[0].path", False),
    (
        "hook timeout 0",
        put("hooks", {"prestart": [{"path": "/bin/true", "timeout": 0}]}),
        "hooks.prestart[0].timeout",
        True,
    ),
    ("annotations list", put("annotations", ["a"]), "annotations", True),
    ("annotation number", put("annotations", {"a": 1}), "annotations[", True),
    ("hostname without namespace", put("linux.namespaces", [{"type": "mount"}, {"type": "pid"}]), "hostname", True),
    ("linux text", put("linux", "x"), "linux", True),
]


def check_refused(container: Container, *, names: str) -> None:
    """`create` must fail with 1, one line that says where, and leave nothing."""
    runtime = container.runtime
    before = sorted(os.listdir(container.bundle))
    message = runtime.fails("create", "--bundle", container.bundle, container.id)
    assert not container.exists()
    assert sorted(os.listdir(container.bundle)) == before
    if runtime.name == "pycontainer-oci":
        assert len(message.strip().splitlines()) <= 2, message  # a hint may follow
        assert names in message, message


@pytest.mark.parametrize(("change", "names", "by_runc"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(
    request: pytest.FixtureRequest, container: Container, change: Change, names: str, by_runc: bool
) -> None:
    if container.runtime.name == RUNC and not by_runc:
        request.applymarker(pytest.mark.xfail(strict=True, reason="runc takes it"))
    change(container.config)
    container.write()
    check_refused(container, names=names)


NOT_JSON = {
    "empty": b"",
    "text": b"hello",
    "cut off": b'{"ociVersion": "1.0.2", "process": {',
    "list": b"[]",
    "number": b"7",
    "trailing comma": b'{"ociVersion": "1.0.2",}',
    "zeros": bytes(4096),
    "not UTF-8": b'{"ociVersion": "\xff\xfe"}',
}
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.deviates("runc", "panics")
def test_null(container: Container) -> None:
    with open(f"{container.bundle}/config.json", "w") as file:
        file.write("null")
    check_refused(container, names="config.json")


@pytest.mark.parametrize("data", [*NOT_JSON.values(), DEEP], ids=[*NOT_JSON, "deep"])
def test_not_a_configuration(container: Container, data: bytes) -> None:
    with open(f"{container.bundle}/config.json", "wb") as file:
        file.write(data)
    check_refused(container, names="config.json")


@pytest.mark.deviates("runc", "Go's decoder takes the last of several members, infinities never")
@pytest.mark.parametrize("spoil", ["duplicate", "after the end"])
def test_json_that_parsers_read_differently(container: Container, spoil: str) -> None:
    text = json.dumps(container.config)
    if spoil == "duplicate":
        text = '{"hostname": "other", ' + text[1:]
    else:
        text += " {}"
    with open(f"{container.bundle}/config.json", "w") as file:
        file.write(text)
    check_refused(container, names="config.json")


def test_no_configuration(container: Container) -> None:
    check_refused(container, names="config.json")


def test_configuration_is_a_directory(container: Container) -> None:
    os.mkdir(f"{container.bundle}/config.json")
    check_refused(container, names="config.json")


def test_no_bundle(runtime: Runtime, container: Container) -> None:
    runtime.fails("create", "--bundle", f"{container.bundle}/none", container.id)
    assert not container.exists()
