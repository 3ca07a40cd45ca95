"""Inside a machine with systemd: it is rebooted, then its power fails, with containers of all kinds on it. FLT-07.

    .venv/bin/python -m tests.vm --systemd --reboots 2 -- .venv/bin/python -m tests.vm.reboot

The command runs in each of the three boots; /disk/phase says which one it is. Nothing but systemd starts what it finds after
the first: `pycontainer generate systemd` made the units, and guest.sh enables those in /disk/units.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pycontainer import Client
from tests.support.images import build_rootfs
from tests.support.poll import poll_until

PHASE, FACTS, UNITS = Path("/disk/phase"), Path("/disk/facts.json"), Path("/disk/units")
PROGRAM = Path(sys.executable).with_name("pycontainer")
STATE = Path("/var/lib/pycontainer")
HALF_MADE = STATE / "containers/0123456789ab"
LOOP = "while :; do sleep 1000 & wait $!; done"
# Each tells when it was asked to end, and when it did.
DB = f"trap 'echo asked $(date +%s); exit 0' TERM; echo up >>/data/boots; {LOOP}"
WEB = (
    f"trap 'sleep 2; echo ended $(date +%s); exit 0' TERM; mkdir /www; echo hi >/www/index.html; httpd -h /www; {LOOP}"
)
PLAIN = f"trap 'exit 0' TERM; {LOOP}"
KEPT = ("db", "web", "plain", "halted")  # whose addresses and ids are compared


def pycontainer(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def systemctl(*arguments: str) -> str:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    with Client() as host:  # a second less than the command takes here
        return host.container(name).inspect()


def statuses() -> dict[str, str]:
    with Client() as host:
        return {each["name"]: each["status"] for each in host.list_containers(all=True)}


def await_unit(name: str, state: str) -> None:
    """Wait, looking seldom: a look takes the processor a fifth of a second, and the unit needs it."""
    poll_until(
        lambda: systemctl("is-active", name) == state, timeout_seconds=60, interval_seconds=1, what=f"{name} is {state}"
    )


def run(name: str, script: str, *options: str) -> None:
    pycontainer("run", "-d", "--name", name, *options, "busybox", "sh", "-c", script)


def facts() -> dict[str, Any]:
    records = {name: inspect(name) for name in KEPT}
    return {name: [record["networks"], record["id_map"]["host_base"]] for name, record in records.items()}


def said(name: str, word: str) -> int:
    """Return the time that a container last told with this word."""
    lines = [line.split() for line in pycontainer("logs", name).splitlines()]
    return int(next(line[1] for line in reversed(lines) if line[0] == word))


def enable(*arguments: str) -> None:
    """Make units, as an administrator would, for now and for the boots to come."""
    pycontainer("generate", "systemd", "--directory", UNITS, *arguments)
    for unit in UNITS.iterdir():
        shutil.copy(unit, "/run/systemd/system")
    systemctl("daemon-reload")


def before() -> None:
    """The first boot: units, and containers of all kinds."""
    UNITS.mkdir()
    enable()
    systemctl("start", "pycontainer-boot.service")
    assert systemctl("is-active", "pycontainer-boot.service") == "active"
    rootfs = os.environ.get("PYCONTAINER_TEST_BUSYBOX") or build_rootfs("/var/tmp/rootfs")
    pycontainer("image", "import", rootfs, "busybox")
    pycontainer("tenant", "create", "acme", "-m", "400M", "--disk", "200M")
    pycontainer("volume", "create", "data", "--size", "20M")
    run("db", DB, "--onboot", "yes", "--boot-order", "1", "--boot-delay", "3s", "--tenant", "acme", "-v", "data:/data")
    run("web", WEB, "--onboot", "last", "--boot-order", "2", "-p", "8080:80", "-m", "50M", "--net-out", "10mbit")
    run("auto", PLAIN, "--restart", "unless-stopped")
    run("plain", PLAIN)
    run("halted", PLAIN, "--onboot", "last")
    run("frozen", PLAIN, "--onboot", "last")
    run("brief", PLAIN, "--rm")
    pycontainer("create", "--name", "fresh", "--onboot", "yes", "busybox", "sh", "-c", PLAIN)
    pycontainer("create", "--name", "own", "busybox", "sh", "-c", PLAIN)
    pycontainer("stop", "halted")
    pycontainer("pause", "frozen")
    enable("own")
    systemctl("start", "container-own.service")
    assert systemctl("is-active", "container-own.service") == "active"
    HALF_MADE.mkdir()
    FACTS.write_text(json.dumps(facts()))
    go_on_with("after")
    systemctl("reboot")


def after() -> None:
    """The second boot: in good order, so that each knows how it ended."""
    await_unit("pycontainer-boot.service", "active")
    await_unit("container-own.service", "active")
    expected = dict.fromkeys(("db", "web", "auto", "frozen", "fresh", "own"), "running")
    expected |= dict.fromkeys(("plain", "halted"), "stopped")
    assert statuses() == expected
    assert inspect("plain")["exit_code"] == 0
    assert inspect("db")["started"] + 3 <= inspect("web")["started"]  # by their order, and the delay
    assert said("web", "ended") <= said("db", "asked")  # and the other way round before
    check_whole(boots=2)
    assert "done before" in subprocess.run([PROGRAM, "service", "boot"], capture_output=True, text=True).stderr
    run("brief", PLAIN, "--rm")
    pycontainer("start", "plain")
    pycontainer("stop", "auto")
    go_on_with("cut")
    time.sleep(1)  # what a stop or a start promises is on the disk by now
    Path("/proc/sysrq-trigger").write_text("b")


def cut() -> None:
    """The third boot: nobody could say anything."""
    await_unit("pycontainer-boot.service", "active")
    await_unit("container-own.service", "active")
    expected = dict.fromkeys(("db", "web", "frozen", "fresh", "own"), "running")
    expected |= dict.fromkeys(("plain", "halted", "auto"), "stopped")
    poll_until(lambda: "brief" not in statuses(), interval_seconds=0.5, what="one that removes itself is gone")
    assert statuses() == expected
    assert inspect("plain")["exit_code"] is None  # nobody knows
    check_whole(boots=3)
    systemctl("stop", "pycontainer-boot.service")
    await_unit("container-own.service", "inactive")  # it ends with its container
    assert set(statuses().values()) == {"stopped"}
    systemctl("stop", "pycontainer.socket", "pycontainer.service")
    await_unit("pycontainer.scope", "inactive")  # it goes with its last process
    assert "pc-" not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert (
        "pycontainer"
        not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    )


def check_whole(boots: int) -> None:
    """Addresses, ids, ports, volumes and limits are what they were, and nothing is left of what was cut off."""
    assert facts() == json.loads(FACTS.read_text())
    with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=30) as answer:
        assert answer.read() == b"hi\n"
    assert pycontainer("exec", "db", "cat", "/data/boots") == "\n".join(["up"] * boots)
    assert Path(
        f"/sys/fs/cgroup/system.slice/pycontainer.scope/pycontainer/{inspect('web')['id']}/memory.max"
    ).read_text() == (f"{50 << 20}\n")
    poll_until(lambda: not HALF_MADE.exists(), what="what was half made is gone")
    found = json.loads(pycontainer("doctor", "--format", "json"))["findings"]
    assert found == [], found
    assert json.loads(Path("/run/pycontainer/boot.json").read_text())["phase"] == "up"


def go_on_with(phase: str) -> None:
    """Note, safe from a loss of power, where the next boot goes on."""
    with open(PHASE, "w", encoding="ascii") as file:
        file.write(phase)
        file.flush()
        os.fsync(file.fileno())


def main() -> int:
    phases: dict[str, Callable[[], None]] = {"before": before, "after": after, "cut": cut}
    name = PHASE.read_text() if PHASE.exists() else "before"
    print(f"{name}: {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}", flush=True)
    try:
        phases[name]()
    except BaseException:
        units = ("pycontainer.service", "pycontainer-boot.service", "container-own.service")
        print(systemctl("status", "--no-pager", "--lines", "20", *units), flush=True)
        print(pycontainer("events", "--since", "0", "--no-follow"), pycontainer("logs", "db"), sep="\n", flush=True)
        raise
    print(f"{name}: done {time.clock_gettime(time.CLOCK_BOOTTIME):.0f} s after the kernel began", flush=True)
    if name != "cut":
        signal.pause()  # until the machine ends
    print("all three boots are as promised", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
