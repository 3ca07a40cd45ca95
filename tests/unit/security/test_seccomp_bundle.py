"""The filter of a bundle: compiled once, found again without libseccomp, told where it is wrong by its path."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pycontainer
from pycontainer.errors import InvalidInput
from pycontainer.security import seccomp_bundle, seccomp_json
from pycontainer.security.seccomp_bundle import Loadable, loadable
from pycontainer.security.seccomp_compile import number_of, program
from tests.unit.security.test_seccomp import answer

pytestmark = pytest.mark.requires("seccomp")

SECTION: dict[str, object] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
    "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
    "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11}],
}


def made(section: dict[str, Any], cache_dir: Path, caps: frozenset[str] = frozenset()) -> Loadable:
    return loadable(section, capabilities=caps, kernel=(6, 12), cache_dir=str(cache_dir))


def test_it_is_what_a_profile_comes_to(tmp_path: Path) -> None:
    found = made(SECTION, tmp_path)
    policy = seccomp_json.policy_of(SECTION, capabilities=frozenset(), kernel=(6, 12))
    assert found == (2 | 32, program(policy), False)
    assert answer(policy, number_of("mkdirat"), -1, -1, 0) == 11
    assert answer(policy, number_of("chdir"), -1) == errno.EFAULT


def test_the_second_time_nothing_is_compiled_nor_read(tmp_path: Path) -> None:
    first = made(SECTION, tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(Path(pycontainer.__file__).parent.parent)!r})\n"
        "from pycontainer.security.seccomp_bundle import loadable\n"
        f"found = loadable({SECTION!r}, capabilities=frozenset(), kernel=(6, 12), cache_dir={str(tmp_path)!r})\n"
        "print(found.flags, found.program.hex(), found.notifies)\n"
        "print('libseccomp' in open('/proc/self/maps').read(), 'pycontainer.security.seccomp_json' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{first.flags} {first.program.hex()} False", "False False"]


def test_what_decides_about_it_decides_which_is_found(tmp_path: Path) -> None:
    conditional = {**SECTION, "syscalls": [{**SECTION["syscalls"][0], "includes": {"caps": ["CAP_CHOWN"]}}]}  # type: ignore[index]
    without, with_it = made(conditional, tmp_path), made(conditional, tmp_path, frozenset(("CAP_CHOWN",)))
    assert without.program != with_it.program
    assert made(conditional, tmp_path) == without and len(list(tmp_path.iterdir())) == 2


def test_calls_that_nobody_knows_are_left_out(tmp_path: Path) -> None:
    """Engines send one list to all machines; runc ignores them as well."""
    rule = {"names": ["none", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11}
    assert made({**SECTION, "syscalls": [rule, {"names": ["none"], "action": "SCMP_ACT_ERRNO"}]}, tmp_path) == made(
        SECTION, tmp_path
    )


@pytest.mark.parametrize("damage", ["older library", "cut", "empty", "no number"])
def test_what_is_kept_of_another_library_or_damaged_is_made_anew(tmp_path: Path, damage: str) -> None:
    first = made(SECTION, tmp_path)
    (path,) = tmp_path.iterdir()
    head, _, code = path.read_bytes().partition(b"\n")
    flags, notifies, mtime_ns, library = head.split(b" ", 3)
    assert os.stat(library).st_mtime_ns == int(mtime_ns)
    changed = {
        "older library": b"%b %b %d %b\n" % (flags, notifies, int(mtime_ns) - 1, library) + code[:-8],
        "cut": head + b"\n" + code[:-1],
        "empty": b"",
        "no number": b"x" + head + b"\n" + code,
    }
    path.write_bytes(changed[damage])
    assert made(SECTION, tmp_path) == first
    assert path.read_bytes() == head + b"\n" + code


def test_a_listener(tmp_path: Path) -> None:
    section = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/listener",
        "listenerMetadata": "anything",
        "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }
    for _ in range(2):
        assert made(section, tmp_path).notifies
    assert not made({**section, "syscalls": []}, tmp_path).notifies


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "defaultAction: None is not one of SCMP_ACT_ALLOW"),
        ({**SECTION, "flags": ["x"]}, "flags: 'x' is not one of SECCOMP_FILTER_FLAG_TSYNC"),
        ({**SECTION, "syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}, "syscalls[0].names: there is none"),
        (
            {**SECTION, "listenerPath": "/x", "defaultAction": "SCMP_ACT_NOTIFY"},
            "defaultAction: SCMP_ACT_NOTIFY is for",
        ),
        (
            {**SECTION, "listenerPath": "/x", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]},
            "syscalls[0].action: SCMP_ACT_NOTIFY cannot be for 'write'",
        ),
        (
            {**SECTION, "listenerPath": "", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]},
            "syscalls[0].action: SCMP_ACT_NOTIFY needs a listener",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_path(tmp_path: Path, section: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        made(section, tmp_path)
    assert caught.value.message.startswith(f"config.json: linux.seccomp.{message}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({**SECTION, "a: b": 1}, "unknown key 'a: b'"),
    ],
)
def test_what_is_wrong_with_the_whole(tmp_path: Path, section: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        made(section, tmp_path)
    assert caught.value.message.startswith(f"config.json: linux.seccomp: {message}")


def test_a_library_that_was_replaced_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp_bundle, "_library", lambda: "")
    assert made(SECTION, tmp_path).program and not list(tmp_path.iterdir())
