"""linux.*: devices, sysctl, seccomp, personality, and that annotations and unknown members do no harm."""

import os

import pytest

from tests.conformance.runtime import SLEEP, Container


def test_default_devices(container: Container) -> None:
    out = container.output_of(
        "sh", "-c", "cd /dev; for name in null zero full random urandom tty; do stat -c '%n %t:%T %a' $name; done"
    )
    assert out.splitlines() == [
        "null 1:3 666", "zero 1:5 666", "full 1:7 666", "random 1:8 666", "urandom 1:9 666", "tty 5:0 666",
    ]  # fmt: skip


def test_default_links(container: Container) -> None:
    out = container.output_of("sh", "-c", "cd /dev; for name in fd stdin stdout stderr ptmx; do readlink $name; done")
    *links, ptmx = out.splitlines()
    assert links == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]
    assert ptmx in ("pts/ptmx", "/dev/pts/ptmx")


def test_device(container: Container) -> None:
    container.linux["devices"] = [
        {"path": "/dev/test", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/sub/fifo", "type": "p", "fileMode": 0o600},
    ]
    container.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"}
    )
    out = container.output_of("sh", "-c", "stat -c '%F %t:%T %a %u:%g' /dev/test; stat -c '%F %a' /dev/sub/fifo")
    assert out == "character special file 1:5 640 5:6\nfifo 600\n"


def test_device_in_the_image_is_replaced_or_refused(container: Container) -> None:
    """PATH-02: the image has a link where a device comes; the target on the host stays as it is."""
    canary = f"{container.bundle}/canary"
    with open(canary, "w") as file:
        file.write("as it was")
    container.config["mounts"] = [
        mount for mount in container.config["mounts"] if not mount["destination"].startswith("/dev")
    ]
    os.makedirs(f"{container.rootfs}/dev", exist_ok=True)
    for name in ("null", "zero"):
        if os.path.lexists(f"{container.rootfs}/dev/{name}"):
            os.unlink(f"{container.rootfs}/dev/{name}")
        os.symlink(canary, f"{container.rootfs}/dev/{name}")
    container.run("sh", "-c", "echo broken >/dev/null")
    with open(canary) as file:
        assert file.read() == "as it was"


@pytest.mark.vm
@pytest.mark.parametrize("node", [("c", 1, 1), ("b", 7, 0), ("c", 10, 229)], ids=["mem", "loop0", "fuse"])
def test_devices_that_are_not_allowed(container: Container, node: tuple[str, int, int]) -> None:
    """DEV-01, with the capability to make the node."""
    container.process["capabilities"] = {kind: ["CAP_MKNOD"] for kind in ("bounding", "effective", "permitted")}
    kind, major, minor = node
    out = container.output_of("sh", "-c", f"mknod /dev/x {kind} {major} {minor}; payload open /dev/x")
    assert "/dev/x: ok" not in out


@pytest.mark.vm
def test_device_that_is_allowed(container: Container) -> None:
    container.process["capabilities"] = {kind: ["CAP_MKNOD"] for kind in ("bounding", "effective", "permitted")}
    container.linux["resources"]["devices"].append({"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rm"})
    out = container.output_of("sh", "-c", "mknod /dev/x c 1 5 && payload open /dev/x")
    assert out == "/dev/x: ok\n"


def test_sysctl(container: Container) -> None:
    container.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "77", "kernel.msgmax": "9000"}
    files = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmni", "/proc/sys/kernel/msgmax")
    assert container.output_of("cat", *files) == "1\n77\n9000\n"


@pytest.mark.parametrize("name", ["kernel.panic", "vm.swappiness", "fs.file-max", "kernel.../../vm.swappiness"])
def test_sysctl_of_the_host_is_refused(container: Container, name: str) -> None:
    """PS-01."""
    container.linux["sysctl"] = {name: "1"}
    done = container.try_create("true")
    assert done.code == 1 and name in done.err


@pytest.mark.parametrize(("kind", "name"), [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.shmmni")])
def test_sysctl_without_its_namespace_is_refused(container: Container, kind: str, name: str) -> None:
    """PS-01: without a namespace of its own it is the host's."""
    container.without_namespace(kind)
    container.config["mounts"] = [mount for mount in container.config["mounts"] if mount["type"] != "sysfs"]
    container.linux["sysctl"] = {name: "1"}
    done = container.try_create("true")
    assert done.code == 1 and name in done.err


def seccomp(container: Container, *rules: dict[str, object], default: str = "SCMP_ACT_ALLOW") -> None:
    container.linux["seccomp"] = {"defaultAction": default, "syscalls": list(rules)}


def test_seccomp_errno(container: Container) -> None:
    """A rule for what the runtime itself calls last must not hit the runtime."""
    seccomp(container, {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18})
    assert container.output_of("payload", "cwd") == "EXDEV\n"


def test_seccomp_errno_by_default(container: Container) -> None:
    seccomp(container, {"names": ["getcwd", "chdir"], "action": "SCMP_ACT_ERRNO"})
    assert container.output_of("payload", "cwd") == "EPERM\n"


def test_seccomp_arguments(container: Container) -> None:
    """Only socket(AF_INET6, …)."""
    rule = {
        "names": ["socket"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": 95,
        "args": [{"index": 0, "value": 10, "op": "SCMP_CMP_EQ"}],
    }
    seccomp(container, rule)
    found = dict(line.split(": ") for line in container.output_of("payload", "families").splitlines())
    assert found["10"] == "EOPNOTSUPP" and found["2"] == "ok"


@pytest.mark.parametrize("forbidden", ["clone", "setsid", "ioctl"])
def test_seccomp_of_exec_without_what_begins_a_process(container: Container, forbidden: str) -> None:
    container.process["noNewPrivileges"] = False
    seccomp(container, {"names": [forbidden], "action": "SCMP_ACT_KILL_PROCESS"})
    container.create_and_start(*SLEEP)
    assert container.exec("payload", "out", "begun").out == "begun\n"


@pytest.mark.parametrize(
    "no_new_privileges",
    [True, pytest.param(False, marks=pytest.mark.deviates("runc", "the filter hits runc's own last steps"))],
)
def test_seccomp_of_exec(container: Container, no_new_privileges: bool) -> None:
    container.process["noNewPrivileges"] = no_new_privileges
    seccomp(container, {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18})
    container.create_and_start(*SLEEP)
    assert container.exec("payload", "cwd").out == "EXDEV\n"


def test_seccomp_unknown_call_is_ignored(container: Container) -> None:
    seccomp(container, {"names": ["no_such_call", "getcwd"], "action": "SCMP_ACT_ERRNO"})
    assert container.output_of("payload", "cwd") == "EPERM\n"


@pytest.mark.deviates("runc", "1.1 does not know personality")
def test_personality(container: Container) -> None:
    container.linux["personality"] = {"domain": "LINUX32"}
    done = container.run("uname", "-m")
    assert done.out in ("i686\n", "armv8l\n"), done


def test_unknown_members_are_ignored(container: Container) -> None:
    """The specification: runtimes must not fail for properties that they do not know."""
    container.config["x-unknown"] = {"a": 1}
    container.process["futureMember"] = [1]
    container.linux["futureMember"] = "x"
    assert container.output_of("payload", "out", "ok") == "ok\n"


def test_sections_of_other_systems_are_ignored(container: Container) -> None:
    container.config["windows"] = {"layerFolders": ["C:\\x"]}
    container.config["solaris"] = {"milestone": "x"}
    assert container.output_of("payload", "out", "ok") == "ok\n"
