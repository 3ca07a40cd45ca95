"""The record of a container in every state of damage: one clear error each, and never a half-right container (FLT-09)."""

import copy
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidState, PycontainerError
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container, ImageRecord, load
from pycontainer.spec.model import ContainerSpec

ID = "0123456789ab"
CONFIG: dict[str, object] = {
    "entrypoint": [],
    "cmd": ["sh"],
    "env": [],
    "user": "",
    "workdir": "",
    "exposed_ports": [],
    "volumes": [],
    "stop_signal": "",
    "labels": {},
    "healthcheck": {},
}


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(str(tmp_path))
    os.makedirs(made.container_dir(ID))
    os.makedirs(made.run_containers_dir)
    return made


@pytest.fixture
def container(paths: HostPaths) -> Container:
    """A container that runs, for the second time."""
    image = ImageRecord("a", "sha256:x", ["/l"], CONFIG)
    made = Container(paths, ID, ContainerSpec(name="web", image="a"), image, base=0x10000000, created=1764000000.5)
    made.warnings, made.addresses = ["w"], {"default": {"ip": "10.0.0.5", "ip6": ""}}
    made.pid, made.start_ticks, made.started, made.restart_count = 5, 77, 1764000001.5, 1
    made.health, made.is_proven, made.ending = "unhealthy", True, "health"
    made.save()
    made.save_run()
    exit_record = {"wait_status": 9, "finished": 1764000001, "uptime": 7.5, "dropped_output_bytes": 3}
    write(f"{made.directory}/exit.json", exit_record)
    return made


def write(path: str, data: object) -> None:
    with open(path, "wb") as file:
        file.write(data if isinstance(data, bytes) else json.dumps(data).encode())
    os.chmod(path, 0o600)


def refused(paths: HostPaths) -> str:
    """Return the reason, which follows the file's name."""
    with pytest.raises(InvalidState) as caught:
        load(paths, ID)
    head = f"cannot read the record of container '{ID}': '"
    assert caught.value.message.startswith(head) and "\n" not in caught.value.message
    assert caught.value.hint == (
        f"repair it, then 'pycontainer service stop'; 'pycontainer rm --force {ID}' removes the container"
    )
    path, _, reason = caught.value.message.removeprefix(head).partition("': ")
    assert os.path.lexists(path)
    return reason


def test_a_record_is_read_as_it_was_written(paths: HostPaths, container: Container) -> None:
    found = load(paths, ID)
    for name in Container.__slots__:
        if name not in (
            "paths",
            "image",
            "exit_code",
            "killed_by",
            "finished",
            "finished_uptime",
            "dropped_output_bytes",
        ):
            assert getattr(found, name) == getattr(container, name), name
    assert found.image is not None and found.image.config == CONFIG and found.image.layers == ["/l"]
    assert (found.exit_code, found.killed_by, found.finished, found.dropped_output_bytes) == (137, 9, 1764000001.0, 3)
    assert found.finished_uptime == 7.5 and found.lasted_seconds(7.5) == 7.5 - 77 / os.sysconf("SC_CLK_TCK")


def test_a_container_that_never_ran(paths: HostPaths, container: Container) -> None:
    os.unlink(paths.runtime_state(ID))
    os.unlink(f"{container.directory}/exit.json")
    found = load(paths, ID)
    assert (found.pid, found.started, found.exit_code, found.finished) == (0, None, None, None)


@pytest.mark.parametrize("left", [b"", bytes(100)])
def test_an_end_that_a_loss_of_power_took_away(paths: HostPaths, container: Container, left: bytes) -> None:
    """It is written without a wait for the disk: under its name there may be nothing, or zeros. All else is damage."""
    Path(f"{container.directory}/exit.json").write_bytes(left)
    os.utime(f"{container.directory}/exit.json", (7, 7))
    found = load(paths, ID)
    assert (found.exit_code, found.finished) == (None, 7.0)
    Path(f"{container.directory}/exit.json").write_bytes(left + b"x")
    with pytest.raises(InvalidState, match=r"exit\.json"):
        load(paths, ID)


MISSING = object()


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("version",), MISSING, "field 'version' is missing"),
        (("version",), 2, "version 2 is of a newer pycontainer, this one knows 1"),
        (("version",), True, "field 'version' holds True"),
        (("id",), "0123456789ac", "it is that of '0123456789ac'"),
        (("id",), 5, "field 'id' holds 5"),
        (("base",), 0, "field 'base' holds 0"),  # the host's own ids
        (("base",), 0x10000001, "base 268435457 is not a multiple of 65536"),
        (("base",), "268435456", "field 'base' holds '268435456'"),
        (("base",), 268435456.0, "field 'base' holds 268435456.0"),
        (("created",), "now", "field 'created' holds 'now'"),
        (("created",), True, "field 'created' holds True"),
        (("created",), -1, "field 'created' holds -1"),
        (("created",), 1e300, "field 'created' holds 1e+300"),
        (("warnings",), {}, "field 'warnings' holds {}"),
        (("warnings",), ["w", 5], "field 'warnings' holds 5"),
        (("addresses",), [], "[] is not an object"),
        (("addresses", "default"), "10.0.0.5", "'10.0.0.5' is not an object"),
        (("addresses", "default", "ip"), None, "field 'ip' holds None"),
        (("image",), [], "[] is not an object"),
        (("image",), MISSING, "field 'image' is missing"),
        (("image", "layers"), "/l", "field 'layers' holds '/l'"),
        (("image", "config"), [], "[] is not an image's config"),
        (("image", "config", "cmd"), "sh", "'sh' for 'cmd' in the image's config is not a list of text"),
        (("spec",), None, "spec: None is of a wrong type"),
        (("spec", "memory_bytes"), "1", "spec.memory_bytes: '1' is of a wrong type"),
        (("spec", "flavour"), 1, "spec: unknown field 'flavour'"),
    ],
)
def test_a_field_of_another_kind(
    paths: HostPaths, container: Container, keys: tuple[str, ...], value: object, reason: str
) -> None:
    with open(f"{container.directory}/spec.json") as file:
        record = json.load(file)
    write(f"{container.directory}/spec.json", _with(record, keys, value))
    assert refused(paths) == reason


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("id",), "0123456789ac", "the present run is another container's"),
        (("pid",), -1, "field 'pid' holds -1"),
        (("pid",), "1_000", "field 'pid' holds '1_000'"),
        (("pid",), 1 << 23, "field 'pid' holds 8388608"),
        (("start_ticks",), MISSING, "field 'start_ticks' is missing"),
        (("started",), [], "field 'started' holds []"),
        (("restart_count",), 1.5, "field 'restart_count' holds 1.5"),
        (("stopping",), 1, "field 'stopping' holds 1"),
        (("restarting",), "no", "field 'restarting' holds 'no'"),
    ],
)
def test_a_run_of_another_kind(
    paths: HostPaths, container: Container, keys: tuple[str, ...], value: object, reason: str
) -> None:
    with open(paths.runtime_state(ID)) as file:
        record = json.load(file)
    write(paths.runtime_state(ID), _with(record, keys, value))
    assert refused(paths) == reason


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b" ", "not JSON at character 1: Expecting value"),
        (b"[]", "[] is not an object"),
        (b"{}", "field 'wait_status' is missing"),
        ({"wait_status": 10**30, "finished": 1, "dropped_output_bytes": 0}, f"field 'wait_status' holds {10**30}"),
        ({"wait_status": 0x137F, "finished": 1, "dropped_output_bytes": 0}, "process stopped by delivery of signal 19"),
        (b'{"wait_status": 0, "finished": NaN, "dropped_output_bytes": 0}', "NaN is not JSON"),
        (b'{"wait_status": 0, "finished": 1e999, "dropped_output_bytes": 0}', "a number that is too large or too long"),
        ({"wait_status": 0, "finished": 1, "dropped_output_bytes": None}, "field 'dropped_output_bytes' holds None"),
    ],
)
def test_an_end_of_another_kind(paths: HostPaths, container: Container, record: object, reason: str) -> None:
    write(f"{container.directory}/exit.json", record)
    assert refused(paths) == reason


def test_files_that_are_empty_cut_or_flipped(paths: HostPaths, container: Container) -> None:
    """A crash cuts anywhere and a disk flips anything: what is read then was valid, or is refused."""
    for path in (f"{container.directory}/spec.json", f"{container.directory}/exit.json", paths.runtime_state(ID)):
        with open(path, "rb") as file:
            whole = file.read()
        for length in range(path.endswith("/exit.json"), len(whole) - 1, 7):  # an empty one is what was never synced
            write(path, whole[:length])
            assert refused(paths)
        for at in range(0, len(whole), 5):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << at % 8
            write(path, bytes(flipped))
            try:
                found = load(paths, ID)
            except PycontainerError:
                continue
            assert found.id == ID and 0x10000000 <= found.base <= 0x6FFF0000 and found.base % 65536 == 0
        write(path, whole)
    assert load(paths, ID).spec == container.spec


def test_a_record_that_others_could_have_written(paths: HostPaths, container: Container) -> None:
    path = f"{container.directory}/spec.json"
    for mode in (0o660, 0o602):
        os.chmod(path, mode)
        assert refused(paths) == f"it belongs to user {os.geteuid()} with mode {mode:04o}: others could have written it"
    os.chmod(path, 0o644)
    assert load(paths, ID)


@pytest.mark.requires("root")
def test_a_record_of_another_user(paths: HostPaths, container: Container) -> None:
    os.chown(f"{container.directory}/spec.json", 65534, 65534)
    assert refused(paths) == "it belongs to user 65534 with mode 0600: others could have written it"


def test_what_is_no_file(paths: HostPaths, container: Container) -> None:
    """A fifo is not waited for, a link is not followed, a huge file is not read."""
    path = f"{container.directory}/spec.json"
    os.rename(path, f"{path}.real")
    os.symlink(f"{path}.real", path)
    assert "Too many levels of symbolic links" in refused(paths)
    os.unlink(path)
    os.mkfifo(path)
    assert refused(paths) == "it is not a regular file"
    os.unlink(path)
    os.mkdir(path)
    assert refused(paths) == "it is not a regular file"
    os.rmdir(path)
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    os.chmod(path, 0o600)
    assert "more than 4194304 bytes" in refused(paths)


def test_a_directory_that_no_container_made(paths: HostPaths, container: Container) -> None:
    """A copy of a container's directory, under another name, is not a second container."""
    os.rename(container.directory, f"{paths.containers_dir}/copy of {ID}")
    with pytest.raises(
        PycontainerError, match=f"^cannot read the record of container 'copy of {ID}': '.*': it is that of"
    ):
        load(paths, f"copy of {ID}")


def _with(record: dict[str, Any], keys: tuple[str, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    inner = changed
    for key in keys[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("wait_status", "exit_code", "rebooting"),
    [
        (0, 0, False),
        (3 << 8, 3, False),
        (signal.SIGKILL, 137, False),
        (signal.SIGINT, 0, False),  # something inside powered off
        (signal.SIGHUP, 0, True),
        (129 << 8, 129, False),  # a program's own code, which a shell would also show for SIGHUP
    ],
)
def test_how_it_ended(wait_status: int, exit_code: int, rebooting: bool) -> None:
    container = Container(HostPaths("/nowhere"), "c1", ContainerSpec(), None, base=65536, created=0)
    container.ended(wait_status)
    assert (container.exit_code, container.rebooting) == (exit_code, rebooting)
