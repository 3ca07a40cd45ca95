"""Which devices a container may use: next to none, and what it is granted, whatever happens around it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.devices import (
    BASICS,
    FORBIDDEN,
    HARMLESS,
    cgroup_of,
    check_grant,
    loop_device,
    make_nodes,
    opened_in,
    policy,
    rule,
    running,
)
from tests.support.images import copy_rootfs
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    with loop_device(str(tmp_path)) as path:
        yield path


@pytest.mark.parametrize("options", [(), ("--profile", "system"), ("--privileged",)])
def test_only_the_harmless_ones_open(world: World, tmp_path: Path, options: tuple[str, ...]) -> None:
    """DEV-01, by the policy alone: root of the host, with nodes of its own, in the container's cgroup."""
    name = running(world, *options)
    assert policy(world, name) == BASICS
    forbidden, harmless = make_nodes(str(tmp_path), FORBIDDEN), make_nodes(str(tmp_path), HARMLESS)
    directory = cgroup_of(world, name)
    assert opened_in(directory, [(path, os.O_RDONLY) for path in forbidden]) == ["EPERM"] * len(forbidden)
    assert opened_in(directory, [(path, os.O_WRONLY) for path in forbidden]) == ["EPERM"] * len(forbidden)
    found = dict(zip(harmless.values(), opened_in(directory, [(path, os.O_RDWR) for path in harmless]), strict=True))
    assert found.pop(("c", 5, 0)) in ("ok", "ENXIO")  # allowed, but there may be no terminal
    assert found.pop(("c", 5, 2)) == "ENOENT"  # allowed, but no devpts is beside the node
    assert set(found.values()) == {"ok"}


def test_no_node_can_be_made_inside(world: World) -> None:
    """DEV-01, as root inside with all that a container can be given."""
    nodes = " ".join(f"{kind}:{major}:{minor}" for kind, major, minor in (*FORBIDDEN, *HARMLESS))
    script = f"""for d in / /tmp /dev /dev/shm /run /var; do for n in {nodes}; do IFS=:; set -- $n; unset IFS
        mknod $d/n $1 $2 $3 2>/dev/null && {{ echo made $d $n; payload open $d/n; rm $d/n; }}; done; done; echo end"""
    assert world.ok("run", "--rm", "--privileged", "--profile", "system", IMAGE, "sh", "-c", script) == "end"


def test_what_is_in_dev_opens(world: World) -> None:
    """DEV-01"""
    paths = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "ptmx", "pts/ptmx")]
    verbs = [word for path in paths for word in ("open", path, "write", path)]
    shown = world.ok("run", "--rm", IMAGE, "payload", *verbs).splitlines()
    assert shown == [f"{path}: ok" for path in paths for _ in range(2)]
    with_terminal = world.ok("run", "--rm", "-t", IMAGE, "payload", "open", "/dev/tty", "write", "/dev/pts/0")
    assert with_terminal.split() == ["/dev/tty:", "ok", "/dev/pts/0:", "ok"]


def test_what_overlayfs_makes_is_no_device(world: World) -> None:
    """A deleted file of the image is the node 0:0 in the upper layer, made by the container's own process."""
    script = (
        "rm /bin/vi && mv /bin/dd /bin/other && mkdir /bin/dd && ls -d /bin/dd /bin/other /bin/vi 2>/dev/null; true"
    )
    assert world.ok("run", "--rm", IMAGE, "sh", "-c", script) == "/bin/dd\n/bin/other"


def test_nodes_of_an_image_and_of_a_volume_do_not_open(world: World, busybox_rootfs: str, tmp_path: Path) -> None:
    """DEV-02"""
    nodes = [("b", 8, 0), ("b", 7, 0), ("c", 1, 1), ("c", 1, 11), ("c", 10, 200), ("c", 1, 3)]
    rootfs = copy_rootfs(busybox_rootfs, f"{tmp_path}/rootfs")
    os.mkdir(f"{tmp_path}/bind")
    world.ok("run", "--rm", "-v", "nodes:/volume", IMAGE, "true")
    (volume,) = (path for path in Path(world.paths.volumes_dir).iterdir() if path.name.startswith("nodes"))
    data = volume / "data" if (volume / "data").is_dir() else volume
    for directory in (f"{rootfs}/opt", f"{tmp_path}/bind", str(data)):
        os.makedirs(directory, exist_ok=True)
        make_nodes(directory, nodes)
    os.makedirs(f"{rootfs}/dev", exist_ok=True)
    make_nodes(f"{rootfs}/dev", nodes)
    names = [f"{kind}-{major}-{minor}" for kind, major, minor in nodes]
    places = [f"{place}/{name}" for place in ("/opt", "/volume", "/bind") for name in names]
    verbs = [word for place in places for word in ("open", place)]
    options = ("-v", "nodes:/volume", "-v", f"{tmp_path}/bind:/bind", "--privileged", "--rootfs", rootfs)
    assert world.ok("run", "--rm", *options, "payload", *verbs).splitlines() == [f"{p}: EACCES" for p in places]
    assert not set(names) & set(world.ok("run", "--rm", "--rootfs", rootfs, "ls", "/dev").split())


def test_an_import_drops_device_nodes(world: World, busybox_rootfs: str, tmp_path: Path) -> None:
    """DEV-02"""
    rootfs = copy_rootfs(busybox_rootfs, f"{tmp_path}/rootfs")
    make_nodes(f"{rootfs}/opt" if os.path.isdir(f"{rootfs}/opt") else rootfs, [("c", 1, 11), ("b", 8, 0)])
    subprocess.run(["tar", "-C", rootfs, "-cf", f"{tmp_path}/nodes.tar", "."], check=True)
    try:
        world.ok("image", "import", f"{tmp_path}/nodes.tar", "with-nodes")
        script = "find / -xdev -type b -o -xdev -type c"
        assert world.ok("run", "--rm", "with-nodes", "sh", "-c", script) == ""
    finally:
        world.ok("image", "rm", "with-nodes")


def test_a_restart_by_policy_keeps_the_grant(world: World, device: str) -> None:
    """DEV-03"""
    name = unique_name()
    script = "payload write /dev/xvda open /dev/xvda; sleep 0.2; exit 1"
    options = ("--restart", "on-failure:1", "--device", f"{device}:/dev/xvda:r")
    world.ok("run", "-d", "--name", name, *options, IMAGE, "sh", "-c", script)
    expected = "/dev/xvda: EPERM\n/dev/xvda: ok\n"
    poll_until(lambda: world.ok("logs", name) + "\n" == expected * 2, what="both runs")


def test_all_access_with_the_nodes_own_permissions(world: World, device: str) -> None:
    """The node is the container's: the host's owner and mode, as numbers inside."""
    found = os.stat(device)
    script = "stat -c '%a %u %g' /dev/disks/one; payload write /dev/disks/one; umount /dev/disks/one 2>&1 | wc -l"
    shown = world.ok("run", "--rm", "--device", f"{device}:/dev/disks/one", IMAGE, "sh", "-c", script).split("\n")
    assert shown == [f"{found.st_mode & 0o777:o} {found.st_uid} {found.st_gid}", "/dev/disks/one: ok", "1"]
    if not found.st_mode & 0o007:
        options = ("-u", "1000:1000", "--device", f"{device}:/dev/xvda")
        assert world.ok("run", "--rm", *options, IMAGE, "payload", "open", "/dev/xvda") == "/dev/xvda: EACCES"


def test_a_place_outside_of_dev_and_one_that_is_taken(world: World, device: str) -> None:
    options = ("--device", f"{device}:/srv/disk:rw", "--device", f"{device}:/dev/null:r")
    script = "payload write /srv/disk open /dev/null; ls -A /dev | grep granted; true"
    assert world.ok("run", "--rm", *options, IMAGE, "sh", "-c", script) == "/srv/disk: ok\n/dev/null: ok"


@pytest.mark.requires("tun")
def test_tun_for_one_alone(world: World) -> None:
    """DEV-03"""
    options = ("--device", "/dev/net/tun:rw", "--cap-add", "NET_ADMIN")
    assert world.ok("run", "--rm", *options, IMAGE, "payload", "write", "/dev/net/tun") == "/dev/net/tun: ok"
    other = running(world, "--cap-add", "NET_ADMIN")
    assert world.ok("exec", other, "payload", "open", "/dev/net/tun") == "/dev/net/tun: ENOENT"
    assert opened_in(cgroup_of(world, other), [("/dev/net/tun", os.O_RDWR)]) == ["EPERM"]


def test_what_cannot_be_granted_is_said(world: World) -> None:
    refused = world.refused(125, "run", "--rm", "--device", "/dev/no-such", IMAGE, "true")
    assert "device '/dev/no-such' does not exist on this host" in refused
    refused = world.refused(125, "run", "--rm", "--device", "/etc/passwd:/dev/x", IMAGE, "true")
    assert "'/etc/passwd' is not a device node" in refused


def test_a_device_that_goes_while_it_runs_is_taken_back(world: World, device: str, tmp_path: Path) -> None:
    """Its number may be another's soon; the next `set` looks."""
    link = tmp_path / "by-name"
    link.symlink_to(device)
    name = running(world, "--device", f"{link}:/dev/xvda:r")
    assert policy(world, name) == [*BASICS, rule(device, "r")]
    link.unlink()
    world.ok("set", name, "--memory", "64M")
    assert policy(world, name) == BASICS
    assert world.ok("exec", name, "payload", "open", "/dev/xvda") == "/dev/xvda: EPERM"
    assert f"device '{link}' is gone from this host" in " ".join(world.inspect(name)["warnings"])


def test_containers_of_a_tenant_have_a_policy_each(world: World, device: str) -> None:
    """DEV-03"""
    world.ok("tenant", "create", "acme", "--memory", "200M")
    owner = running(world, "--tenant", "acme", "--device", f"{device}:/dev/xvda:r")
    check_grant(world, owner, running(world, "--tenant", "acme"), device)
    write = ("payload", "write", "/dev/xvda")
    assert world.ok("exec", "--privileged", owner, *write) == "/dev/xvda: EPERM"
