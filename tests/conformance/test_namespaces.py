"""Namespaces: new ones, those of the runtime, and those that are joined by path."""

import fcntl
import os
import stat
from collections.abc import Callable

import pytest

from tests.conformance.holder import Holder
from tests.conformance.runtime import SLEEP, Container

KINDS = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt"}


def links(out: str) -> dict[str, str]:
    return dict(line.split() for line in out.splitlines())


def own(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def test_new_namespaces(container: Container) -> None:
    container.linux["namespaces"].append({"type": "cgroup"})
    found = links(container.output_of("payload", "ns"))
    for kind in (*KINDS.values(), "cgroup"):
        assert found[kind] != own(kind), kind
    assert found["user"] == own("user")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts"])
def test_namespace_that_is_not_asked_for_is_the_runtimes(container: Container, kind: str) -> None:
    container.without_namespace(kind)
    if kind == "uts":
        del container.config["hostname"]
    if kind == "network":  # its sysfs belongs to the host's network
        container.config["mounts"] = [mount for mount in container.config["mounts"] if mount["type"] != "sysfs"]
    found = links(container.output_of("payload", "ns"))
    assert found[KINDS[kind]] == own(KINDS[kind])


def test_pid_namespace_of_the_runtime(container: Container) -> None:
    container.without_namespace("pid")
    assert links(container.output_of("payload", "ns"))["pid"] == own("pid")


@pytest.mark.deviates("runc", "mounts in the runtime's own namespace, and leaves that there", always=False)
@pytest.mark.deviates("crun", "mounts in the runtime's own namespace, and leaves that there", always=False)
@pytest.mark.parametrize("path", ["", "/proc/self/ns/mnt"], ids=["none", "the-runtimes-by-path"])
def test_mount_namespace_of_the_runtime(container: Container, path: str) -> None:
    """The container has its root and its mounts, of which nothing shows, or stays, in the namespace it shares."""
    container.without_namespace("mount")
    if path:
        container.join_namespace("mount", path)
    container.mount("/scratch", "tmpfs", "tmpfs", "size=64k")
    with open("/proc/self/mountinfo") as file:
        before = file.read()
    container.create_and_start(*container.shell("echo $$ >/scratch/made; echo ready; exec payload sleep 0"))
    container.wait_for_output("ready")
    assert os.readlink(f"/proc/{container.pid()}/ns/mnt") == own("mnt")
    with open("/proc/self/mountinfo") as file:
        assert file.read() == before
    assert not os.path.exists(f"{container.rootfs}/scratch/made")
    done = container.exec(*container.shell("cat /scratch/made /proc/1/comm; echo x >/dev/null"))
    assert done.out == "1\npayload\n", done.err
    assert links(container.exec("payload", "ns").out)["mnt"] == own("mnt")


def test_mount_namespace_by_path(container: Container) -> None:
    """Whoever comes later is in the container's root too, not in that of the namespace."""
    holder = Holder("--mount", more=("--propagation", "private"))
    try:
        container.join_namespace("mount", f"/proc/{holder.pid}/ns/mnt")
        with open(f"{container.rootfs}/mine", "w") as file:
            file.write("container\n")
        container.create_and_start(*SLEEP)
        assert os.readlink(f"/proc/{container.pid()}/ns/mnt") == holder.namespace("mnt")
        assert container.exec("cat", "/mine").out == "container\n"
        container.delete("--force")
    finally:
        holder.close()


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid"])
def test_namespace_by_path(make_container: Callable[[], Container], kind: str) -> None:
    first, second = make_container(), make_container()
    first.create_and_start(*SLEEP)
    path = f"/proc/{first.pid()}/ns/{KINDS[kind]}"
    second.join_namespace(kind, path)
    if kind == "uts":
        del second.config["hostname"]
    found = links(second.output_of("payload", "ns"))
    assert found[KINDS[kind]] == os.readlink(path)
    for other in set(KINDS.values()) - {KINDS[kind]}:
        assert found[other] not in (own(other), os.readlink(f"/proc/{first.pid()}/ns/{other}")), other


def test_a_sysctl_of_a_joined_network_is_set_there(make_container: Callable[[], Container]) -> None:
    """As of a pod, whose network is there before it: a sysctl of the container is none of the host."""
    first, second = make_container(), make_container()
    first.create_and_start(*SLEEP)
    path = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    with open(path) as file:
        before = file.read()
    second.join_namespace("network", f"/proc/{first.pid()}/ns/net")
    second.linux["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "77"}
    try:
        assert second.output_of("cat", path) == "77\n"
        assert first.exec("cat", path).out == "77\n"
        with open(path) as file:
            assert file.read() == before
    finally:
        with open(path, "w") as file:
            file.write(before)


def test_message_queues_of_a_joined_namespace(make_container: Callable[[], Container]) -> None:
    """The mount shows the pod's queues, not those of whoever mounts."""
    first, second = make_container(), make_container()
    for each in (first, second):
        each.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    first.create_and_start(*SLEEP)
    assert first.exec("touch", "/dev/mqueue/of-the-pod").code == 0
    second.join_namespace("ipc", f"/proc/{first.pid()}/ns/ipc")
    assert second.output_of("ls", "/dev/mqueue") == "of-the-pod\n"


def test_devices_of_a_joined_network(make_container: Callable[[], Container]) -> None:
    """/sys shows those of the pod, not the host's."""
    first, second = make_container(), make_container()
    first.create_and_start(*SLEEP)
    second.join_namespace("network", f"/proc/{first.pid()}/ns/net")
    assert second.output_of("ls", "/sys/class/net") == first.exec("ls", "/sys/class/net").out != ""


@pytest.mark.parametrize("path", ["/no/such/path", "/proc/self/ns/uts", "/etc/passwd", "relative"])
def test_namespace_by_a_bad_path(container: Container, path: str) -> None:
    """A path must be a namespace of the declared type."""
    container.join_namespace("ipc", path)
    done = container.try_create("true")
    assert done.code == 1 and done.err
    assert not container.exists()


def test_first_process_is_pid_1(container: Container) -> None:
    assert container.output_of(*container.shell("echo $$")) == "1\n"


def test_user_namespace(container: Container) -> None:
    container.with_user_namespace()
    out = container.output_of("sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /made")
    assert [line.split() for line in out.splitlines()] == [["0", "200000", "65536"]] * 2 + [["0"]]
    assert os.stat(f"{container.rootfs}/made").st_uid == 200000


def test_user_namespace_with_several_ranges(container: Container) -> None:
    container.with_user_namespace()
    for kind in ("uidMappings", "gidMappings"):
        container.linux[kind] = [
            {"containerID": 0, "hostID": 200000, "size": 1000},
            {"containerID": 5000, "hostID": 300000, "size": 10},
        ]
    out = container.output_of("cat", "/proc/self/uid_map")
    assert [line.split() for line in out.splitlines()] == [["0", "200000", "1000"], ["5000", "300000", "10"]]


def test_exec_in_a_user_namespace(container: Container) -> None:
    container.with_user_namespace()
    container.create_and_start(*SLEEP)
    out = container.exec("payload", "ids", "ns").out
    assert "Uid:\t0\t0\t0\t0" in out
    assert f"user {os.readlink(f'/proc/{container.pid()}/ns/user')}" in out


def owner(pid: int, kind: str) -> tuple[int, int]:
    """Return device and inode of the user namespace that owns a namespace of a process. ioctl_ns(2), NS_GET_USERNS"""
    fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
    try:
        owner_fd = fcntl.ioctl(fd, 0xB701)
        found = os.fstat(owner_fd)
        os.close(owner_fd)
    finally:
        os.close(fd)
    return found.st_dev, found.st_ino


def test_new_namespaces_belong_to_the_users_of_a_path(make_container: Callable[[], Container]) -> None:
    """Root there has its rights over them: in the host's, an interface of its own could not be named."""
    first, second = make_container(), make_container()
    first.with_user_namespace()
    first.create_and_start(*SLEEP)
    path = f"/proc/{first.pid()}/ns/user"
    second.with_user_namespace()
    second.join_namespace("user", path)
    second.create_and_start(*SLEEP)
    users = os.stat(path)
    for kind in ("net", "pid", "ipc", "uts", "mnt"):
        assert owner(second.pid(), kind) == (users.st_dev, users.st_ino), kind
    assert os.readlink(f"/proc/{second.pid()}/ns/user") == os.readlink(path)
    assert "Uid:\t0\t0" in second.exec("payload", "ids").out
    assert os.stat(f"/proc/{second.pid()}").st_uid == 200000
    second.stop()
    assert second.runtime.call("state", second.id).code == 0


@pytest.mark.parametrize("shared", [("network", "ipc", "uts"), ("network", "pid", "cgroup")], ids=["pod", "processes"])
def test_all_namespaces_of_a_pod_with_users(make_container: Callable[[], Container], shared: tuple[str, ...]) -> None:
    first, second = make_container(), make_container()
    first.with_user_namespace()
    first.linux["namespaces"].append({"type": "cgroup"})
    first.create_and_start(*SLEEP)
    second.with_user_namespace()
    for kind in (*shared, "user"):
        name = KINDS.get(kind, kind)
        second.join_namespace(kind, f"/proc/{first.pid()}/ns/{name}")
    if "uts" in shared:
        del second.config["hostname"]
    second.create_and_start(*SLEEP)
    for kind in (*shared, "user"):
        name = KINDS.get(kind, kind)
        assert os.readlink(f"/proc/{second.pid()}/ns/{name}") == os.readlink(f"/proc/{first.pid()}/ns/{name}"), kind
    second.delete("--force")


def test_null_device_on_the_streams_keeps_its_owner(container: Container) -> None:
    """Who starts a container with its streams at /dev/null must not lose that to the container's user: a node like it."""
    container.with_user_namespace()
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.set_args(SLEEP)
    container.write()
    path = f"{container.bundle}/null"
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    before = os.stat(path)
    fd = os.open(path, os.O_RDWR)
    runtime = container.runtime
    create = ("create", "--bundle", container.bundle, container.id)
    for words in (create, ("start", container.id), ("exec", container.id, "true")):
        assert runtime.start(*words, fds=[fd, fd, fd]).wait() == 0, words
    os.close(fd)
    after = os.stat(path)
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


def test_user_namespace_without_mappings(container: Container) -> None:
    container.linux["namespaces"].append({"type": "user"})
    done = container.try_create("true")
    assert done.code == 1 and done.err


TIME = "1.1 does not know time namespaces"


@pytest.mark.deviates("runc", TIME)
def test_time_namespace(container: Container) -> None:
    container.linux["namespaces"].append({"type": "time"})
    container.linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 5}, "monotonic": {"secs": 3600}}
    found = container.output_of("cat", "/proc/self/timens_offsets").split()
    assert found == ["monotonic", "3600", "0", "boottime", "1000000", "5"]


@pytest.mark.deviates("runc", TIME)
@pytest.mark.parametrize("in_user_namespace", [False, True], ids=["", "with-users"])
def test_exec_in_a_time_namespace(container: Container, in_user_namespace: bool) -> None:
    """The clocks of a later process are those of the first one, not the host's."""
    if in_user_namespace:
        container.with_user_namespace()
    container.linux["namespaces"].append({"type": "time"})
    container.linux["timeOffsets"] = {"boottime": {"secs": 100_000_000}}
    container.create_and_start(*SLEEP)
    found = links(container.exec("payload", "ns").out)["time"]
    assert found == os.readlink(f"/proc/{container.pid()}/ns/time") != own("time")
    assert float(container.exec("cat", "/proc/uptime").out.split()[0]) > 100_000_000


@pytest.mark.deviates("runc", TIME)
def test_time_namespace_by_path(make_container: Callable[[], Container]) -> None:
    first, second = make_container(), make_container()
    first.linux["namespaces"].append({"type": "time"})
    first.linux["timeOffsets"] = {"monotonic": {"secs": 3600}}
    first.create_and_start(*SLEEP)
    path = f"/proc/{first.pid()}/ns/time"
    second.join_namespace("time", path)
    assert links(second.output_of("payload", "ns"))["time"] == os.readlink(path)
