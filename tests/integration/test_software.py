"""Typical software, unchanged, from Debian's packages: what each is for is really asked of it, in both profiles. SEC-05.

app      one program each, as an image would start it: no init, no way to gain rights
system   a Debian that boots: systemd starts what the packages installed
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.requires("debian_mirror")

BOOT_SECONDS = 60
PACKAGES = ("cron", "cron-daemon-common")  # a service, a group, a setgid program, a dependency

PYTHON = """
import concurrent.futures, hashlib, mmap, multiprocessing, os, socket, sqlite3, subprocess, tempfile, threading
with concurrent.futures.ThreadPoolExecutor(8) as threads:
    total = sum(threads.map(lambda n: n * n, range(1000)))
with multiprocessing.get_context("fork").Pool(2) as pool:
    total += sum(pool.map(abs, range(-1000, 0)))
lock = multiprocessing.Lock()  # a semaphore in /dev/shm
with lock, tempfile.TemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as server:
    os.posix_fallocate(file.fileno(), 0, 65536)
    mmap.mmap(file.fileno(), 65536)[:4] = b"text"
    client = socket.create_connection(server.getsockname())
    server.accept()[0].sendall(b"hello")
    total += len(client.recv(5))
total += sqlite3.connect("/tmp/base").execute("select 30 + 7").fetchone()[0]
total += int(subprocess.run(["expr", "1", "+", "1"], capture_output=True, check=True).stdout)
print(total)
"""
PYTHON_SAYS = str(sum(n * n for n in range(1000)) + sum(range(1, 1001)) + 5 + 37 + 2)

NODE = """
const { Worker, isMainThread, parentPort } = require("worker_threads");
const http = require("http"), crypto = require("crypto"), fs = require("fs");
if (!isMainThread) { parentPort.postMessage(6 * 7); } else {
  const server = http.createServer((request, reply) => reply.end("served")).listen(0, "127.0.0.1", async () => {
    const sums = await Promise.all([1, 2, 3, 4].map(() => new Promise(done => new Worker(__filename).on("message", done))));
    const page = await new Promise(done => http.get({ port: server.address().port, host: "127.0.0.1" },
      reply => reply.on("data", data => done(String(data)))));
    const key = await new Promise(done => crypto.scrypt("word", "salt", 32, (error, made) => done(made.length)));
    fs.writeFileSync("/tmp/node", "written");
    console.log(sums.join("+"), page, key, fs.readFileSync("/tmp/node", "utf8"));
    server.close();
  });
}
"""
NODE_SAYS = "42+42+42+42 served 32 written"

JAVA = """
import java.util.concurrent.*;
import java.util.stream.*;
public class Sum {
    public static void main(String[] words) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(16);
        Future<Long> part = threads.submit(() -> LongStream.rangeClosed(1, 1_000_000).sum());
        long total = part.get() + IntStream.range(0, 1000).parallel().sum();
        threads.shutdown();
        byte[][] garbage = new byte[200][];
        for (int n = 0; n < 2000; n++) garbage[n % 200] = new byte[100_000];
        System.out.println(total + " " + (Runtime.getRuntime().maxMemory() >> 20));
    }
}
"""
JAVA_SUM = str(sum(range(1, 1_000_001)) + sum(range(1000)))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory of programs, to be mounted read-only."""
    directory = tmp_path_factory.mktemp("sources")
    for name, text in (("work.py", PYTHON), ("work.js", NODE), ("Sum.java", JAVA)):
        (directory / name).write_text(text)
    directory.chmod(0o755)
    return str(directory)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A repository of packages in a directory: tests' networks do not reach the mirror."""
    directory = tmp_path_factory.mktemp("repository")
    directory.chmod(0o777)  # apt downloads as a user of its own
    subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=directory, check=True, capture_output=True)
    index = ""
    for path in sorted(directory.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        index += f"{control}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n\n"
    (directory / "Packages").write_text(index)
    return str(directory)


@pytest.fixture
def booted(world: World, debian_rootfs: str, sources: str, repository: str) -> Iterator[str]:
    """A Debian that has booted."""
    name = unique_name()
    mounts = ("-v", f"{sources}:/src:ro", "-v", f"{repository}:/repository:ro")
    world.ok("run", "-d", "-t", "--name", name, "--profile", "system", "-m", "700M", *mounts, "--rootfs", debian_rootfs)
    wait_until_up(world, name)
    yield name
    world.ok("rm", "-f", name)


def wait_until_up(world: World, name: str) -> None:
    """Wait for the end of the boot; it must be without a failed unit."""
    state = ""

    def is_up() -> bool:
        nonlocal state
        state = world.cli("exec", name, "systemctl", "is-system-running").stdout.strip()
        return state in ("running", "degraded")

    poll_until(is_up, timeout_seconds=BOOT_SECONDS, interval_seconds=0.2, what=f"{name} has booted")
    failed = world.ok("exec", name, "systemctl", "--failed", "--no-legend", "--plain")
    assert (state, failed) == ("running", "")


def sh(world: World, name: str, script: str, *options: str) -> str:
    return world.ok("exec", *options, name, "sh", "-c", script)


def address_of(world: World, name: str) -> str:
    return str(next(iter(world.inspect(name)["networks"].values()))["ip"])


def run_app(world: World, rootfs: str, *arguments: str) -> str:
    """Start a container of profile app that goes on, and return its name."""
    name = unique_name()
    world.ok(
        "run",
        "-d",
        "--name",
        name,
        *arguments[: arguments.index("--")],
        "--rootfs",
        rootfs,
        *arguments[arguments.index("--") + 1 :],
    )
    return name


# -- one program in a container of its own


@pytest.mark.parametrize(
    "options", [(), ("--read-only", "--tmpfs", "/run", "--tmpfs", "/var/log/nginx", "--tmpfs", "/var/lib/nginx")]
)
def test_app_nginx(world: World, debian_rootfs: str, options: tuple[str, ...]) -> None:
    name = run_app(world, debian_rootfs, *options, "--", "nginx", "-g", "daemon off;")
    page = world.network.inside.http_get_soon(f"http://{address_of(world, name)}/")
    assert "Welcome to nginx" in page
    assert "www-data" not in world.ok("top", name).splitlines()[0]
    assert {line.split()[2] for line in world.ok("top", name).splitlines()[1:]} == {"root", "33"}
    world.ok("stop", name)
    assert world.inspect(name)["exit_code"] == 0


@pytest.mark.parametrize("options", [(), ("--read-only", "--tmpfs", "/run", "--tmpfs", "/tmp", "--tmpfs", "/data")])
def test_app_postgresql(world: World, debian_rootfs: str, options: tuple[str, ...]) -> None:
    if options:  # a database of its own on the tmpfs
        script = "initdb=$(echo /usr/lib/postgresql/*/bin/initdb); $initdb -D /data/db >/dev/null && mkdir -p /run/postgresql"
        script += " && exec ${initdb%initdb}postgres -D /data/db"
        name = run_app(world, debian_rootfs, "-u", "postgres", *options, "--", "sh", "-c", script)
    else:
        script = "set -- $(pg_lsclusters -h); exec pg_ctlcluster $1 $2 start --foreground"
        name = run_app(world, debian_rootfs, "--", "sh", "-c", script)
    ask = ("exec", "-u", "postgres", name, "psql", "-Atc")
    poll_until(lambda: world.cli(*ask, "select 1").stdout == "1\n", timeout_seconds=30, what="the database answers")
    world.ok(*ask, "create table numbers as select generate_series(1, 1000) as n")
    for statement in ("create index on numbers (n)", "vacuum analyze numbers", "checkpoint"):
        world.ok(*ask, statement)
    assert world.ok(*ask, "set max_parallel_workers_per_gather = 2; select sum(n) from numbers").split() == [
        "SET",
        "500500",
    ]
    world.ok("stop", "-t", "20", name)
    assert world.inspect(name)["exit_code"] == 0


@pytest.mark.parametrize("options", [(), ("--read-only", "--tmpfs", "/data")])
def test_app_redis(world: World, debian_rootfs: str, options: tuple[str, ...]) -> None:
    """From its neighbour; a snapshot forks and writes."""
    place = "/data" if options else "/var/lib/redis"
    command = ("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", place)
    name = run_app(world, debian_rootfs, "-u", "redis", *options, "--", *command)
    ask = f"redis-cli -h {address_of(world, name)}"
    script = f"until {ask} ping >/dev/null 2>&1; do sleep 0.1; done; {ask} set key value; {ask} get key; {ask} save"
    assert world.ok("run", "--rm", "--rootfs", debian_rootfs, "sh", "-c", script).split() == ["OK", "value", "OK"]
    assert world.ok("exec", name, "ls", place) == "dump.rdb"
    world.ok("stop", name)
    assert world.inspect(name)["exit_code"] == 0


@pytest.mark.parametrize("options", [(), ("--read-only", "--tmpfs", "/tmp")])
def test_app_languages(world: World, debian_rootfs: str, sources: str, options: tuple[str, ...]) -> None:
    run = ("run", "--rm", "-m", "512M", "-v", f"{sources}:/src:ro", *options, "--rootfs", debian_rootfs)
    assert world.ok(*run, "python3", "/src/work.py") == PYTHON_SAYS
    assert world.ok(*run, "node", "/src/work.js") == NODE_SAYS
    total, heap_mib = world.ok(
        *run, "sh", "-c", "ecj -proc:none -source 11 -d /tmp /src/Sum.java && java -cp /tmp Sum"
    ).split()
    assert total == JAVA_SUM
    assert int(heap_mib) <= 512 // 4, "the JVM sizes its heap by the container's memory"


def test_app_packages(world: World, debian_rootfs: str, repository: str) -> None:
    """As a build of an image does it: apt's own user for downloads, a group, a setgid program."""
    done = world.ok(
        "run",
        "--rm",
        "-v",
        f"{repository}:/repository:ro",
        "--rootfs",
        debian_rootfs,
        "sh",
        "-c",
        INSTALL + "; stat -c %A-%G /usr/bin/crontab",
    )
    assert done.splitlines()[-1] == "-rwxr-sr-x-crontab"


def test_app_gains_no_rights(world: World, debian_rootfs: str) -> None:
    """CAP-02: root may become others; nobody becomes root, and says why."""
    name = run_app(world, debian_rootfs, "--", "sleep", "1000")
    sh(world, name, "useradd -m bob; echo 'bob ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bob")
    assert sh(world, name, "su postgres -c 'id -un'; sudo -u redis id -un; sudo id -un").split() == [
        "postgres",
        "redis",
        "root",
    ]
    refused = world.cli("exec", "-u", "bob", name, "sudo", "id", "-u")
    assert refused.exit_code == 1
    assert "nosuid" in refused.stderr or "no new privileges" in refused.stderr
    assert world.cli("exec", "-u", "bob", name, "su", "-c", "id").exit_code != 0


@pytest.mark.parametrize("profile", ["app", "system"])
def test_ping_of_a_neighbour(world: World, debian_rootfs: str, profile: str) -> None:
    """By root and by others: without raw sockets in app, though Debian 12's ping has a capability in its file."""
    name = run_app(world, debian_rootfs, "--", "sleep", "1000")
    addresses = next(iter(world.inspect(name)["networks"].values()))
    for user in ("0", "1000"):
        for address in (addresses["ip"], addresses["ip6"]):
            run = ("run", "--rm", "--profile", profile, "-u", user, "--rootfs", debian_rootfs)
            assert "1 received" in world.ok(*run, "ping", "-c", "1", "-W", "5", address)


# -- a Debian that boots

INSTALL = """
rm -f /etc/apt/sources.list.d/* /etc/apt/sources.list
echo 'deb [trusted=yes] file:/repository ./' >/etc/apt/sources.list
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null && apt-get install -q -y cron >/dev/null && crontab -l; dpkg -V cron"""


def test_system_boots(world: World, booted: str, debian_rootfs: str) -> None:
    """Nothing has failed; services, journal, timers and logins are there; it stops and starts as asked.

    The recipe's machine id and SSH keys are none; what boots makes its own.
    """
    assert not list(Path(debian_rootfs, "etc/ssh").glob("ssh_host_*"))
    assert Path(debian_rootfs, "etc/machine-id").read_text() == ""
    assert len(sh(world, booted, "cat /etc/machine-id")) == 32
    assert sh(world, booted, "cat /proc/1/comm; systemd-detect-virt; cat /run/systemd/container").split() == [
        "systemd",
        "container-other",
        "pycontainer",
    ]
    active = sh(
        world,
        booted,
        "systemctl is-active systemd-journald systemd-logind dbus nginx redis-server postgresql ssh cron.service",
    )
    assert active.split() == ["active"] * 7 + ["inactive"]
    keys = sh(world, booted, "cat /etc/ssh/ssh_host_*_key.pub")
    assert "ssh-ed25519" in keys
    assert sh(world, booted, "logger from-inside; sleep 0.5; journalctl -b -t root -o cat") == "from-inside"
    poll_until(lambda: "login:" in world.ok("logs", booted), what="a getty, which starts last, asks who is there")
    assert "systemd-tmpfiles-clean.timer" in sh(world, booted, "systemctl list-timers --no-pager")
    ticks = "systemd-run -q --on-active=0.1s --timer-property=AccuracySec=10ms touch /tmp/ticked"
    sh(world, booted, f"{ticks}; until test -e /tmp/ticked; do sleep 0.1; done")
    first = world.inspect(booted)["pid"]
    world.ok("restart", "-t", "30", booted)
    wait_until_up(world, booted)
    assert world.inspect(booted)["pid"] != first
    assert sh(world, booted, "cat /etc/ssh/ssh_host_*_key.pub") == keys
    world.ok("pause", booted)
    world.ok("unpause", booted)
    world.ok("stop", "-t", "30", booted)
    assert world.inspect(booted)["exit_code"] == 0, "it ended by itself, not by SIGKILL"


def test_system_arranges_its_services(world: World, booted: str) -> None:
    """Each in a cgroup of its own, beneath the container's; what joins lands beside the init. PS-04"""
    container_id = world.inspect(booted)["id"]
    line = next(line for line in world.ok("top", booted).splitlines() if "nginx: master" in line)
    where = Path(f"/proc/{line.split()[0]}/cgroup").read_text().splitlines()
    unified = next(each for each in where if each.startswith("0::"))
    assert unified.endswith(f"/{container_id}/payload/system.slice/nginx.service")
    assert sh(world, booted, "tail -1 /proc/self/cgroup") == "0::/init.scope"
    run = "systemd-run -q --wait --pipe -p User=www-data"
    assert sh(world, booted, f"{run} tail -1 /proc/self/cgroup").startswith("0::/system.slice/run-")
    options = "-p PrivateTmp=yes -p ProtectSystem=strict -p PrivateDevices=yes -p ProtectHome=yes -p PrivateNetwork=yes"
    options += " -p ProtectKernelTunables=yes -p ProtectControlGroups=yes -p ProtectProc=invisible -p PrivateUsers=yes"
    assert sh(world, booted, f"{run} {options} echo confined") == "confined"
    run, options = run.replace("User=www-data", "DynamicUser=yes"), f"{options} -p NoNewPrivileges=yes"
    assert sh(world, booted, f"{run} {options} echo confined") == "confined"
    # What an administrator sets for one service wins over ours for all: there are no user namespaces to be had.
    show, override = "systemctl show -P PrivateUsers redis-server", "/etc/systemd/system/redis-server.service.d"
    assert sh(world, booted, show) == "no"
    sh(
        world,
        booted,
        f"mkdir {override}; printf '[Service]\\nPrivateUsers=yes\\n' >{override}/x.conf; systemctl daemon-reload",
    )
    assert sh(world, booted, show) == "yes"
    assert world.cli("exec", booted, "systemctl", "restart", "redis-server").exit_code == 1


def test_system_services_answer(world: World, booted: str) -> None:
    page = world.network.inside.http_get_soon(f"http://{address_of(world, booted)}/")
    assert "Welcome to nginx" in page
    query = "create table numbers as select generate_series(1, 1000) as n; select sum(n) from numbers"
    assert sh(world, booted, f"su postgres -c 'psql -Atqc \"{query}\"'") == "500500"
    assert sh(world, booted, "redis-cli set key value; redis-cli get key; redis-cli save").split() == [
        "OK",
        "value",
        "OK",
    ]
    script = """python3 /src/work.py; node /src/work.js; ecj -proc:none -source 11 -d /tmp /src/Sum.java
    java -cp /tmp Sum | cut -d' ' -f 1"""
    assert sh(world, booted, script).splitlines() == [PYTHON_SAYS, NODE_SAYS, JAVA_SUM]


def test_system_users(world: World, booted: str) -> None:
    """CAP-02: bob becomes root of the instance, by sudo and su, and pings."""
    sh(world, booted, "useradd -m -s /bin/bash bob; echo bob:secret | chpasswd; echo root:secret2 | chpasswd")
    sh(world, booted, "echo 'bob ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bob")
    assert sh(
        world, booted, "sudo id -un; sudo -u postgres id -un; echo secret2 | su -c 'id -un' root", "-u", "bob"
    ).split() == [
        "root",
        "postgres",
        "root",
    ]
    assert "1 received" in sh(world, booted, f"ping -c 1 -W 5 {address_of(world, booted)}", "-u", "bob")
    assert sh(world, booted, "su - bob -c 'id -un; pwd'").split() == ["bob", "/home/bob"]
    uid = int(
        next(
            line
            for line in Path(f"/proc/{world.inspect(booted)['pid']}/status").read_text().splitlines()
            if line.startswith("Uid")
        ).split()[1]
    )
    assert uid >= 65536, "its root is nobody outside"


def test_system_packages(world: World, booted: str) -> None:
    """apt installs a service, systemd starts it, and it does what it is for."""
    assert "no crontab for root" in world.ok("exec", booted, "sh", "-c", f"({INSTALL}) 2>&1")
    assert sh(world, booted, "systemctl is-active cron; systemctl is-enabled cron").split() == ["active", "enabled"]
    sh(world, booted, "useradd -m bob")
    assert (
        sh(world, booted, "echo '@reboot touch /tmp/done' | crontab - && crontab -l", "-u", "bob")
        == "@reboot touch /tmp/done"
    )
    sh(world, booted, "DEBIAN_FRONTEND=noninteractive apt-get purge -q -y cron >/dev/null 2>&1")
    assert sh(world, booted, "dpkg-query -l cron 2>&1 | tail -1 | cut -c1-2").strip() in ("un", "dp")


def test_system_filter_on_every_task(world: World, booted: str) -> None:
    """SEC-03: also on what systemd starts in ways of its own."""
    seen = set()
    for line in world.ok("top", booted).splitlines()[1:]:
        for task in os.scandir(f"/proc/{line.split()[0]}/task"):
            status = dict(each.split(":\t", 1) for each in Path(task.path, "status").read_text().splitlines())
            seen.add(status["Seccomp"])
    assert seen == {"2"}
