"""Containers that start with the host, and stop with it; a host that went down. A real reboot: tests/vm/reboot.py."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World

LOOP = "while :; do sleep 1000 & wait $!; done"
# The test sees that by the order in which they end: one with a lower place is asked after those above have ended.
SLOW = ("sh", "-c", f'trap "sleep 1; exit 3" TERM; echo ready; {LOOP}')
QUICK = ("sh", "-c", f'trap "exit 4" TERM; echo ready; {LOOP}')
SERVE = ("sh", "-c", f'mkdir -p /www; echo hi >/www/index.html; httpd -h /www; trap "exit 0" TERM; echo ready; {LOOP}')


def run(world: World, name: str, command: tuple[str, ...], *options: str) -> None:
    world.ok("run", "-d", "--name", name, *options, IMAGE, *command)
    poll_until(lambda: "ready" in world.ok("logs", name), what=f"{name} is ready")


def service(world: World, *arguments: str) -> list[str]:
    return world.ok("service", *arguments, timeout_seconds=120).split()


def statuses(world: World) -> dict[str, str]:
    return {each["name"]: each["status"] for each in json.loads(world.ok("ps", "-a", "--format", "json"))}


def power_off(world: World, *, keeps_run: bool) -> None:
    """Do what a loss of power does, as far as one machine can show: all end at once, and nobody tells of it.

    `keeps_run`: the run directory is on a disk, as it may be of a world with `--root`; then its files are of another boot.
    """
    for pid in world.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _end_forwarder(world)
    for state in (f"{directory}/freezer.state" for directory in world._cgroups()):
        if os.path.exists(state):  # on v1 what is frozen ends when it thaws
            Path(state).write_text("THAWED")
    poll_until(lambda: not world.processes(), what="all have ended")
    poll_until(lambda: all(map(_is_removed, world._cgroups())), what="their cgroups are empty, and gone")
    run_dir = Path(world.paths.run_dir)
    if not keeps_run:
        shutil.rmtree(run_dir)
        run_dir.mkdir(mode=0o750)
    notes = [*run_dir.glob("boot.json"), *run_dir.glob("containers/*.json")]
    for path in (*notes, *Path(world.paths.containers_dir).glob("*/running.json")):
        path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))


def _end_forwarder(world: World) -> None:
    """End what answers published ports on the loopback: no command line tells which one is this world's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        try:
            sock.connect(world.paths.forwarder_socket)
        except (FileNotFoundError, ConnectionRefusedError):
            return
        sock.send(json.dumps({"quit": True}).encode())
        sock.recv(1)


def _is_removed(cgroup: str) -> bool:
    try:
        os.rmdir(cgroup)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("keeps_run", [False, True])
def test_a_host_that_went_down_comes_up_with_what_ran(own_world: World, keeps_run: bool) -> None:
    """FLT-07: pids, links, addresses, id ranges and ports of before are not believed, nor lost."""
    world = own_world
    run(world, "web", SERVE, "--onboot", "last", "-p", "8080:80", "-m", "64M")
    run(world, "paused", QUICK, "--onboot", "last")
    run(world, "plain", QUICK)
    run(world, "stopped", QUICK, "--restart", "unless-stopped")
    world.ok("run", "-d", "--rm", "--name", "brief", IMAGE, *QUICK)
    world.ok("create", "--name", "new", "--onboot", "yes", IMAGE, *QUICK)
    world.ok("stop", "stopped")
    world.ok("pause", "paused")
    before = world.inspect("web")
    half_made = Path(world.paths.container_dir("0123456789ab"))
    half_made.mkdir()
    power_off(world, keeps_run=keeps_run)
    poll_until(lambda: "brief" not in statuses(world), what="what removes itself is gone")
    assert statuses(world) == {
        "web": "stopped", "paused": "stopped", "plain": "stopped", "stopped": "stopped", "new": "created",
    }  # fmt: skip
    assert not half_made.exists()
    record = world.inspect("web")
    assert (record["exit_code"], record["pid"], record["started"]) == (None, 0, before["started"])
    assert sorted(service(world, "boot")) == ["new", "paused", "web"]
    assert statuses(world) == {
        "web": "running", "paused": "running", "plain": "stopped", "stopped": "stopped", "new": "running",
    }  # fmt: skip
    after = world.inspect("web")
    assert (after["networks"], after["id_map"]) == (before["networks"], before["id_map"])
    assert world.network.inside.http_get_soon("http://127.0.0.1:8080/") == "hi\n"
    assert service(world, "boot") == []  # once in each boot
    assert json.loads(world.ok("doctor", "--format", "json"))["findings"] == []


@pytest.mark.parametrize("lost", ["record", "name", "addresses"])
def test_what_goes_with_its_end_is_not_damaged_by_a_loss_of_power(own_world: World, lost: str) -> None:
    """Nobody waits for the disk to have the records of `run --rm`. Those of all others are there, or damaged."""
    world = own_world
    run(world, "brief", QUICK, "--rm")
    run(world, "kept", QUICK)
    brief, kept = world.inspect("brief"), world.inspect("kept")
    power_off(world, keeps_run=False)
    for record in (brief, kept):
        addresses = Path(world.paths.networks_dir, "addresses", f"{record['id']}.json")
        file = addresses if lost == "addresses" else Path(record["directory"], "spec.json")
        if lost == "name":
            file.unlink()
        else:
            file.write_bytes(b"\0" * file.stat().st_size)
    listed = json.loads(world.ok("ps", "-a", "--format", "json"))
    assert [(each["id"], each["status"]) for each in listed] == [(kept["id"], "damaged")]
    told = json.loads(world.cli("doctor", "--format", "json").stdout)["repaired_at_start"]
    assert f"container that ended with its host: {brief['directory']}" in told
    world.ok("run", "--rm", "--name", "brief", "--ip", brief["networks"]["default"]["ip"], IMAGE, "true")
    assert brief["id_map"]["host_base"] not in _id_ranges(world)
    assert kept["id_map"]["host_base"] in _id_ranges(world)
    poll_until(lambda: os.listdir(world.paths.containers_dir) == [kept["id"]], what="its files are gone")
    world.ok("rm", "--force", kept["id"])


def test_a_volume_goes_with_its_container_after_a_loss_of_power(own_world: World, busybox_rootfs: str) -> None:
    """Its record says which ones are to go, so that is on the disk."""
    world = own_world
    with world.client() as host:
        host.import_image(busybox_rootfs, "keeper", {"volumes": ["/data"]})
    world.ok("run", "-d", "--rm", "--name", "brief", "keeper", "sh", "-c", f"echo kept >/data/file; {QUICK[2]}")
    assert len(world.ok("volume", "list", "-q").split()) == 1
    directory = Path(world.inspect("brief")["directory"])
    assert not directory.stat().st_mode & stat.S_ISVTX
    power_off(world, keeps_run=False)
    poll_until(lambda: world.ok("volume", "list", "-q") == "", what="the volume is gone")
    assert not directory.exists()


def _id_ranges(world: World) -> set[int]:
    """Return the first ids of the ranges that containers of this world have."""
    directory = Path(world.paths.idranges_dir)
    return {int(link.name) for link in directory.iterdir() if link.is_symlink() and world.root in os.readlink(link)}


def test_places_in_the_order_both_ways(own_world: World) -> None:
    world = own_world
    for name, order in (("second", "2"), ("first", "1")):
        run(world, name, SLOW if name == "second" else QUICK, "--onboot", "last", "--boot-order", order)
    run(world, "rest", SLOW, "--onboot", "last")
    world.ok("set", "first", "--boot-delay", "1s")
    assert service(world, "shutdown") == ["rest", "second", "first"]
    ends = [world.inspect(name) for name in ("rest", "second", "first")]
    assert [record["exit_code"] for record in ends] == [3, 3, 4]
    assert ends[0]["finished"] + 1 <= ends[1]["finished"] <= ends[2]["finished"]
    assert service(world, "boot", "--parallel", "2") == ["first", "second", "rest"]
    starts = [world.inspect(name)["started"] for name in ("first", "second", "rest")]
    assert starts[0] + 1 <= starts[1] <= starts[2]


def test_time_that_is_over_kills(own_world: World) -> None:
    world = own_world
    run(world, "deaf", ("sh", "-c", f"trap : TERM; echo ready; {LOOP}"), "--stop-timeout", "1h", "--boot-order", "5")
    run(world, "db", QUICK, "--boot-order", "1")
    assert service(world, "shutdown", "--timeout", "2") == ["deaf", "db"]
    assert [world.inspect(name)["exit_code"] for name in ("deaf", "db")] == [137, 4]  # the last one had its share


def test_a_supervisor_that_dies_in_the_middle_of_a_shutdown(own_world: World) -> None:
    """FLT-01: the command goes on with the next one, and all are stopped as they were to be."""
    world = own_world
    run(world, "slow", SLOW, "--onboot", "last")
    run(world, "db", QUICK, "--boot-order", "1")
    command = world.popen("service", "shutdown")
    poll_until(lambda: json.loads(Path(world.paths.run_dir, "boot.json").read_text())["phase"] == "stopping")
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    _, errors = command.communicate(timeout=60)
    assert (command.returncode, errors) == (0, b"")
    assert [world.inspect(name)["exit_code"] for name in ("slow", "db")] == [3, 4]


def test_a_supervisor_that_dies_in_the_middle_of_a_boot(own_world: World) -> None:
    """FLT-01: the next one starts the rest, whoever starts it."""
    world = own_world
    world.ok("create", "--name", "first", "--onboot", "yes", "--boot-order", "1", "--boot-delay", "1h", IMAGE, *QUICK)
    world.ok("create", "--name", "second", "--onboot", "yes", IMAGE, *QUICK)
    command = world.popen("service", "boot")
    world.wait_for_status("first", "running")
    world.ok("set", "first", "--boot-delay", "0")
    command.kill()
    command.communicate()
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    world.wait_for_status("second", "running")


def test_nothing_starts_while_the_host_goes_down(own_world: World) -> None:
    world = own_world
    run(world, "slow", ("sh", "-c", f"trap 'sleep 3; exit 3' TERM; echo ready; {LOOP}"))
    world.ok("create", "--name", "other", IMAGE, *QUICK)
    command = world.popen("service", "shutdown")
    poll_until(lambda: json.loads(Path(world.paths.run_dir, "boot.json").read_text())["phase"] == "stopping")
    assert "the host goes down" in world.refused(5, "start", "other")
    command.communicate(timeout=60)
    assert (command.returncode, world.status("slow"), world.status("other")) == (0, "stopped", "created")


@pytest.fixture
def script(own_world: World) -> Iterator[Path]:
    path = Path(own_world.root, "initscript")
    path.write_text(own_world.ok("generate", "initscript"))
    path.chmod(0o755)
    yield path
    path.unlink()


def test_an_init_without_systemd(own_world: World, script: Path) -> None:
    """What System V's init calls, with what it leaves in the environment."""
    world = own_world
    world.ok("create", "--name", "web", "--onboot", "yes", IMAGE, *QUICK)

    def call(word: str) -> None:
        argv = world.network.inside.argv(str(script), word)
        done = subprocess.run(argv, env=world.environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr

    call("start")
    poll_until(lambda: "ready" in world.ok("logs", "web"))
    call("stop")
    assert not os.path.exists(world.paths.supervisor_socket)  # it ends as well
    assert world.inspect("web")["exit_code"] == 4
    call("start")
    assert world.status("web") == "running"


def test_in_the_foreground(own_world: World) -> None:
    """It tells the service manager that it runs, and stays over restarts, by the policy or not, and a supervisor's death."""
    world = own_world
    world.ok("create", "--name", "web", "--restart", "always", IMAGE, *QUICK)
    address = f"{world.root}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        argv = world.argv("start", "--foreground", "web")
        process = subprocess.Popen(argv, env={**world.environment, "NOTIFY_SOCKET": address}, stderr=subprocess.PIPE)
        assert manager.recv(100) == b"READY=1"
    os.unlink(address)
    before = world.inspect("web")["pid"]
    os.kill(before, signal.SIGKILL)
    poll_until(lambda: world.inspect("web")["pid"] not in (0, before), what="its policy starts it again")
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    poll_until(lambda: "ready" in world.ok("logs", "web"))
    assert process.poll() is None
    world.ok("restart", "-t", "0", "web")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    world.ok("stop", "web")
    assert process.wait(60) == 4
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_start_that_fails_is_told_and_stops_no_other(own_world: World) -> None:
    world = own_world
    world.ok("create", "--name", "broken", "--onboot", "yes", "--boot-order", "1", IMAGE, "no-such-command")
    world.ok("create", "--name", "web", "--onboot", "yes", IMAGE, *QUICK)
    result = world.cli("service", "boot")
    assert (result.exit_code, result.stdout) == (1, "web\n")
    assert "broken: cannot start" in result.stderr
    assert statuses(world) == {"broken": "stopped", "web": "running"}
    assert world.inspect("broken")["warnings"][0].startswith("the start at boot failed")


def test_what_ended_by_itself_does_not_come_back(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "job", "--onboot", "last", IMAGE, "true")
    world.wait_for_status("job", "stopped")
    note = Path(world.paths.container_dir(world.inspect("job")["id"]), "running.json")
    poll_until(lambda: not note.exists(), timeout_seconds=20, what="its end is noted")
    assert service(world, "boot") == []
