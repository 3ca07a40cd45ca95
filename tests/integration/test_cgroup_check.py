"""`check` and its probes on the running kernel: they tell the truth both ways and leave nothing behind."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from pycontainer.cgroup.detect import detect
from pycontainer.cli.commands.check import command
from pycontainer.cli.context import Settings
from pycontainer.cli.main import cli
from pycontainer.linux import mounts, namespaces
from pycontainer.paths import HostPaths
from pycontainer.runtime import hostfacts
from pycontainer.runtime.check import is_usable, run_checks
from pycontainer.runtime.finding import Status
from tests.support.descriptors import is_open


def list_descriptors() -> list[int]:
    directory_fd = os.open("/proc/self/fd", os.O_RDONLY)
    try:
        return [int(name) for name in os.listdir(directory_fd) if int(name) != directory_fd and is_open(int(name))]
    finally:
        os.close(directory_fd)


def visible() -> tuple[list[str], list[str], list[str]]:
    """Return what a probe could leave: mounts, descriptors, directories."""
    with open("/proc/self/mountinfo") as file:
        mounted = sorted(line.split(" ", 4)[4] for line in file)
    descriptors = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in list_descriptors())
    return mounted, descriptors, [name for name in os.listdir("/var/lib") if name.startswith(".pycontainer")]


def test_this_host_has_all_that_is_needed_and_nothing_is_left() -> None:
    before = visible()
    checks = run_checks()
    assert visible() == before
    assert [f"{check.name}: {check.detail}" for check in checks if check.needed and check.status is not Status.OK] == []
    assert is_usable(checks)
    assert len({check.name for check in checks}) == len(checks)
    assert all(bool(check.fix) == (check.status is not Status.OK) for check in checks)


def test_json_and_exit_code() -> None:
    result = CliRunner().invoke(command, ["--format", "json"], obj=Settings(None, False))
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["usable"] is True
    assert answer["checks"][0] == {
        "name": "root",
        "status": "ok",
        "detail": "",
        "fix": "",
        "needed": True,
        "section": "",
    }
    checks = {check["name"]: check for check in answer["checks"]}
    assert {"cgroups", "nftables", "overlay on idmapped layers"} <= checks.keys()
    has_tcx = hostfacts.host_facts().kernel >= (6, 6)
    assert checks["fast path"]["status"] == ("ok" if has_tcx else "missing"), checks["fast path"]


def test_without_root_it_says_so_and_ends_with_6() -> None:
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setgid(65534)
            os.setuid(65534)
            result = CliRunner().invoke(command, ["--format", "json"], obj=Settings(None, False))
            checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
            assert checks["root"]["detail"] == "running as uid 65534"
            assert checks["overlay"]["status"] == "degraded"
            code = result.exit_code
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6


def test_facts_agree_with_the_kernel() -> None:
    facts = hostfacts.host_facts()
    assert facts is hostfacts.host_facts()
    assert facts.kernel_release == os.uname().release
    assert facts.layout is not None
    assert facts.layout.version == detect().version
    assert facts.has_clone_into_cgroup  # since 5.7, older than all we run on
    assert facts.has_procfs_pidns == (facts.kernel >= (6, 17))
    assert facts.has_pidfd_exit_info == (facts.kernel >= (6, 15))


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (lambda: hostfacts.why_no_link("nosuchkind"), "Operation not supported (ENOTSUP)"),
        (lambda: hostfacts.why_no_idmapped_mounts("/proc"), "mount_setattr: Invalid argument (EINVAL)"),
        (lambda: hostfacts.why_no_namespace(1), "unshare: Invalid argument (EINVAL)"),
        (lambda: hostfacts.why_no_overlay("/proc"), "/proc: No such file or directory (ENOENT)"),
    ],
)
def test_a_probe_that_fails_says_why(probe: object, reason: str) -> None:
    assert callable(probe)
    assert probe() == reason


def test_overlay_is_tried_where_the_store_is(tmp_path: Path) -> None:
    """An upper directory that is itself on an overlay is refused: the probe must see that, not only the module."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            namespaces.unshare(namespaces.CLONE_NEWNS)
            mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
            options = ",".join(f"{name}dir={tmp_path}/{name}" for name in ("lower", "upper", "work"))
            mounts.mount("overlay", f"{tmp_path}/merged", "overlay", data=options)
            assert hostfacts.why_no_overlay(str(tmp_path)) == ""
            code = 7 if "(EINVAL)" in hostfacts.why_no_overlay(f"{tmp_path}/merged") else 8
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_world_that_is_not_there_yet_is_checked_where_it_will_be(tmp_path: Path) -> None:
    checks = {check.name: check for check in run_checks(HostPaths(f"{tmp_path}/not/yet"))}
    assert checks["overlay"].detail == f"works in {tmp_path}"
    shown = CliRunner().invoke(cli, ["--root", f"{tmp_path}/not/yet", "check"])
    assert (shown.exit_code, f"works in {tmp_path}\n" in shown.stdout) == (0, True)
    assert not os.path.exists(f"{tmp_path}/not")


def test_the_last_section_is_about_walls() -> None:
    checks = [check for check in run_checks() if check.section == "walls"]
    assert len(checks) >= 10
    assert all(check.detail for check in checks)
    assert [check.name for check in run_checks()][-len(checks) :] == [check.name for check in checks]


def test_a_probe_of_look_ups_says_why_not() -> None:
    assert hostfacts.why_no_openat2(1 << 40) == "openat2: Invalid argument (EINVAL)"
    assert hostfacts.why_no_openat2(0x10) == ""
