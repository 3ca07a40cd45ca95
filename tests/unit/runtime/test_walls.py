"""What `check` says of walls that this host need not have; the probes themselves are tested on a real kernel."""

from pathlib import Path

import pytest

from pycontainer.runtime.finding import Status
from pycontainer.runtime.walls import kernel_settings, mandatory, way_in
from pycontainer.security.apparmor import AppArmor


def host(tmp_path: Path, *, loaded: tuple[str, ...] = (), parser: str = "sh") -> tuple[AppArmor, str]:
    """Return a host with AppArmor on, beneath a directory, and its /sys."""
    (tmp_path / "module/apparmor/parameters").mkdir(parents=True)
    (tmp_path / "module/apparmor/parameters/enabled").write_text("Y\n")
    profiles = tmp_path / "kernel/security/apparmor/policy/profiles"
    profiles.mkdir(parents=True)
    for name in loaded:
        (profiles / f"{name}.7").mkdir()
        (profiles / f"{name}.7/name").write_text(f"{name}\n")
        (profiles / f"{name}.7/mode").write_text("enforce\n")
    return AppArmor(str(tmp_path / "notes"), sys_dir=str(tmp_path), parser=[parser]), str(tmp_path)


def test_apparmor_is_on(tmp_path: Path) -> None:
    check = mandatory(*host(tmp_path))
    assert (check.name, check.status, check.fix) == ("AppArmor", Status.OK, "")
    assert check.detail == "on; our profiles are loaded with the first container"


def test_apparmor_has_our_profiles(tmp_path: Path) -> None:
    check = mandatory(*host(tmp_path, loaded=("pycontainer-app", "other")))
    assert check.detail == "on; loaded: pycontainer-app"


def test_apparmor_without_its_parser(tmp_path: Path) -> None:
    check = mandatory(*host(tmp_path, parser="no-such-parser"))
    assert (check.status, check.fix) == (Status.DEGRADED, "apt install apparmor")
    assert "containers run without a profile: 'no-such-parser' is not installed" in check.detail


def test_neither(tmp_path: Path) -> None:
    check = mandatory(AppArmor("/nowhere", sys_dir=str(tmp_path)), str(tmp_path))
    assert (check.name, check.status, check.needed) == ("AppArmor or SELinux", Status.MISSING, False)


@pytest.mark.parametrize(
    ("enforce", "expected"),
    [("0", "it is permissive and forbids nothing"), ("1", "on; a container has a label only if it was given one")],
)
def test_selinux(tmp_path: Path, enforce: str, expected: str) -> None:
    (tmp_path / "fs/selinux").mkdir(parents=True)
    (tmp_path / "fs/selinux/enforce").write_text(enforce)
    check = mandatory(AppArmor("/nowhere", sys_dir=str(tmp_path)), str(tmp_path))
    assert (check.name, check.status, check.detail) == ("SELinux", Status.DEGRADED, expected)


def test_kernel_settings(tmp_path: Path) -> None:
    """What the kernel does not have is not counted."""
    directory = tmp_path / "sys/kernel"
    (directory / "yama").mkdir(parents=True)
    for name, value in (("yama/ptrace_scope", 0), ("kptr_restrict", 2), ("dmesg_restrict", 0)):
        (directory / name).write_text(f"{value}\n")
    check = kernel_settings(str(tmp_path))
    assert check.status is Status.MISSING
    assert check.detail.endswith(": kernel.yama.ptrace_scope=0, kernel.dmesg_restrict=0")
    assert check.fix == "sysctl kernel.yama.ptrace_scope=1 kernel.dmesg_restrict=1"
    for name in ("yama/ptrace_scope", "dmesg_restrict"):
        (directory / name).write_text("1\n")
    assert (kernel_settings(str(tmp_path)).status, kernel_settings(str(tmp_path)).fix) == (Status.OK, "")


@pytest.mark.parametrize(("value", "stands"), [("0", True), ("1", False), ("2", True)])
def test_way_in(tmp_path: Path, value: str, stands: bool) -> None:
    """ESC-07: 1 makes every process dumpable that changes its ids; 2, for core dumps of root alone, does not."""
    (tmp_path / "sys/fs").mkdir(parents=True)
    (tmp_path / "sys/fs/suid_dumpable").write_text(f"{value}\n")
    check = way_in(str(tmp_path))
    assert (check.name, check.needed, check.section) == ("exec", False, "walls")
    if stands:
        assert (check.status, check.fix) == (Status.OK, "")
        return
    assert (check.status, check.fix) == (Status.MISSING, "sysctl fs.suid_dumpable=0")
    assert check.detail.endswith("before its filter and capabilities are set: fs.suid_dumpable=1")
