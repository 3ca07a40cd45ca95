"""What a container sees and can reach: only itself."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.images import copy_rootfs
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm

DEFAULT_DEVICES = {
    "console",
    "fd",
    "full",
    "mqueue",
    "null",
    "ptmx",
    "pts",
    "random",
    "shm",
    "stderr",
    "stdin",
    "stdout",
    "tty",
    "urandom",
    "zero",
}


def running(world: World, *options: str, command: tuple[str, ...] = ("payload", "sleep", "0")) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, IMAGE, *command)
    return name


def id_map(pid: int) -> tuple[int, int, int]:
    with open(f"/proc/{pid}/uid_map") as file:
        (line,) = file.read().splitlines()
    inside, outside, count = (int(word) for word in line.split())
    return inside, outside, count


def test_every_namespace_is_its_own(world: World) -> None:
    pid = world.inspect(running(world))["pid"]
    for kind in ("pid", "mnt", "uts", "ipc", "net", "cgroup", "user"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_id_ranges_are_disjoint(world: World) -> None:
    """ESC-04"""
    maps = [id_map(world.inspect(running(world))["pid"]) for _ in range(3)]
    assert all((inside, count) == (0, 65536) for inside, _, count in maps)
    bases = sorted(outside for _, outside, _ in maps)
    assert bases[0] > 65536
    assert all(high - low >= 65536 for low, high in zip(bases, bases[1:], strict=False))


def test_processes_belong_to_the_range(world: World) -> None:
    """ESC-04"""
    pid = world.inspect(running(world, "-u", "1000"))["pid"]
    _, base, _ = id_map(pid)
    assert os.stat(f"/proc/{pid}").st_uid == base + 1000


def test_sees_only_its_own_processes(world: World) -> None:
    text = world.ok("run", "--rm", IMAGE, "sh", "-c", "ls /proc | grep -c '^[0-9]'")
    assert int(text) <= 4


def test_init_has_only_three_descriptors(world: World) -> None:
    """FD-01"""
    made = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(20)]
    name = unique_name()
    try:
        process = world.popen("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0", pass_fds=tuple(made))
        process.communicate(timeout=30)
    finally:
        for fd in made:
            os.close(fd)
    pid = world.inspect(name)["pid"]
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


@pytest.mark.alike
@pytest.mark.parametrize("number", range(3, 12))
def test_workdir_through_a_descriptor_is_refused_or_inside(world: World, number: int) -> None:
    """FD-03"""
    script = "readlink /proc/self/cwd; ls /"
    result = world.cli("run", "--rm", "-w", f"/proc/self/fd/{number}", IMAGE, "sh", "-c", script)
    if result.exit_code == 0:
        assert result.stdout.startswith("/\n") or result.stdout.startswith("/proc/")
    assert "var/tmp/pct" not in result.stdout


@pytest.mark.alike
def test_environment_is_not_the_callers(world: World) -> None:
    """FD-04"""
    foreign = {
        "SSH_AUTH_SOCK": "x",
        "LD_PRELOAD_X": "x",
        "PYTHONPATH": "/x",
        "AWS_SECRET": "x",
        "NOTIFY_SOCKET": "/x",
        "LISTEN_FDS": "1",
    }
    result = world.cli("run", "--rm", IMAGE, "payload", "env", environment=foreign)
    names = {line.partition("=")[0] for line in result.stdout.splitlines()}
    assert names <= {"PATH", "HOME", "HOSTNAME", "TERM", "container"}


def test_capability_sets(world: World) -> None:
    """CAP-01"""
    text = world.ok("run", "--rm", IMAGE, "payload", "caps")
    sets = dict(line.split() for line in text.split("\n"))
    assert sets["CapInh:"] == sets["CapAmb:"] == "0" * 16
    assert sets["CapEff:"] == sets["CapPrm:"] == sets["CapBnd:"]
    forbidden = {
        "SYS_MODULE": 16,
        "SYS_RAWIO": 17,
        "SYS_BOOT": 22,
        "SYS_TIME": 25,
        "MAC_ADMIN": 33,
        "SYSLOG": 34,
        "SYS_ADMIN": 21,
        "BPF": 39,
        "PERFMON": 38,
        "SYS_PTRACE": 19,
    }
    effective = int(sets["CapEff:"], 16)
    assert [name for name, bit in forbidden.items() if effective >> bit & 1] == []


@pytest.mark.parametrize("profile", ["app", "system"])
def test_every_process_has_the_filter(world: World, profile: str) -> None:
    """SEC-03: the reaper of --init, what it bears, and what joins."""
    name = running(world, "--profile", profile, "--init")
    session = world.popen("exec", name, "payload", "out", "joined", "sleep", "0")
    assert session.stdout is not None
    assert session.stdout.readline() == b"joined\n"
    modes = []
    for row in world.ok("top", name).splitlines()[1:]:
        with open(f"/proc/{row.split()[0]}/status") as file:
            modes += [line.split()[1] for line in file if line.startswith("Seccomp:")]
    assert modes == ["2", "2", "2"]
    world.ok("rm", "-f", name)
    session.communicate()


def test_cap_drop_all(world: World) -> None:
    text = world.ok("run", "--rm", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", IMAGE, "payload", "caps")
    sets = dict(line.split() for line in text.split("\n"))
    assert int(sets["CapBnd:"], 16) == int(sets["CapEff:"], 16) == 1 << 10


def test_no_new_privileges_option(world: World) -> None:
    assert "NoNewPrivs:\t1" in world.ok(
        "run", "--rm", "--security-opt", "no-new-privileges", IMAGE, "payload", "caps"
    ).split("\n")


@pytest.mark.alike
@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/swappiness",
        "/proc/sys/fs/file-max",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/power/state",
        "/sys/kernel/uevent_helper",
        "/proc/sys/kernel/hostname_",
        "/proc/kcore",
        "/proc/timer_list",
        "/sys/firmware",
    ],
)
def test_global_files_are_not_writable(world: World, path: str) -> None:
    """PS-01"""
    assert world.ok("run", "--rm", IMAGE, "payload", "write", path) != f"{path}: ok"


def test_masked_files_show_nothing(world: World) -> None:
    for path in ("/proc/kcore", "/proc/timer_list", "/proc/keys"):
        result = world.cli("run", "--rm", IMAGE, "sh", "-c", f"head -c 10 {path} | wc -c")
        assert result.stdout.strip() == "0", path


def test_masks_cannot_be_taken_off(world: World) -> None:
    script = "for m in /proc/kcore /proc/sys /sys /proc/timer_list; do umount $m && echo OFF $m; done 2>/dev/null; true"
    assert "OFF" not in world.ok("run", "--rm", "--cap-add", "SYS_ADMIN", IMAGE, "sh", "-c", script)


def test_devices_are_the_documented_ones(world: World) -> None:
    """DEV-01"""
    assert set(world.ok("run", "--rm", IMAGE, "ls", "/dev").split()) <= DEFAULT_DEVICES
    assert world.ok("run", "--rm", IMAGE, "payload", "write", "/dev/null") == "/dev/null: ok"


def test_no_device_can_be_made(world: World) -> None:
    """DEV-01"""
    numbers = "'1 1' '1 2' '1 11' '8 0' '254 0' '10 200'"
    script = f"for n in {numbers}; do mknod /tmp/n c $n && payload open /tmp/n; rm -f /tmp/n; done; true"
    result = world.cli("run", "--rm", "--cap-add", "MKNOD", IMAGE, "sh", "-c", script)
    assert ": ok" not in result.stdout


def test_device_node_of_the_image_does_not_open(world: World, busybox_rootfs: str) -> None:
    """DEV-02"""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-node-") as directory:
        rootfs = copy_rootfs(busybox_rootfs, f"{directory}/rootfs")
        os.mknod(f"{rootfs}/kmsg", 0o666 | stat.S_IFCHR, os.makedev(1, 11))
        assert world.ok("run", "--rm", "--rootfs", rootfs, "payload", "open", "/kmsg") != "/kmsg: ok"


@pytest.mark.alike
@pytest.mark.parametrize("name", ["null", "console", "ptmx", "fd", "stdout"])
def test_dev_entries_of_the_image_are_not_used(world: World, busybox_rootfs: str, name: str) -> None:
    """PATH-02"""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-dev-") as directory:
        rootfs, canary = copy_rootfs(busybox_rootfs, f"{directory}/rootfs"), f"{directory}/canary"
        with open(canary, "w") as file:
            file.write("untouched")
        status = os.stat(canary)
        if os.path.lexists(f"{rootfs}/dev/{name}"):
            os.unlink(f"{rootfs}/dev/{name}")
        os.symlink(canary, f"{rootfs}/dev/{name}")
        world.ok("run", "--rm", "--rootfs", rootfs, "sh", "-c", f"ls -l /dev/{name}; echo x > /dev/null")
        after = os.stat(canary)
        assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (status.st_uid, status.st_mode, status.st_mtime_ns)


@pytest.mark.alike
@pytest.mark.parametrize("target", ["tmp", "run", "etc/resolv.conf", "etc/hosts", "etc/hostname"])
def test_links_in_the_image_do_not_reach_the_host(world: World, busybox_rootfs: str, target: str) -> None:
    """PATH-01"""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-path-") as directory:
        rootfs, canary = copy_rootfs(busybox_rootfs, f"{directory}/rootfs"), f"{directory}/canary"
        os.mkdir(canary)
        path = f"{rootfs}/{target}"
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.unlink(path)
        os.symlink(canary, path)
        world.cli("run", "--rm", "--rootfs", rootfs, "true")
        assert os.listdir(canary) == []


def test_root_cannot_be_left(world: World) -> None:
    """ESC-08"""
    canary = tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="pct-canary-")  # noqa: SIM115 - closed below
    with canary:
        climb = "/" + "../" * 64 + canary.name.lstrip("/")
        script = f"ls /proc/1/root{canary.name} {climb} /proc/self/root/..{canary.name} 2>/dev/null | wc -l"
        assert world.ok("run", "--rm", IMAGE, "sh", "-c", script) == "0"


def test_mounts_name_nothing_of_the_host(world: World) -> None:
    """ESC-09"""
    text = world.ok("run", "--rm", IMAGE, "cat", "/proc/self/mountinfo")
    assert "shared:" not in text
    assert "pct-image" not in text


def test_unix_sockets_of_the_host_are_not_visible(world: World) -> None:
    """NET-06"""
    text = world.ok("run", "--rm", IMAGE, "cat", "/proc/net/unix")
    assert len(text.split("\n")) == 1


def test_own_program_is_never_reachable(world: World, busybox_rootfs: str) -> None:
    """ESC-05: an image whose command is /proc/self/exe starts nothing of ours."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-exe-") as directory:
        rootfs = copy_rootfs(busybox_rootfs, f"{directory}/rootfs")
        with open(f"{rootfs}/bin/script", "w") as file:
            file.write("#!/proc/self/exe\n")
        os.chmod(f"{rootfs}/bin/script", 0o755)
        for command in ("/proc/self/exe", "/bin/script"):
            result = world.cli("run", "--rm", "--rootfs", rootfs, command)
            assert result.exit_code != 0
            assert result.stdout == ""


def test_setuid_programs_gain_only_root_of_the_container(world: World, busybox_rootfs: str) -> None:
    """CAP-02"""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-suid-") as directory:
        rootfs = copy_rootfs(busybox_rootfs, f"{directory}/rootfs")
        os.chmod(f"{rootfs}/bin/payload", 0o4755)
        command = ("-u", "1000", "--rootfs", rootfs, "payload", "ids")
        shown = world.ok("run", "--rm", "--profile", "system", *command).split("\n")
        assert shown[0] == "Uid:\t1000\t0\t0\t0"
        shown = world.ok("run", "--rm", *command).split("\n")
        assert shown[0] == "Uid:\t1000\t1000\t1000\t1000"


def test_files_of_the_host_are_not_writable_on_its_network(world: World) -> None:
    before = [Path(path).read_text() for path in ("/etc/resolv.conf", "/etc/hosts")]
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        world.cli("run", "--rm", "--network", "host", IMAGE, "sh", "-c", f"echo '# from inside' >> {path}")
    assert [Path(path).read_text() for path in ("/etc/resolv.conf", "/etc/hosts")] == before
    assert world.ok("run", "--rm", "--network", "host", IMAGE, "cat", "/etc/resolv.conf") == before[0].removesuffix(
        "\n"
    )
