"""The object `process` of config.json: what the program is started with, and as whom."""

import os
import stat
from contextlib import ExitStack

import pytest

from tests.conformance.runtime import PATH, SLEEP, Container


def test_args_and_environment(container: Container) -> None:
    container.process["env"] = [f"PATH={PATH}", "EMPTY=", "TWO=a b\tc", "ü=ä"]
    out = container.output_of("payload", "args", "env", "out", "two words", "out", "")
    assert out.splitlines()[:8] == [
        "0 payload", "1 args", "2 env", "3 out", "4 two words", "5 out", "6 ", f"PATH={PATH}",
    ]  # fmt: skip
    assert {"EMPTY=", "TWO=a b\tc", "ü=ä"} <= set(out.splitlines())


def test_environment_of_the_caller_stays_outside(container: Container) -> None:
    """FD-04."""
    container.set_args(["payload", "env"])
    container.write()
    secrets = {"AWS_SECRET_ACCESS_KEY": "s", "LD_PRELOAD": "", "NOTIFY_X": "n", "PYTHONPATH": "/x"}
    out = container.runtime.ok("run", "--bundle", container.bundle, container.id, env={"PATH": PATH, **secrets})
    assert not any(name in out for name in secrets)


def test_cwd(container: Container) -> None:
    container.process["cwd"] = "/bin"
    assert container.output_of("payload", "cwd") == "/bin\n"


def test_missing_cwd_is_made(container: Container) -> None:
    container.process["cwd"] = "/work/here"
    assert container.output_of("payload", "cwd") == "/work/here\n"


def test_cwd_is_looked_up_inside(container: Container) -> None:
    """FD-03."""
    os.symlink("/proc/self/fd", f"{container.rootfs}/link")
    for cwd in ("/proc/self/fd/7", "/link/8"):
        container.process["cwd"] = cwd
        done = container.run("payload", "cwd")
        assert done.code != 0 or not done.out.startswith(("(unreachable)", container.bundle)), done


def test_user_and_groups(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 7]}
    out = container.output_of("payload", "ids")
    assert out == "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t5 7 \n"


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_streams_are_the_users(container: Container, verb: str) -> None:
    """Who writes logs to /dev/stdout opens it anew. A null device stays what it is: it is everybody's."""
    container.process["user"] = {"uid": 1000, "gid": 1000}
    null = f"{container.bundle}/null"
    os.mknod(null, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    script = "echo anew >/dev/stdout"
    with ExitStack() as stack:
        fds = [os.open(null, os.O_RDWR), os.open(f"{container.bundle}/stdout", os.O_RDWR | os.O_CREAT, 0o600)]
        fds.append(os.dup(fds[0]))
        for fd in fds:
            stack.callback(os.close, fd)
        if verb == "run":
            container.set_args(container.shell(script))
            container.write()
            words = ["run", "--bundle", container.bundle, container.id]
        else:
            container.create_and_start(*SLEEP)
            words = ["exec", container.id, *container.shell(script)]
        assert container.runtime.start(*words, fds=fds).wait() == 0
        assert os.pread(fds[1], 100, 0) == b"anew\n"
        assert os.fstat(fds[0]).st_uid == 0


def test_no_groups_of_the_caller(container: Container) -> None:
    assert "Groups:\t \n" in container.output_of("payload", "ids")


def test_umask(container: Container) -> None:
    container.process["user"]["umask"] = 0o37
    assert container.output_of("sh", "-c", "umask") == "0037\n"


def masks(out: str) -> dict[str, str]:
    return dict(line.rstrip().split(":\t") for line in out.splitlines())


def test_capabilities(container: Container) -> None:
    """CAP_KILL is 5, CAP_NET_BIND_SERVICE 10, CAP_SYS_CHROOT 18."""
    container.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"],
        "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_NET_BIND_SERVICE"],
        "ambient": ["CAP_NET_BIND_SERVICE"],
    }
    container.process["user"] = {"uid": 1000, "gid": 1000}
    found = masks(container.output_of("payload", "caps"))
    ambient = f"{1 << 10:016x}"
    assert found["CapBnd"] == f"{1 << 5 | 1 << 10 | 1 << 18:016x}"
    assert found["CapInh"] == found["CapAmb"] == found["CapPrm"] == found["CapEff"] == ambient


@pytest.mark.parametrize("state", ["absent", "empty"])
def test_no_capabilities(container: Container, state: str) -> None:
    if state == "absent":
        del container.process["capabilities"]
    else:
        container.process["capabilities"] = {}
    container.process["user"] = {"uid": 1000, "gid": 1000}
    found = masks(container.output_of("payload", "caps"))
    assert found["CapEff"] == found["CapPrm"] == found["CapBnd"] == found["CapAmb"] == "0" * 16


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(container: Container, wanted: bool) -> None:
    container.process["noNewPrivileges"] = wanted
    assert masks(container.output_of("payload", "caps"))["NoNewPrivs"] == str(int(wanted))


def test_rlimits(container: Container) -> None:
    container.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_FSIZE", "soft": 1 << 20, "hard": 1 << 21},
    ]
    lines = container.output_of("cat", "/proc/self/limits").splitlines()
    found = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert found["Max open files"] == ["100", "200"]
    assert found["Max core file size"] == ["0", "0"]
    assert found["Max file size"] == [str(1 << 20), str(1 << 21)]


@pytest.mark.parametrize("value", [0, 100, 1000])
def test_oom_score_adj(container: Container, value: int) -> None:
    container.process["oomScoreAdj"] = value
    assert container.output_of("cat", "/proc/self/oom_score_adj") == f"{value}\n"


@pytest.mark.deviates("runc", "1.1 does not know scheduler")
def test_scheduler(container: Container) -> None:
    """Field 41 of /proc/PID/stat is the policy, 19 the niceness: SCHED_BATCH is 3."""
    container.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    fields = container.output_of("cat", "/proc/self/stat").rsplit(")", 1)[1].split()
    assert (fields[41 - 3], fields[19 - 3]) == ("3", "5")


@pytest.mark.deviates("runc", "1.1 does not know ioPriority")
def test_io_priority(container: Container) -> None:
    container.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    assert container.output_of("ionice", "-p", "1").strip() == "best-effort: prio 6"


def test_label_that_the_kernel_does_not_take(container: Container) -> None:
    """Nothing runs without the wall that was asked for."""
    container.process["selinuxLabel"] = "system_u:system_r:pct_no_such_t:s0"
    done = container.run("payload", "out", "ran")
    assert (done.code, done.out) == (1, "") and "selinux" in done.err.lower()
    assert not container.exists()


def test_label_of_exec_that_the_kernel_does_not_take(container: Container) -> None:
    container.create_and_start(*SLEEP)
    done = container.exec("payload", "out", "ran", options=["--process-label", "system_u:system_r:pct_no_such_t:s0"])
    assert (done.code, done.out) == (255, "") and "selinux" in done.err.lower()


def test_hostname(container: Container) -> None:
    container.config["hostname"] = "other-name"
    assert container.output_of("hostname") == "other-name\n"


@pytest.mark.deviates("runc", "1.1 does not know domainname")
def test_domainname(container: Container) -> None:
    container.config["domainname"] = "example.org"
    assert container.output_of("cat", "/proc/sys/kernel/domainname") == "example.org\n"


def test_preserved_descriptors(container: Container) -> None:
    with open(f"{container.bundle}/kept", "w+") as kept:
        options = ["--preserve-fds", "1"]
        out = container.output_of("payload", "fds", options=options, keep_fds=[kept.fileno(), kept.fileno()])
    assert sorted(int(line.split()[0]) for line in out.splitlines()) == [0, 1, 2, 3]


def test_no_other_descriptors(container: Container) -> None:
    """FD-01."""
    with open(f"{container.bundle}/kept", "w+") as kept:
        out = container.output_of("payload", "fds", keep_fds=[kept.fileno(), kept.fileno()])
    assert sorted(int(line.split()[0]) for line in out.splitlines()) == [0, 1, 2]
