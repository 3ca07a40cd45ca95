"""AppArmor around a container: who is confined, by what, and what that forbids."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = [pytest.mark.vm, pytest.mark.requires("apparmor")]

OWN = "pct-own-profile"
OWN_TEXT = f"profile {OWN} flags=(attach_disconnected) {{ file, capability, network, signal, deny /tmp/forbidden w, }}"


def parser(option: str, text: str) -> None:
    subprocess.run(["apparmor_parser", option, "--skip-cache", "--quiet"], input=text, text=True, check=True)


@pytest.fixture
def own_profile() -> Iterator[str]:
    """A profile as an administrator would load it."""
    parser("--replace", OWN_TEXT)
    yield OWN
    parser("--remove", OWN_TEXT)


def running(world: World, *options: str) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, IMAGE, "payload", "sleep", "0")
    return name


def label(pid: int) -> str:
    with open(f"/proc/{pid}/attr/apparmor/current") as file:
        return file.read().strip()


def test_who_is_confined(world: World) -> None:
    """Init, the reaper if there is one, what it bears, and what joins: all in the same profile."""
    for options, count, expected in (
        ((), 2, "pycontainer-app (enforce)"),
        (("--init",), 3, "pycontainer-app (enforce)"),
        (("--profile", "system", "--init"), 3, "pycontainer-system (enforce)"),
        (("-u", "1000", "--security-opt", "apparmor=pycontainer-system"), 2, "pycontainer-system (enforce)"),
        (("--security-opt", "apparmor=unconfined"), 2, "unconfined"),
        (("--privileged",), 2, "unconfined"),
    ):
        name = running(world, *options)
        session = world.popen("exec", name, "payload", "out", "joined", "sleep", "0")
        assert session.stdout is not None
        assert session.stdout.readline() == b"joined\n"
        pids = [int(row.split()[0]) for row in world.ok("top", name).splitlines()[1:]]
        assert [label(pid) for pid in pids] == [expected] * count, options
        world.ok("rm", "-f", name)
        session.communicate()


def test_a_session_sees_the_same(world: World) -> None:
    name = running(world)
    text = world.ok("exec", name, "cat", "/proc/self/attr/apparmor/current", "/proc/1/attr/apparmor/current")
    assert text.split("\n") == ["pycontainer-app (enforce)"] * 2


def test_the_containers_own_proc_is_not_trusted(world: World) -> None:
    """PS-03, CVE-2019-16884: root inside puts own files where labels are written; what joins is confined all the same."""
    script = """mount -t tmpfs none /proc && mkdir -p /proc/self/attr/apparmor /proc/thread-self/attr/apparmor
    touch /proc/self/attr/apparmor/exec /proc/self/attr/exec && echo covered && exec sleep 1000"""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", "system", IMAGE, "sh", "-c", script)
    poll_until(lambda: "covered" in world.ok("logs", name), what="its /proc is covered")
    session = world.popen("exec", name, "payload", "out", "joined", "sleep", "0")
    assert session.stdout is not None
    assert session.stdout.readline() == b"joined\n"
    pids = [int(row.split()[0]) for row in world.ok("top", name).splitlines()[1:]]
    assert [label(pid) for pid in pids] == ["pycontainer-system (enforce)"] * 2
    assert world.ok("exec", name, "cat", "/proc/self/attr/apparmor/exec") == ""
    world.ok("rm", "-f", name)
    session.communicate()


def test_the_profile_forbids_what_the_capability_would_allow(world: World) -> None:
    """Everything else that stands in the way is taken off: what is left is the profile."""
    options: tuple[str, ...] = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    script = "mount -t tmpfs none /mnt && echo mounted || echo refused"
    assert world.cli("run", "--rm", *options, IMAGE, "sh", "-c", f"mkdir -p /mnt; {script}").stdout == "refused\n"
    options = (*options, "--security-opt", "apparmor=unconfined")
    assert world.cli("run", "--rm", *options, IMAGE, "sh", "-c", f"mkdir -p /mnt; {script}").stdout == "mounted\n"


def test_the_profile_guards_the_kernels_files(world: World) -> None:
    """PS-01: the paths alone decide. Root of an instance covers them with something that it could write to."""
    script = """for path in /proc/sys/kernel /proc/sys/net /sys/kernel /sys/fs/cgroup; do
    mount -t tmpfs none $path && echo x 2>/dev/null >$path/x && echo $path; done; true"""
    own = ["/proc/sys/net", "/sys/fs/cgroup"]
    assert world.ok("run", "--rm", "--profile", "system", IMAGE, "sh", "-c", script).split("\n") == own
    options = ("--profile", "system", "--security-opt", "apparmor=unconfined")
    every = ["/proc/sys/kernel", "/proc/sys/net", "/sys/kernel", "/sys/fs/cgroup"]
    assert world.ok("run", "--rm", *options, IMAGE, "sh", "-c", script).split("\n") == every


def test_a_system_has_its_network_and_its_mounts(world: World) -> None:
    """The profile leaves an instance what belongs to it."""
    script = """echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward
    mkdir -p /mnt/a && mount -t tmpfs none /mnt && mkdir /mnt/b && mount --bind /mnt/b /mnt && umount /mnt && umount /mnt
    (sleep 9 & kill $!) && echo well"""
    assert world.ok("run", "--rm", "--profile", "system", IMAGE, "sh", "-ec", script).split("\n") == ["1", "well"]


def test_own_profile(world: World, own_profile: str) -> None:
    script = "echo x >/tmp/allowed; echo x >/tmp/forbidden || true; ls /tmp"
    name = unique_name()
    world.ok("create", "--name", name, "--security-opt", f"apparmor={own_profile}", IMAGE, "sh", "-c", script)
    result = world.cli("start", "-a", name)
    assert result.stdout == "allowed\n"
    assert "Permission denied" in result.stderr


def test_a_profile_that_is_not_there_is_refused(world: World) -> None:
    options = ("--security-opt", "apparmor=no-such-profile")
    assert "AppArmor profile 'no-such-profile' is not loaded" in world.refused(6, "create", *options, IMAGE, "true")


def test_a_profile_that_goes_ends_the_start(world: World, own_profile: str) -> None:
    """No silent wall: what is asked for and gone meanwhile is refused, at the start and in a session."""
    name = running(world, "--security-opt", f"apparmor={own_profile}")
    assert label(world.inspect(name)["pid"]) == f"{OWN} (enforce)"
    parser("--remove", OWN_TEXT)
    result = world.cli("exec", name, "true")
    assert result.exit_code == 125
    assert f"label 'exec {OWN}'" in result.stderr
    world.ok("stop", "-t", "0", name)
    assert "is not loaded" in world.refused(6, "start", name)
    parser("--replace", OWN_TEXT)  # for the fixture


def test_our_profile_is_loaded_again(world: World) -> None:
    """Unloaded, or replaced by another text of the same name: the next start has ours."""
    looser = "profile pycontainer-app flags=(attach_disconnected) { file, capability, network, signal, mount, umount, }"
    options = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    script = "mkdir -p /mnt; mount -t tmpfs none /mnt && echo mounted || echo refused"
    for option in ("--remove", "--replace"):
        parser(option, looser)
        assert world.cli("run", "--rm", *options, IMAGE, "sh", "-c", script).stdout == "refused\n", option
        assert world.ok("run", "--rm", IMAGE, "cat", "/proc/self/attr/apparmor/current") == "pycontainer-app (enforce)"


def test_unconfined_is_marked(world: World) -> None:
    name = running(world, "--security-opt", "apparmor=unconfined")
    assert world.inspect(name)["security"]["loosened"] == ["--security-opt apparmor=unconfined"]
    line = next(line for line in world.ok("ps").splitlines() if name in line)
    assert "!" in line
    other = running(world)
    assert world.inspect(other)["security"]["label"] == "apparmor: pycontainer-app"
    assert "!" not in next(line for line in world.ok("ps").splitlines() if other in line)


def test_own_label_cannot_be_left(world: World) -> None:
    """Root inside asks for another label, at once and for the next program."""
    script = """echo changeprofile unconfined >/proc/self/attr/apparmor/current
    echo exec unconfined >/proc/self/attr/apparmor/exec; cat /proc/self/attr/apparmor/current"""
    for profile in ("app", "system"):
        result = world.cli("run", "--rm", "--profile", profile, IMAGE, "sh", "-c", script)
        assert result.stdout == f"pycontainer-{profile} (enforce)\n"


def test_nothing_of_the_hosts_procfs_goes_along(world: World) -> None:
    """FD-01, CVE-2024-21626: the descriptor that the label was written through is gone in the program."""
    name = running(world)
    for text in (world.ok("run", "--rm", IMAGE, "payload", "fds"), world.ok("exec", name, "payload", "fds")):
        assert {line.split()[0] for line in text.split("\n")} == {"0", "1", "2"}
