"""Options of create and run that change how the program is started: --preserve-fds, --no-pivot, --no-new-keyring."""

import os
from contextlib import ExitStack

import pytest

from tests.conformance.runtime import PATH, SLEEP, Container


def files(container: Container, stack: ExitStack, *names: str) -> list[int]:
    """Open a file for each name, with the name in it; return their descriptors."""
    opened = []
    for name in names:
        fd = os.open(f"{container.bundle}/{name}", os.O_RDWR | os.O_CREAT, 0o600)
        stack.callback(os.close, fd)
        os.pwrite(fd, f"{name}\n".encode(), 0)
        opened.append(fd)
    return opened


def test_preserved_descriptors_are_those_of_the_caller(container: Container) -> None:
    with ExitStack() as stack:
        fds = files(container, stack, "first", "second", "third", "fourth")
        script = "cat <&3; cat <&4; cat <&5; payload fds"
        out = container.output_of("sh", "-c", script, options=["--preserve-fds", "3"], keep_fds=fds)
    *texts, _, _, _, _, _, _ = out.splitlines()
    assert texts == ["first", "second", "third"]
    assert "fourth" not in out


def test_preserved_descriptors_of_exec(container: Container) -> None:
    container.create_and_start(*SLEEP)
    with ExitStack() as stack:
        fds = files(container, stack, "first", "second", "third")
        done = container.exec(
            "sh", "-c", "cat <&3; cat <&4; payload fds", options=["--preserve-fds", "2"], keep_fds=fds
        )
    assert done.out.startswith("first\nsecond\n") and "third" not in done.out


@pytest.mark.deviates("runc", "1.1 hands on what has the number by chance, and starts", always=False)
def test_more_preserved_descriptors_than_there_are(container: Container) -> None:
    """What is not there cannot be handed on: the program would take the next file that it opens for it."""
    with ExitStack() as stack:
        fds = files(container, stack, "first")
        container.set_args(SLEEP)
        container.write()
        words = ("run", "--bundle", container.bundle, "--preserve-fds", "2", container.id)
        done = container.runtime.call(*words, keep_fds=fds)
    assert done.code == 1 and "4" in done.err
    assert not container.exists()


@pytest.mark.parametrize(
    "number", [pytest.param("-1", marks=pytest.mark.deviates("runc", "takes it for none")), "x", ""]
)
def test_bad_number_of_preserved_descriptors(container: Container, number: str) -> None:
    done = container.try_create("true", options=[f"--preserve-fds={number}"])
    assert done.code != 0 and done.err
    assert not container.exists()


def test_without_pivot(container: Container) -> None:
    """For a root in the initial ramfs: less safe, but what is in sight is the container's own."""
    container.process["capabilities"] = {kind: ["CAP_SYS_CHROOT"] for kind in ("bounding", "effective", "permitted")}
    outside = f"{container.bundle}/outside"
    os.mkdir(outside)
    done = container.run("sh", "-c", f"test -e {outside} || echo inside; cut -d' ' -f5 /proc/self/mountinfo | sort",
                         options=["--no-pivot"])  # fmt: skip
    first, *points = done.out.splitlines()
    assert done.code == 0 and first == "inside"
    assert {"/", "/proc", "/dev", "/dev/pts", "/sys"} <= set(points)


@pytest.mark.requires("user_namespaces")
@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_without_pivot_no_view_of_the_host_is_left(container: Container, kind: str) -> None:
    """ESC-08: a user namespace may mount a procfs or a sysfs if one without masks is there, if only below the root."""
    container.process["user"] = {"uid": 1000, "gid": 1000}  # root may not map itself without CAP_SETFCAP
    container.linux["maskedPaths"] = ["/proc/keys", "/sys/kernel"]
    new = "--net" if kind == "sysfs" else "--pid --fork"
    script = f"unshare --user --map-root-user --mount {new} mount -t {kind} none /tmp && echo revealed; echo done"
    done = container.run(*container.shell(script), options=["--no-pivot"])
    assert done.out == "done\n", done.err


@pytest.mark.parametrize("options", [(), ("--no-new-keyring",)], ids=["new", "callers"])
def test_session_keyring(container: Container, options: tuple[str, ...]) -> None:
    """Of its program, of a hook inside and of what is executed later: keyrings(7)."""
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "payload keyring >/tmp/hook"], "env": [f"PATH={PATH}"]}
    container.config["hooks"] = {"startContainer": [hook]}
    container.create_and_start("payload", "keyring", "out", "ready\n", *SLEEP[1:], options=options)
    container.wait_for_output("ready")
    said = [container.output(), container.exec("cat", "/tmp/hook").out, container.exec("payload", "keyring").out]
    assert [f";_ses.{container.id}\n" in each for each in said] == [not options] * 3, said
