"""AppArmor: the profile of the process, and of those that join it."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.conformance.runtime import SLEEP, Container
from tests.conformance.test_exec import process, write_process

pytestmark = [pytest.mark.vm, pytest.mark.requires("apparmor")]

ONE, TWO = "pct-oci-one", "pct-oci-two"
_RULES = "file, capability, network, signal, ptrace, deny /forbidden w,"
_TEXT = "\n".join(f"profile {name} flags=(attach_disconnected) {{ {_RULES} }}" for name in (ONE, TWO))
LABEL = ("cat", "/proc/self/attr/current")


@pytest.fixture(scope="module", autouse=True)
def profiles() -> Iterator[None]:
    """Two profiles as an administrator would load them."""
    for option in ("--replace", "--remove"):
        subprocess.run(["apparmor_parser", option, "--skip-cache", "--quiet"], input=_TEXT, text=True, check=True)
        if option == "--replace":
            yield


def label(pid: int) -> str:
    with open(f"/proc/{pid}/attr/apparmor/current") as file:
        return file.read().strip()


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_profile_of_the_process(container: Container, no_new_privs: bool) -> None:
    container.process |= {"apparmorProfile": ONE, "noNewPrivileges": no_new_privs}
    script = "cat /proc/self/attr/current; touch /allowed && echo made; touch /forbidden || echo denied"
    out = container.output_of("sh", "-c", script)
    assert out == f"{ONE} (enforce)\nmade\ndenied\n"


def test_in_a_user_namespace(container: Container) -> None:
    container.with_user_namespace()
    container.process["apparmorProfile"] = ONE
    assert container.output_of(*LABEL) == f"{ONE} (enforce)\n"


def test_profile_of_what_joins(container: Container) -> None:
    """The container's, unless another one is asked for."""
    container.process["apparmorProfile"] = ONE
    container.create_and_start(*SLEEP)
    assert label(container.pid()) == f"{ONE} (enforce)"
    assert container.exec(*LABEL).out == f"{ONE} (enforce)\n"
    assert container.exec(*LABEL, options=["--apparmor", TWO]).out == f"{TWO} (enforce)\n"
    path = write_process(container, process(*LABEL, apparmorProfile=TWO))
    assert container.runtime.ok("exec", "--process", path, container.id) == f"{TWO} (enforce)\n"


def test_profile_that_nobody_loaded(container: Container) -> None:
    """Nothing runs without the wall that was asked for."""
    container.process["apparmorProfile"] = "pct-oci-none"
    done = container.run("payload", "out", "ran")
    assert (done.code, done.out) == (1, "") and "apparmor" in done.err.lower()
    assert not container.exists()
    del container.process["apparmorProfile"]
    container.create_and_start(*SLEEP)
    done = container.exec("payload", "out", "ran", options=["--apparmor", "pct-oci-none"])
    assert (done.code, done.out) == (255, "") and "apparmor" in done.err.lower()


def test_the_images_own_proc_is_not_trusted(container: Container) -> None:
    """PS-03, CVE-2019-16884: files of the image where labels are written. It is confined, or does not run."""
    container.config["mounts"] = [mount for mount in container.config["mounts"] if mount["destination"] != "/proc"]
    for own in ("self", "thread-self"):
        os.makedirs(f"{container.rootfs}/proc/{own}/attr/apparmor")
        for name in ("exec", "apparmor/exec"):
            with open(f"{container.rootfs}/proc/{own}/attr/{name}", "w"):
                pass
    container.process["apparmorProfile"] = ONE
    if container.try_create(*SLEEP).code == 0:
        container.start()
        assert label(container.pid()) == f"{ONE} (enforce)"
        assert os.path.getsize(f"{container.rootfs}/proc/self/attr/apparmor/exec") == 0
