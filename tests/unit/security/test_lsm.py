"""Which label a container gets, what is refused, and what its processes write. SELinux: what is written, no more."""

from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.security import selinux
from pycontainer.security.apparmor import AppArmor
from pycontainer.security.idranges import FIRST, LAST
from pycontainer.security.lsm import Label, Labels
from pycontainer.security.profile import Rights, loosened, rights
from pycontainer.spec.model import ContainerSpec

BASE = FIRST + (5 << 16)
TYPE = ("label:type", "container_t")


def given(*options: tuple[str, str], **attributes: bool) -> Rights:
    return rights(ContainerSpec(security_opt=options, **attributes), (6, 12))  # type: ignore[arg-type]


class Stub(AppArmor):
    """AppArmor that is on or off, has one profile of an administrator's, and loads ours or says why not."""

    def __init__(self, *, enabled: bool, why_not: str = "") -> None:
        super().__init__("/nowhere")
        self._on, self._why_not = enabled, why_not

    def is_enabled(self) -> bool:
        return self._on

    def require(self, name: str) -> None:
        if not self._on or name != "own":
            raise Unsupported("not loaded")

    def ensure(self, kind: str) -> str:
        return self._why_not


@pytest.fixture
def selinux_sys(tmp_path: Path) -> str:
    """A /sys in which SELinux is on."""
    (tmp_path / "fs/selinux").mkdir(parents=True)
    (tmp_path / "fs/selinux/enforce").write_text("1")
    return str(tmp_path)


def choose(labels: Labels, asked: Rights, *, is_reaped: bool = False) -> tuple[Label | None, list[str]]:
    return labels.choose(asked, base=BASE, is_reaped=is_reaped)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (given(), "pycontainer-app"),
        (rights(ContainerSpec(profile="system"), (6, 12)), "pycontainer-system"),
        (given(("apparmor", "default")), "pycontainer-app"),
        (given(("apparmor", "own")), "own"),
        (given(privileged=True), None),
        (given(("apparmor", "own"), privileged=True), "own"),
        (given(("apparmor", "unconfined")), None),
    ],
)
def test_apparmor(tmp_path: Path, asked: Rights, expected: str | None) -> None:
    label, warnings = choose(Labels(Stub(enabled=True), sys_dir=str(tmp_path)), asked)
    assert label == (Label("apparmor", expected) if expected else None)
    assert warnings == []


def test_what_was_not_asked_for_is_left_out_with_a_warning(tmp_path: Path) -> None:
    labels = Labels(Stub(enabled=True, why_not="no parser"), sys_dir=str(tmp_path))
    assert choose(labels, given()) == (None, ["runs without an AppArmor profile: no parser"])
    with pytest.raises(Unsupported, match="AppArmor profile 'pycontainer-app': no parser"):
        choose(labels, given(("apparmor", "default")))
    with pytest.raises(Unsupported, match="not loaded"):
        choose(labels, given(("apparmor", "other")))


def test_a_host_without_either(tmp_path: Path) -> None:
    labels = Labels(Stub(enabled=False), sys_dir=str(tmp_path))
    assert choose(labels, given()) == (None, [])
    assert choose(labels, given(("label", "disable"), ("apparmor", "unconfined"))) == (None, [])
    for option, reason in (
        (("apparmor", "default"), "no AppArmor"),
        (("apparmor", "own"), "not loaded"),
        (TYPE, "no SELinux"),
    ):
        with pytest.raises(Unsupported, match=reason):
            labels.check(given(option), is_reaped=False)


def test_selinux(selinux_sys: str) -> None:
    labels = Labels(Stub(enabled=False), sys_dir=selinux_sys)
    number = BASE >> 16
    level = f"s0:c{number // 512},c{512 + number % 512}"
    label, warnings = choose(labels, given(TYPE))
    assert label == Label(
        "selinux", f"system_u:system_r:container_t:{level}", f"system_u:object_r:container_file_t:{level}"
    )
    assert warnings == []
    options = (("label:user", "u"), ("label:role", "r"), ("label:type", "t"), ("label:level", "s0:c1"))
    label, _ = choose(labels, given(*options, ("label:filetype", "f")))
    assert label == Label("selinux", "u:r:t:s0:c1", "u:object_r:f:s0:c1")


def test_selinux_that_nobody_asked_for(selinux_sys: str) -> None:
    labels = Labels(Stub(enabled=False), sys_dir=selinux_sys)
    label, warnings = choose(labels, given())
    assert label is None
    assert warnings == ["runs without an SELinux label: give --security-opt label=type:container_t, or label=disable"]
    for asked in (given(("label", "disable")), given(("label", "disable"), TYPE), given(privileged=True)):
        assert choose(labels, asked) == (None, [])


def test_the_reaper_cannot_be_labelled_by_selinux(selinux_sys: str) -> None:
    labels = Labels(Stub(enabled=False), sys_dir=selinux_sys)
    with pytest.raises(InvalidInput, match="'--init' does not go with an SELinux label"):
        labels.check(given(TYPE), is_reaped=True)


def test_levels_differ() -> None:
    """Every range of ids has a level of its own: two categories of 1024, in order."""
    levels = {selinux.default_level(base) for base in range(FIRST, LAST + 1, 65536)}
    assert len(levels) == (LAST - FIRST) // 65536 + 1
    for level in levels:
        low, high = (int(word[1:]) for word in level.removeprefix("s0:").split(","))
        assert 0 <= low < high < 1024


@pytest.mark.parametrize(
    ("label", "at_once", "expected"),
    [
        (Label("apparmor", "x"), False, ("apparmor/exec", b"exec x")),
        (Label("apparmor", "x"), True, ("apparmor/current", b"changeprofile x")),
        (Label("selinux", "u:r:t:s0"), False, ("exec", b"u:r:t:s0")),
    ],
)
def test_what_is_written(label: Label, at_once: bool, expected: tuple[str, bytes]) -> None:
    """Documentation/admin-guide/LSM/apparmor.rst, proc_pid_attr(5)"""
    assert label.written(at_once=at_once) == expected


@pytest.mark.parametrize(
    ("option", "marked"),
    [
        (("apparmor", "unconfined"), ["--security-opt apparmor=unconfined"]),
        (("apparmor", "own"), ["--security-opt apparmor=own"]),
        (("apparmor", "default"), []),
        (("label", "disable"), ["--security-opt label=disable"]),
        (("label:type", "spc_t"), ["--security-opt label=type:spc_t"]),
        (("label:level", "s0:c1"), []),
        (("landlock", "unconfined"), ["--security-opt landlock=unconfined"]),
        (("landlock", "default"), []),
    ],
)
def test_what_loosens(option: tuple[str, str], marked: list[str]) -> None:
    assert loosened(ContainerSpec(security_opt=(option,))) == marked
