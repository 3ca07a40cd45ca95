"""What a container writes is kept: apart, with times, bounded, readable meanwhile."""

import os
import re
import subprocess
import time

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

LOG_LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] .*")


def finished(world: World, *command: str) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, *command)
    world.wait_for_status(name, "stopped", timeout_seconds=60)
    return name


def log_files(world: World, name: str) -> list[str]:
    directory = world.paths.container_dir(world.inspect(name)["id"])
    return sorted(f"{directory}/{file}" for file in os.listdir(directory) if file.startswith("log"))


def test_streams_stay_apart(world: World) -> None:
    name = finished(world, "payload", "out", "one", "err", "two", "out", "three")
    assert world.cli("logs", name) == (0, "one\nthree\n", "two\n")


def test_both_streams_in_one_file_are_in_their_order(world: World) -> None:
    """As far as the monitor saw it: what is written to both within a moment, it reads one after the other."""
    script = (
        "echo one; until [ -e /1 ]; do sleep 0.02; done; echo two >&2; until [ -e /2 ]; do sleep 0.02; done; echo three"
    )
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", script)
    poll_until(lambda: world.cli("logs", name).stdout == "one\n")
    world.ok("exec", name, "touch", "/1")
    poll_until(lambda: world.cli("logs", name).stderr == "two\n")
    world.ok("exec", name, "touch", "/2")
    world.wait_for_status(name, "stopped")
    argv = world.argv("logs", name)
    done = subprocess.run(argv, env=world.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    assert done.stdout == b"one\ntwo\nthree\n"


def test_last_line_without_newline(world: World) -> None:
    name = finished(world, "printf", "a\\nb")
    assert world.cli("logs", name).stdout == "a\nb"


def test_tail(world: World) -> None:
    name = finished(world, "seq", "1", "100")
    assert world.ok("logs", "--tail", "3", name) == "98\n99\n100"
    assert world.ok("logs", "--tail", "0", name) == ""


def test_timestamps(world: World) -> None:
    before = time.time()
    name = finished(world, "payload", "out", "x")
    stamp, text = world.ok("logs", "-t", name).split(" ")
    assert text == "x"
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d{9}Z", stamp)
    assert match
    import calendar

    seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    assert before - 1 <= seconds <= time.time() + 1


def test_since(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "echo old; sleep 3; echo new; exec payload sleep 0")
    poll_until(lambda: world.ok("logs", name) == "old\nnew")
    assert world.ok("logs", "--since", "2s", name) == "new"


def test_follow_ends_with_the_container(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done")
    process = world.popen("logs", "-f", name)
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    assert process.communicate(timeout=30)[0] == b"2\n3\n"
    assert process.returncode == 0


def test_follow_goes_on_over_restarts(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--restart", "on-failure:2", IMAGE, "sh", "-c", "echo run; sleep 1; exit 1")
    process = world.popen("logs", "-f", name)
    assert process.communicate(timeout=60)[0] == b"run\n" * 3
    assert process.returncode == 0


def test_logs_remain_while_running_and_after(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "echo first; exec payload sleep 0")
    poll_until(lambda: world.ok("logs", name) == "first")
    world.ok("stop", "-t", "0", name)
    assert world.ok("logs", name) == "first"


def test_file_format(world: World) -> None:
    name = finished(world, "payload", "out", "one", "err", "two")
    (path,) = log_files(world, name)
    with open(path, "rb") as file:
        lines = file.read().splitlines()
    assert len(lines) == 2
    assert all(LOG_LINE.fullmatch(line) for line in lines), lines


def test_flood_is_bounded_and_the_file_stays_valid(world: World) -> None:
    """RES-05, smaller: 64 MiB without a newline, then many lines; the log keeps its size and its form."""
    name = finished(world, "sh", "-c", "payload flood 65536; seq 1 200000; printf '\\033[31m\\000\\377\\n'; echo end")
    files = log_files(world, name)
    assert len(files) <= 3
    assert sum(os.path.getsize(file) for file in files) <= 3 * 10_000_000 * 1.1 + 65536
    for path in files:
        with open(path, "rb") as file:
            data = file.read()
        assert data.endswith(b"\n")
        assert all(LOG_LINE.fullmatch(line) for line in data[:-1].split(b"\n"))
    assert world.ok("logs", "--tail", "1", name) == "end"


def test_slow_reader_holds_the_container_back_and_a_dead_one_does_not(world: World) -> None:
    """RES-05: who is attached gets everything, so a stopped reader stops the writer; without the reader it goes on."""
    name = unique_name()
    process = world.popen("run", "--name", name, IMAGE, "sh", "-c", "seq 1 200000")
    try:
        poll_until(lambda: world.cli("inspect", name).exit_code == 0, timeout_seconds=20)
        time.sleep(1)
        assert world.status(name) == "running"
    finally:
        process.kill()
        process.communicate()
    world.wait_for_status(name, "stopped", timeout_seconds=30)
    assert world.ok("logs", "--tail", "1", name) == "200000"
