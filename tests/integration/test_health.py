"""Checks that ask containers how they are, what follows, and what a container can do to who asks."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import IMAGE
from tests.integration.test_oom import Listener
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

OFTEN = ("--health-interval", "1s", "--health-retries", "2")
UP_WHILE_THERE = ("sh", "-c", "touch /up; payload sleep 0")  # healthy as long as /up is there
SERVE = ("sh", "-c", "mkdir -p /www; echo fine > /www/up; exec httpd -f -h /www -p ${WHERE:-80}")


def started(world: World, *options: str, command: tuple[str, ...] = UP_WHILE_THERE) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, IMAGE, *command)
    return name


def health(world: World, name: str) -> str:
    return str(world.inspect(name)["health"])


def wait_for_health(world: World, name: str, *statuses: str, timeout_seconds: float = 20) -> dict[str, Any]:
    """Wait until it is one of these, and return the record of then."""

    def look() -> dict[str, Any] | None:
        record = world.inspect(name)
        return record if record["health"] in statuses else None

    found = poll_until(look, timeout_seconds=timeout_seconds, interval_seconds=0.1, what=f"{name} is {statuses}")
    assert found is not None
    return found


def outputs(record: dict[str, Any]) -> list[str]:
    return [str(one["output"]) for one in record["health_check"]["log"]]


def last_output(record: dict[str, Any]) -> str:
    return outputs(record)[-1]


# -- what is asked


@pytest.mark.vm
def test_a_command(world: World) -> None:
    listener = Listener(world)
    starting = ("--health-start-period", "1h", "--health-start-interval", "1s")
    name = started(world, "--health-cmd", "ls /good /etc/hostname", *starting, *OFTEN)
    assert health(world, name) == "starting"
    world.ok("exec", name, "touch", "/good")
    record = wait_for_health(world, name, "healthy")
    assert last_output(record) == "/etc/hostname\n/good"
    assert record["health_check"]["check"] == "command /bin/sh -c ls /good /etc/hostname"
    assert "(healthy)" in world.ok("ps", "--filter", f"name={name}")
    world.ok("exec", name, "rm", "/good")
    record = wait_for_health(world, name, "unhealthy")
    assert last_output(record) == "exit code 1: ls: /good: No such file or directory\n/etc/hostname"
    assert record["status"] == "running" and record["restart_count"] == 0, "without an action nothing follows"
    assert world.ok("ps", "-q", "--filter", "health=unhealthy") == record["id"]
    assert listener.first("health", name)["status"] == "healthy"
    poll_until(lambda: [e["status"] for e in listener.events if e["type"] == "health"] == ["healthy", "unhealthy"])
    world.ok("exec", name, "touch", "/good")
    wait_for_health(world, name, "healthy")


def test_a_command_has_the_container_s_user_and_walls(world: World) -> None:
    command = '["sh", "-c", "id -u; grep -E ^CapBnd: /proc/self/status; echo $NOTIFY_SOCKET"]'
    (Path(world.root) / "spec.yaml").write_text(
        f"image: {IMAGE}\ncommand: [payload, sleep, 0]\nhealth_cmd: {command}\n"
    )
    name = unique_name()
    world.ok("run", "-d", "-f", f"{world.root}/spec.yaml", "--name", name, "--user", "33", "--cap-drop", "ALL", *OFTEN)
    os.unlink(f"{world.root}/spec.yaml")
    assert last_output(wait_for_health(world, name, "healthy")).split() == ["33", "CapBnd:", "0" * 16]


def test_a_program_that_is_not_there(world: World) -> None:
    name = started(world, "--health-cmd", "/no/such/program", *OFTEN)
    assert "not found" in last_output(wait_for_health(world, name, "unhealthy"))


def test_http(world: World) -> None:
    name = started(world, "--health-http", "8080/up", "-e", "WHERE=8080", *OFTEN, command=SERVE)
    assert last_output(wait_for_health(world, name, "healthy")) == "127.0.0.1:8080/up: status 200"
    world.ok("exec", name, "rm", "/www/up")
    assert last_output(wait_for_health(world, name, "unhealthy")) == "127.0.0.1:8080/up: status 404"


@pytest.mark.parametrize("network", ["none", "default"])
def test_tcp(world: World, network: str) -> None:
    name = started(world, "--health-tcp", "80", "--network", network, *OFTEN, command=SERVE)
    assert last_output(wait_for_health(world, name, "healthy")) == "127.0.0.1:80: connected"


def test_a_server_on_one_address_alone(world: World) -> None:
    command = ("sh", "-c", "mkdir /www; echo > /www/up; exec httpd -f -h /www -p $(hostname -i | cut -d' ' -f1):80")
    name = started(world, "--health-http", "80/up", *OFTEN, command=command)
    record = wait_for_health(world, name, "healthy")
    assert last_output(record) == f"{record['networks']['default']['ip']}:80/up: status 200"


def test_nobody_listens(world: World) -> None:
    name = started(world, "--health-tcp", "81", *OFTEN)
    assert last_output(wait_for_health(world, name, "unhealthy")) == "nobody listens on port 81 inside"


def test_the_image_s_check_is_the_default(world: World, busybox_rootfs: str) -> None:
    check = {"test": ["CMD-SHELL", "test -e /up"], "interval_seconds": 0.001, "retries": 1}
    with world.client() as host:
        host.import_image(busybox_rootfs, "checked", config={"healthcheck": check})
        try:
            own, none = unique_name(), unique_name()
            world.ok("run", "-d", "--name", own, "checked", *UP_WHILE_THERE)
            world.ok("run", "-d", "--name", none, "--health-cmd", "none", "checked", *UP_WHILE_THERE)
            record = wait_for_health(world, own, "healthy")
            assert record["health_check"]["interval_seconds"] == 1, "whatever an image asks for"
            assert health(world, none) == ""
        finally:
            world.ok("rm", "-f", own, none)
            world.ok("image", "rm", "checked")


def test_settings_change_while_it_runs(world: World) -> None:
    name = started(world, "--health-cmd", "false", "--health-interval", "1h")
    world.ok("set", "--health-tcp", "80", "--health-interval", "1s", "--health-retries", "1", name)
    assert last_output(wait_for_health(world, name, "unhealthy")) == "nobody listens on port 80 inside"
    world.ok("set", "--health-cmd", "none", name)
    assert health(world, name) == ""
    assert world.inspect(name)["health_check"]["check"] is None


def test_a_paused_container_is_not_asked(world: World) -> None:
    name = started(world, "--health-cmd", "true", "--health-interval", "1s", "--health-retries", "1")
    other = started(world, "--health-cmd", "true", "--health-interval", "1s", "--health-retries", "1")
    wait_for_health(world, name, "healthy")
    world.ok("pause", name)
    asked = len(world.inspect(name)["health_check"]["log"])
    poll_until(lambda: len(world.inspect(other)["health_check"]["log"]) == 5, timeout_seconds=20)
    record = world.inspect(name)
    assert record["health"] == "healthy" and len(record["health_check"]["log"]) == asked
    assert "(healthy, paused)" in world.ok("ps", "--filter", f"name={name}")
    world.ok("unpause", name)
    poll_until(lambda: len(world.inspect(name)["health_check"]["log"]) > asked, timeout_seconds=20)


# -- what follows


def test_restart(world: World) -> None:
    """Also without a policy; the cause is told, and the new run is asked anew."""
    listener = Listener(world)
    name = started(world, "--health-cmd", "test -e /up", "--health-action", "restart", *OFTEN)
    wait_for_health(world, name, "healthy")
    before = world.inspect(name)["pid"]
    world.ok("exec", name, "rm", "/up")
    poll_until(
        lambda: world.inspect(name)["pid"] not in (0, before),
        timeout_seconds=40,
        interval_seconds=0.2,
        what="a new run",
    )
    wait_for_health(world, name, "healthy")
    assert listener.first("die", name)["cause"] == "health"
    assert listener.first("restarting", name)["cause"] == "health"
    assert world.inspect(name)["restart_count"] == 1


def test_a_restart_is_given_up_where_it_never_gets_well(world: World) -> None:
    """Back-off and limit hold for a run that we end as for one that ends by itself."""
    listener = Listener(world)
    options = (
        "--health-cmd",
        "false",
        "--health-action",
        "restart",
        "--health-interval",
        "1s",
        "--health-retries",
        "1",
    )
    name = started(world, *options, "--restart", "on-failure:2", "--stop-timeout", "0")
    world.wait_for_status(name, "stopped", timeout_seconds=60)
    record = world.inspect(name)
    assert (record["cause"], record["restart_count"]) == ("health", 2)
    assert record["warnings"] == ["given up after 2 restarts in a row: health"]
    assert listener.first("restart-given-up", name)["restarts"] == 2
    delays = [event["delay_seconds"] for event in listener.events if event["type"] == "restarting"]
    assert delays == pytest.approx([0.1, 0.2])
    assert "unhealthy)" in world.ok("ps", "-a", "--filter", f"name={name}")


def test_stop(world: World) -> None:
    options = ("--health-cmd", "false", "--health-action", "stop", *OFTEN)
    name = started(world, *options, "--restart", "always", "--stop-timeout", "0")
    world.wait_for_status(name, "stopped", timeout_seconds=40)
    record = world.inspect(name)
    assert (record["cause"], record["restart_count"], record["health"]) == ("health", 0, "")


# -- what a container can do to who asks


def processes(world: World, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.ok("top", name, "--format", "json"))
    return found


def test_a_command_that_hangs_ends_with_its_children(world: World) -> None:
    """RES-04: of fifty checks that hang one process at a time is there, and none in the end."""
    name = started(world, "--health-cmd", "sleep 1001 & sleep 1002", "--init", "--health-timeout", "1s", *OFTEN)
    record = wait_for_health(world, name, "unhealthy", timeout_seconds=30)
    assert last_output(record) == "no answer within 1 seconds"
    assert len([row for row in processes(world, name) if row["command"] == "sleep 1001"]) <= 1
    world.ok("set", "--health-cmd", "none", name)
    poll_until(lambda: not [row for row in processes(world, name) if "sleep 100" in row["command"]])


def test_a_command_that_never_stops_writing(world: World) -> None:
    name = started(world, "--health-cmd", "yes 0123456789abcde", "--health-timeout", "2s", *OFTEN)
    record = wait_for_health(world, name, "unhealthy", timeout_seconds=30)
    assert last_output(record) == "no answer within 2 seconds"
    world.ok("set", "--health-cmd", "head -c 9000 /dev/zero | tr '\\0' x", "--health-timeout", "10s", name)
    assert last_output(wait_for_health(world, name, "healthy")) == "x" * 4096


def test_servers_that_are_up_to_no_good(world: World) -> None:
    """One that says nothing, one that never ends, one that speaks another protocol; nobody else waits for them."""
    loop = "while :; do nc -l -p 80 -e sh -c '{}'; done"
    options = ("--health-http", "80/", "--health-timeout", "2s", *OFTEN)
    silent = started(world, *options, command=("sh", "-c", loop.format("sleep 1000")))
    endless = started(world, *options, command=("sh", "-c", loop.format("exec yes")))
    drop_by_drop = started(world, *options, command=("sh", "-c", loop.format("while :; do printf H; sleep 0.2; done")))
    late = started(world, *options, command=("sh", "-c", loop.format('printf "HTTP/1.1 200 OK\\r\\n"; exec yes')))
    good = started(world, *options, command=("sh", "-c", "exec httpd -f -h /etc"))
    expected = {
        silent: "no answer within 2 seconds",
        drop_by_drop: "no answer within 2 seconds",
        endless: "127.0.0.1:80/: the answer does not begin with a line of HTTP",
        good: "127.0.0.1:80/: status 404",
    }
    for name, output in expected.items():  # between two clients nc does not listen
        assert output in outputs(wait_for_health(world, name, "unhealthy", timeout_seconds=40))
    poll_until(lambda: "127.0.0.1:80/: status 200" in outputs(world.inspect(late)))


def test_what_a_check_takes_of_the_supervisor_comes_back(world: World) -> None:
    """RES-04: descriptors after twenty checks of each kind, some of which hang, are what they were before."""

    def fds() -> int:
        return len(os.listdir(f"/proc/{world.supervisor_pid()}/fd"))

    names = [started(world, "--health-interval", "1h", command=SERVE) for _ in range(3)]
    world.ok("ps")
    before = fds()
    for name, option in zip(
        names, (("--health-cmd", "sleep 100"), ("--health-tcp", "80"), ("--health-http", "80/up")), strict=True
    ):
        world.ok("set", *option, "--health-interval", "1s", "--health-timeout", "1s", name)
    for name in names:
        poll_until(lambda name=name: len(world.inspect(name)["health_check"]["log"]) == 5, timeout_seconds=60)  # type: ignore[misc]
    for name in names:
        world.ok("set", "--health-cmd", "none", name)
    poll_until(lambda: fds() == before, what=f"{before} descriptors, now {fds()}")


def test_over_the_death_of_the_supervisor(own_world: World) -> None:
    """FLT-03: what it knew goes on, and what it was asking is ended."""
    world = own_world
    name = started(
        world, "--health-cmd", "test -e /slow && sleep 1003; test -e /up", "--init", "--health-timeout", "3s", *OFTEN
    )
    wait_for_health(world, name, "healthy")
    world.ok("exec", name, "touch", "/slow")
    (pid,) = poll_until(lambda: [row["pid"] for row in processes(world, name) if row["command"] == "sleep 1003"])
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    assert health(world, name) == "healthy"
    world.ok("exec", name, "rm", "/slow", "/up")
    poll_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the hanging check is gone")
    wait_for_health(world, name, "unhealthy")


def test_stop_of_one_that_waits_for_its_next_start_and_goes_with_its_end(own_world: World) -> None:
    """--rm, ended because of its health: it would be started again, and is stopped before that."""
    world = own_world
    check = ("--health-cmd", "false", "--health-interval", "1s", "--health-retries", "1", "--health-action", "restart")
    world.ok("run", "-d", "--rm", "--name", "ill", *check, "--stop-timeout", "0", IMAGE, "payload", "sleep", "0")
    poll_until(lambda: world.inspect("ill")["restart_count"] >= 3, timeout_seconds=40)  # by now it waits for 0.8 s
    poll_until(lambda: world.inspect("ill")["status"] == "restarting", timeout_seconds=20)
    world.ok("stop", "ill")
    poll_until(lambda: "ill" not in world.ok("ps", "--all"), what="it is gone")
