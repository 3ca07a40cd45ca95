"""Without root: a user on its own, and root of a user namespace that the engine made, as rootless Podman does.

a user       spec --rootless; the runtime makes a user namespace in which the user alone is mapped, as root
an engine    0 is the user, 1 ... 65536 are ids from /etc/subuid; the runtime is called in that namespace, as root
"""

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from tests.conformance.holder import Holder
from tests.conformance.runtime import SLEEP, Container, Runtime

pytestmark = pytest.mark.requires("user_namespaces")

USER = 65011
RANGE = 300000
AS_USER = ("/usr/bin/setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--")
ALL_SETS = ("bounding", "effective", "permitted")


def give(container: Container, owner: int) -> None:
    """Let the user have the bundle, and a state directory."""
    runtime = container.runtime
    container.give_rootfs(owner)
    os.chown(container.bundle, owner, owner)
    runtime.root = f"{runtime.directory}/state-of-user"
    os.mkdir(runtime.root, 0o700)
    os.chown(runtime.root, owner, owner)


def take_back(runtime: Runtime) -> None:
    runtime.clear()
    shutil.rmtree(runtime.root)
    runtime.root = f"{runtime.directory}/state"


def ids_of(pid: int) -> tuple[str, str]:
    """Return the user and the group of a process as the host counts."""
    with open(f"/proc/{pid}/status") as file:
        found = {line.split()[0]: line.split()[1] for line in file if line.startswith(("Uid:", "Gid:"))}
    return found["Uid:"], found["Gid:"]


# A user on its own


@pytest.fixture
def of_user(container: Container) -> Iterator[Container]:
    """A container with the configuration that `spec --rootless` writes for the user."""
    runtime = container.runtime
    give(container, USER)
    runtime.wrapper = AS_USER
    runtime.ok("spec", "--rootless", "--bundle", container.bundle)
    with open(f"{container.bundle}/config.json") as file:
        container.config = json.load(file)
    container.process, container.linux = container.config["process"], container.config["linux"]
    container.process["terminal"] = False
    container.process["rlimits"] = []
    container.config["root"]["readonly"] = False
    yield container
    take_back(runtime)


def test_user_is_root_inside_alone(of_user: Container) -> None:
    out = of_user.output_of("sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; touch /made")
    assert [line.split() for line in out.splitlines()] == [["0", str(USER), "1"]] * 2 + [["0"], ["0"]]
    assert os.stat(f"{of_user.rootfs}/made").st_uid == USER


def test_life_of_a_users_container(of_user: Container) -> None:
    of_user.create(*SLEEP)
    assert of_user.status() == "created" and ids_of(of_user.pid()) == (str(USER), str(USER))
    of_user.start()
    assert of_user.status() == "running"
    assert of_user.exec("payload", "ids").out.startswith("Uid:\t0\t0\t0\t0\n")
    assert of_user.exec("payload", "ns").out == of_user.exec("payload", "ns").out
    own = dict(line.split() for line in of_user.exec("payload", "ns").out.splitlines())
    for kind in ("user", "pid", "mnt", "uts", "ipc"):
        assert own[kind] == os.readlink(f"/proc/{of_user.pid()}/ns/{kind}"), kind
    of_user.stop()
    of_user.delete()
    assert not of_user.exists()


def test_confinement_of_a_users_container(of_user: Container) -> None:
    """The devices are the host's, bound; capabilities are those asked for; nothing more of the user's is in sight."""
    out = of_user.output_of(
        "sh",
        "-c",
        "stat -c %n:%t:%T /dev/null /dev/zero /dev/urandom; payload caps; echo x >/dev/null; mknod /n c 1 3 || true",
    )
    assert out.startswith("/dev/null:1:3\n/dev/zero:1:5\n/dev/urandom:1:9\n")
    assert "NoNewPrivs:\t1" in out and not os.path.exists(f"{of_user.rootfs}/n")


def test_forced_deletion_of_a_users_container(of_user: Container) -> None:
    of_user.create_and_start(*SLEEP)
    of_user.delete("--force")
    assert not of_user.exists()


def test_code_of_a_users_run(of_user: Container) -> None:
    assert of_user.run("payload", "exit", "9").code == 9


def test_user_without_a_user_namespace(of_user: Container) -> None:
    of_user.without_namespace("user")
    for key in ("uidMappings", "gidMappings"):
        del of_user.linux[key]
    done = of_user.try_create("true")
    assert done.code == 1 and done.err
    assert not of_user.exists()


def test_ids_that_the_user_does_not_have(of_user: Container) -> None:
    """Neither /etc/subuid nor the kernel gives them."""
    of_user.linux["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1000}]
    done = of_user.try_create("true")
    assert done.code == 1 and done.err
    assert not of_user.exists()


@pytest.mark.requires("uidmap")
def test_ids_from_subuid(of_user: Container) -> None:
    """newuidmap(1) maps the ranges that root gave to the user, here in files that only this mount namespace has."""
    holder = Holder("--mount", more=("--propagation", "private"))
    try:
        for name, line in (
            ("passwd", f"engine:x:{USER}:{USER}::/:/bin/sh"),
            ("group", f"engine:x:{USER}:"),
            ("subuid", f"engine:{RANGE}:65536"),
            ("subgid", f"engine:{RANGE}:65536"),
        ):
            with open(f"{of_user.bundle}/{name}", "w") as file:
                file.write(f"root:x:0:0::/:/bin/sh\n{line}\n" if name == "passwd" else f"{line}\n")
            os.chmod(f"{of_user.bundle}/{name}", 0o644)
            if not os.path.exists(f"/etc/{name}"):
                pytest.fail(f"no /etc/{name} to mount upon: package uidmap makes it", pytrace=False)
            holder.run("mount", "--bind", f"{of_user.bundle}/{name}", f"/etc/{name}")
        of_user.runtime.wrapper = (*holder.wrapper(), *AS_USER)
        for key in ("uidMappings", "gidMappings"):
            of_user.linux[key] = [
                {"containerID": 0, "hostID": USER, "size": 1},
                {"containerID": 1, "hostID": RANGE, "size": 65536},
            ]
        of_user.process["user"] = {"uid": 1000, "gid": 1000}
        of_user.create_and_start(*SLEEP)
        assert ids_of(of_user.pid()) == (str(RANGE + 999), str(RANGE + 999))
        assert "Uid:\t1000\t1000" in of_user.exec("payload", "ids").out
        of_user.delete("--force")
    finally:
        holder.close()


# Root of a user namespace of the engine


@pytest.fixture
def of_engine(container: Container) -> Iterator[Container]:
    """A container as rootless Podman configures it: without a user namespace of its own, limits and device rules."""
    runtime = container.runtime
    holder = Holder("--user", "--mount", prefix=AS_USER[:-1])
    try:
        for kind in ("uid", "gid"):
            with open(f"/proc/{holder.pid}/{kind}_map", "w") as file:
                file.write(f"0 {USER} 1\n1 {RANGE} 65536\n")
        give(container, USER)
        runtime.wrapper = holder.wrapper()
        container.linux["resources"] = {}
        yield container
        take_back(runtime)
    finally:
        holder.close()


def test_engines_user_is_root_inside(of_engine: Container) -> None:
    of_engine.create_and_start(*SLEEP)
    assert ids_of(of_engine.pid()) == (str(USER), str(USER))
    out = of_engine.exec("payload", "ids").out
    assert out.startswith("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n")


def test_other_users_are_of_the_range(of_engine: Container) -> None:
    of_engine.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5]}
    of_engine.process["capabilities"] = {}
    os.chmod(f"{of_engine.rootfs}/tmp", 0o777)
    of_engine.create_and_start(*of_engine.shell("touch /tmp/made; echo ready; exec payload sleep 0"))
    of_engine.wait_for_output("ready")
    assert ids_of(of_engine.pid()) == (str(RANGE + 999), str(RANGE + 1000))
    assert os.stat(f"{of_engine.rootfs}/tmp/made").st_uid == RANGE + 999
    done = of_engine.exec("payload", "ids", options=["--user", "7:8"])
    assert "Uid:\t7\t7" in done.out and "Gid:\t8\t8" in done.out


def test_mounts_and_devices_in_an_engines_namespace(of_engine: Container) -> None:
    of_engine.mount("/data", "tmpfs", "tmpfs", "size=64k", "mode=0700")
    of_engine.mount("/host", "bind", of_engine.bundle, "rbind", "ro")
    of_engine.linux["maskedPaths"] = ["/proc/keys", "/sys/firmware"]
    of_engine.linux["readonlyPaths"] = ["/proc/sys"]
    script = "stat -c %n:%t:%T /dev/null; echo x >/dev/null; touch /data/x; touch /host/x 2>&1; cat /proc/keys; exit 5"
    done = of_engine.run("sh", "-c", script)
    assert done.code == 5, done.err
    assert done.out.startswith("/dev/null:1:3\n") and "Read-only file system" in done.out


def test_network_of_the_engine(of_engine: Container) -> None:
    """--network host: the namespace is not ours, so /sys is bound."""
    of_engine.without_namespace("network")
    of_engine.config["mounts"] = [mount for mount in of_engine.config["mounts"] if mount["destination"] != "/sys"]
    of_engine.mount("/sys", "bind", "/sys", "rbind", "rprivate", "nosuid", "noexec", "nodev", "ro")
    found = dict(line.split() for line in of_engine.output_of("payload", "ns").splitlines())
    assert found["net"] == os.readlink("/proc/self/ns/net")


def test_keep_id(of_engine: Container) -> None:
    """--userns=keep-id: one more user namespace, whose ids are those of the engine's; the user keeps its number."""
    of_engine.linux["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        of_engine.linux[key] = [
            {"containerID": 0, "hostID": 1, "size": 1000},
            {"containerID": 1000, "hostID": 0, "size": 1},
            {"containerID": 1001, "hostID": 1001, "size": 1000},
        ]
    of_engine.give_rootfs(RANGE)
    of_engine.process["user"] = {"uid": 1000, "gid": 1000}
    of_engine.process["capabilities"] = {}
    of_engine.create_and_start(*SLEEP)
    assert ids_of(of_engine.pid()) == (str(USER), str(USER))
    assert "Uid:\t1000\t1000" in of_engine.exec("payload", "ids").out
    assert of_engine.exec("payload", "ids", options=["--user", "0:0"]).out.startswith("Uid:\t0\t0")


def test_code_and_signals_in_an_engines_namespace(of_engine: Container) -> None:
    assert of_engine.run("payload", "exit", "9").code == 9
    of_engine.create_and_start(
        *of_engine.shell("trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    )
    of_engine.wait_for_output("ready")
    of_engine.kill("TERM")
    of_engine.wait_stopped()
    assert of_engine.output() == "ready\ngot\n"
    of_engine.delete()


@pytest.mark.parametrize("capabilities", [["CAP_SYS_ADMIN"], []])
def test_root_there_has_nothing_of_the_host(of_engine: Container, capabilities: list[str]) -> None:
    """ESC-01: with every capability of its namespace it may still not touch what is root's."""
    of_engine.process["capabilities"] = dict.fromkeys(ALL_SETS, capabilities)
    canary = f"{of_engine.runtime.directory}/canary"
    with open(canary, "w") as file:
        file.write("root's")
    os.chmod(canary, 0o600)
    try:
        of_engine.mount("/canary", "bind", canary, "bind")
        out = of_engine.output_of("sh", "-c", "cat /canary 2>&1; echo x 2>&1 >/canary; stat -c %u /canary")
        assert "root's" not in out and out.endswith("65534\n")
    finally:
        os.unlink(canary)


def test_filter_without_a_place_for_its_cache(of_engine: Container) -> None:
    of_engine.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18}],
    }
    assert of_engine.output_of("payload", "cwd") == "EXDEV\n"
