"""Our AppArmor profiles, and when they are loaded; the kernel's list is a directory and the parser a script, handed in."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from pycontainer.errors import Unsupported
from pycontainer.security.apparmor import PROFILES, AppArmor, profile_text

FEATURES = "/etc/apparmor.d/abi/3.0"
# Stands for parser and kernel: notes each call, refuses a text with $1 in it, and loads the others.
PARSER = """#!/bin/sh
text=$(cat)
echo call >>{root}/calls
case $text in *"$1"*) echo "syntax error" >&2; exit 1;; esac
directory={policy}/policy/profiles/pycontainer-app.$$
rm -rf {policy}/policy/profiles/pycontainer-app.*
mkdir -p $directory
echo pycontainer-app >$directory/name
echo {mode} >$directory/mode
printf %s "$text" | sha1sum | cut -c 1-40 >$directory/sha1
"""


class Host:
    """A host with AppArmor on, beneath a directory."""

    def __init__(self, root: Path, *, mode: str = "enforce", refused: str = "no text has this") -> None:
        self.root, self.policy = root, root / "sys/kernel/security/apparmor"
        (root / "sys/module/apparmor/parameters").mkdir(parents=True)
        self.enabled = root / "sys/module/apparmor/parameters/enabled"
        self.enabled.write_text("Y\n")
        (self.policy / "policy/profiles").mkdir(parents=True)
        (self.policy / "profiles").write_text("/usr/bin/man (enforce)\nown (with) space (complain)\n")
        program = root / "parser"
        program.write_text(PARSER.format(root=root, policy=self.policy, mode=mode))
        self.apparmor = AppArmor(str(root / "notes"), sys_dir=str(root / "sys"), parser=["sh", str(program), refused])

    def calls(self) -> int:
        path = self.root / "calls"
        return len(path.read_text().split()) if path.exists() else 0

    def loaded(self) -> Path:
        (directory,) = (self.policy / "policy/profiles").iterdir()
        return directory


def test_loaded_once(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert [host.apparmor.ensure("app") for _ in range(3)] == [""] * 3
    assert host.calls() == 1


def test_loaded_again_when_it_went(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.apparmor.ensure("app")
    shutil.rmtree(host.loaded())
    assert host.apparmor.ensure("app") == ""
    assert host.calls() == 2


def test_loaded_again_when_somebody_replaced_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.apparmor.ensure("app")
    (host.loaded() / "sha1").write_text("0" * 40)
    assert host.apparmor.ensure("app") == ""
    assert (host.loaded() / "sha1").read_text() != "0" * 40


def test_loaded_again_when_our_text_is_another(tmp_path: Path) -> None:
    """An upgrade: the digest is as noted, and stands for the old text."""
    host = Host(tmp_path)
    host.apparmor.ensure("app")
    note = tmp_path / "notes/pycontainer-app"
    note.write_text(hashlib.sha256(b"old").hexdigest() + note.read_text()[64:])
    assert host.apparmor.ensure("app") == ""
    assert host.calls() == 2


def test_a_kernel_without_digests_is_asked_each_time(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.apparmor.ensure("app")
    (host.loaded() / "sha1").unlink()
    host.apparmor.ensure("app")
    assert host.calls() == 2


def test_an_older_parser_gets_the_older_text(tmp_path: Path) -> None:
    host = Host(tmp_path, refused="mqueue")
    assert host.apparmor.ensure("app") == ""
    assert host.calls() == 2


@pytest.mark.parametrize(
    ("mode", "refused", "expected"),
    [
        ("complain", "no text has this", "profile 'pycontainer-app' is in mode complain"),
        ("enforce", "file,", "'sh' failed: syntax error"),
    ],
)
def test_why_it_does_not_confine(tmp_path: Path, mode: str, refused: str, expected: str) -> None:
    assert Host(tmp_path, mode=mode, refused=refused).apparmor.ensure("app") == expected


def test_no_parser(tmp_path: Path) -> None:
    host = Host(tmp_path)
    without = AppArmor(str(tmp_path / "notes"), sys_dir=str(tmp_path / "sys"), parser=["no-such-parser"])
    assert without.ensure("app") == "'no-such-parser' is not installed: apt install apparmor"
    assert host.apparmor.ensure("app") == ""
    assert without.ensure("app") == "", "what is loaded needs no parser"


def test_no_securityfs(tmp_path: Path) -> None:
    host = Host(tmp_path)
    shutil.rmtree(host.policy)
    assert "mount -t securityfs" in host.apparmor.ensure("app")


def test_off(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.enabled.write_text("N\n")
    assert not host.apparmor.is_enabled()
    assert host.apparmor.ensure("app") == "the kernel has no AppArmor, or it is off"
    with pytest.raises(Unsupported, match="no AppArmor here"):
        host.apparmor.require("/usr/bin/man")


def test_profiles_of_others(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.apparmor.require("/usr/bin/man")
    host.apparmor.require("own (with) space")
    for name in ("/usr/bin", "man", "", "/usr/bin/man (enforce)"):
        with pytest.raises(Unsupported, match="is not loaded"):
            host.apparmor.require(name)


@pytest.mark.skipif(shutil.which("apparmor_parser") is None, reason="no apparmor_parser")
@pytest.mark.parametrize("kind", PROFILES)
def test_the_parser_takes_our_profiles(kind: str) -> None:
    """Compiled for the features of AppArmor 3.0, nothing loaded."""
    command = ["apparmor_parser", "--skip-kernel-load", "--skip-cache", "--quiet", "--kernel-features", FEATURES]
    done = subprocess.run(command, input=profile_text(kind), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_profiles_say() -> None:
    app, system = (profile_text(kind).splitlines() for kind in PROFILES)
    assert "  deny mount," in app
    assert "  mount," in system
    assert "  deny /proc/sys/** wklx," in app
    assert [line for line in system if "/proc/sys/" in line] == [
        f"  deny /proc/sys/{pattern}** wklx," for pattern in ("[^n]", "n[^e]", "ne[^t]", "net[^/]")
    ]
    for kind, lines in (("app", app), ("system", system)):
        assert f"  signal (send) peer={PROFILES[kind]}," in lines
        assert f"  ptrace (read, trace) peer={PROFILES[kind]}," in lines
        assert "  deny /sys/fs/[^c]** wklx," in lines
    assert "  userns," in profile_text("system", newer=True).splitlines()
    assert "  userns," not in profile_text("app", newer=True).splitlines()
