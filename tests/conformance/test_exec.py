"""exec: more processes in a running container."""

import json
import os
from collections.abc import Iterator

import pytest

from tests.conformance.runtime import PATH, SLEEP, Container, Json
from tests.support.poll import poll_until


@pytest.fixture
def running(container: Container) -> Iterator[Container]:
    container.create_and_start(*SLEEP)
    yield container


def process(*args: str, **changes: object) -> Json:
    return {"args": list(args), "cwd": "/", "env": [f"PATH={PATH}"], "user": {"uid": 0, "gid": 0}, **changes}


def write_process(container: Container, what: object) -> str:
    path = f"{container.bundle}/process.json"
    with open(path, "w") as file:
        json.dump(what, file)
    return path


def test_streams_and_code(running: Container) -> None:
    done = running.exec("payload", "out", "o", "err", "e", "exit", "9")
    assert done == (9, "o\n", "e\n")
    assert running.exec("payload", "signal", "9").code == 128 + 9
    assert running.exec("payload", "echo", stdin="fed").out == "fed"


def test_same_namespaces(running: Container) -> None:
    """But for the cgroup namespace nothing tells it from the first process."""
    out = running.exec("payload", "ns").out
    found = dict(line.split() for line in out.splitlines())
    for kind in ("mnt", "pid", "net", "ipc", "uts", "user"):
        assert found[kind] == os.readlink(f"/proc/{running.pid()}/ns/{kind}"), kind


@pytest.mark.vm
def test_same_cgroup(running: Container) -> None:
    running.exec(*SLEEP, options=["--detach", "--pid-file", f"{running.bundle}/pid"])
    with open(f"{running.bundle}/pid") as file:
        pid = file.read()
    with open(f"/proc/{pid}/cgroup") as own, open(f"/proc/{running.pid()}/cgroup") as init:
        assert own.read() == init.read()


def test_confined_like_the_first_process(running: Container) -> None:
    caps = running.exec("payload", "caps").out
    with open(f"/proc/{running.pid()}/status") as file:
        wanted = [line.split() for line in file if line.startswith(("Cap", "NoNewPrivs:"))]
    assert [line.split() for line in caps.splitlines() if line.startswith(("Cap", "NoNewPrivs:"))] == wanted


def test_options(running: Container) -> None:
    options = ["--cwd", "/bin", "--env", "A=1", "--env", "B=two words", "--user", "5:6"]
    out = running.exec("payload", "cwd", "env", "ids", options=options).out
    assert out.startswith("/bin\n")
    assert "A=1\n" in out and "B=two words\n" in out and f"PATH={PATH}\n" in out
    assert "Uid:\t5\t5\t5\t5\n" in out and "Gid:\t6\t6\t6\t6\n" in out


def test_environment_option_wins(running: Container) -> None:
    """Also for where the program is looked for."""
    out = running.exec("payload", "env", options=["--env", "A=1", "--env", f"PATH={PATH}:/more", "--env", "A=2"]).out
    assert sorted(line for line in out.splitlines() if line.startswith(("A=", "PATH="))) == [
        "A=2",
        f"PATH={PATH}:/more",
    ]
    said = running.runtime.fails("exec", "--env", "PATH=/nowhere", running.id, "payload", code=255)
    assert "executable file not found in $PATH" in said


def test_capability_option(running: Container) -> None:
    """CAP_SYS_CHROOT is bit 18; `true` to make sure that it was not there before."""
    bit = 1 << 18

    def effective(*options: str) -> int:
        out = running.exec("payload", "caps", options=options).out
        return next(int(line.split()[1], 16) for line in out.splitlines() if line.startswith("CapEff"))

    assert not effective() & bit
    assert effective("--cap", "CAP_SYS_CHROOT") & bit


@pytest.mark.deviates("runc", "1.1 fails by itself, with a trace of its stack")
def test_capability_option_of_a_container_without_capabilities(container: Container) -> None:
    del container.process["capabilities"]
    container.create_and_start(*SLEEP)
    out = container.exec("payload", "caps", options=["--cap", "sys_chroot"]).out
    sets = dict(line.split() for line in out.splitlines() if line.startswith("Cap"))
    given = f"{1 << 18:016x}"
    assert sets == {"CapInh:": "0" * 16, "CapPrm:": given, "CapEff:": given, "CapBnd:": given, "CapAmb:": "0" * 16}
    assert "NONE" in container.runtime.fails("exec", "--cap", "NONE", container.id, "true", code=255)


def test_process_file(running: Container) -> None:
    path = write_process(
        running, process("payload", "cwd", "ids", cwd="/tmp", user={"uid": 7, "gid": 8, "additionalGids": [9, 10]})
    )
    out = running.exec(options=["--process", path]).out
    assert out.startswith("/tmp\n")
    assert "Uid:\t7" in out and "Gid:\t8" in out and "Groups:\t9 10" in out


def test_detached_with_process_file_as_engines_call_it(running: Container) -> None:
    path = write_process(running, process("sh", "-c", "echo ran >/ran; exec payload sleep 0"))
    done = running.runtime.call(
        "exec", "--process", path, "--detach", "--pid-file", f"{running.bundle}/pid", running.id
    )
    assert done.code == 0, done.err
    poll_until(lambda: os.path.exists(f"{running.rootfs}/ran"), what="it ran")
    with open(f"{running.bundle}/pid") as file:
        pid = int(file.read())
    assert pid in json.loads(running.runtime.ok("ps", "--format", "json", running.id))


def test_in_a_created_container(container: Container) -> None:
    container.create(*SLEEP)
    assert container.exec("payload", "out", "before start").out == "before start\n"
    assert container.status() == "created"


def test_in_a_stopped_container(running: Container) -> None:
    running.stop()
    running.runtime.fails("exec", running.id, "true", code=255)


def test_in_an_unknown_container(container: Container) -> None:
    assert "container does not exist" in container.runtime.fails("exec", container.id, "true", code=255)


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
        ("/etc", "permission denied"),
    ],
)
def test_program_that_cannot_be_executed(running: Container, program: str, text: str) -> None:
    os.makedirs(f"{running.rootfs}/etc", exist_ok=True)
    done = running.exec(program)
    assert done.code == 255
    assert text in done.err.lower() or text in done.err


@pytest.mark.parametrize("bad", [{}, {"args": []}, [], process("true", cwd="relative"), process("true", user="root")])
def test_bad_process_file(running: Container, bad: object) -> None:
    running.runtime.fails("exec", "--process", write_process(running, bad), running.id, code=255)
    assert running.status() == "running"


@pytest.mark.parametrize("verb", ["exec", "update"])
@pytest.mark.deviates("runc", "it reads on, up to the end of memory", always=False)
def test_file_without_an_end(running: Container, verb: str) -> None:
    words = ("exec", "--process") if verb == "exec" else ("update", "--resources")
    said = running.runtime.fails(*words, "/dev/zero", running.id, code=255 if verb == "exec" else 1)
    assert "more than" in said


def test_no_program(running: Container) -> None:
    assert running.exec().code != 0


def test_preserved_descriptors(running: Container) -> None:
    with open(f"{running.bundle}/kept", "w+") as kept:
        done = running.exec("payload", "fds", options=["--preserve-fds", "1"], keep_fds=[kept.fileno(), kept.fileno()])
    numbers = [int(line.split()[0]) for line in done.out.splitlines()]
    assert sorted(numbers) == [0, 1, 2, 3]


def test_no_other_descriptors(running: Container) -> None:
    """FD-01."""
    with open(f"{running.bundle}/kept", "w+") as kept:
        done = running.exec("payload", "fds", keep_fds=[kept.fileno()])
    assert sorted(int(line.split()[0]) for line in done.out.splitlines()) == [0, 1, 2]


_LOOK_AT_ALL = """
echo looking
while :; do
    for process in /proc/[0-9]*; do
        if [ -e $process/root{path} ]; then
            echo "seen through $process"
            exit
        fi
    done
done
"""


def test_host_is_not_seen_through_what_is_born(container: Container) -> None:
    """With CAP_SYS_PTRACE, and no user namespace, a process sees what each of its pid namespace has: root, cwd, descriptors.

    The class of CVE-2016-9962. The bundle is the host's, so its path is not there in the container's root.
    """
    for kind in ("bounding", "effective", "permitted"):
        container.process["capabilities"][kind] = ["CAP_SYS_PTRACE"]
    container.create_and_start(*container.shell(_LOOK_AT_ALL.format(path=f"{container.bundle}/config.json")))
    container.wait_for_output("looking")
    for _ in range(20):
        assert container.exec("true").code == 0
    assert container.output() == "looking\n"
