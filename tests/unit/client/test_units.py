"""Files for the host's init: those of this installation and this world."""

import os
import subprocess
from pathlib import Path

import pytest

import pycontainer.supervisor
from pycontainer.client.units import SERVICE_UNITS, container_unit, init_script, quoted, service_units
from pycontainer.paths import HostPaths

UNITS = Path(pycontainer.supervisor.__path__[0], "units")
PROGRAM, PYTHON = "/usr/bin/pycontainer", "/usr/bin/python3"


def lines(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def test_a_distribution_installs_them_as_they_are() -> None:
    made = service_units(HostPaths(), PROGRAM, PYTHON)
    assert made == {name: (UNITS / name).read_text() for name in SERVICE_UNITS}
    assert init_script(HostPaths(), PROGRAM) == (UNITS / "pycontainer.init").read_text()


def test_another_world_has_its_own() -> None:
    paths = HostPaths("/srv/my world")
    made = service_units(paths, "/opt/50%/bin/pycontainer", "/opt/50%/bin/python")
    assert sorted(made) == sorted(name.replace("pycontainer", paths.marker) for name in SERVICE_UNITS)
    service, boot = made[f"{paths.marker}.service"], made[f"{paths.marker}-boot.service"]
    python = '/opt/50%%/bin/python -I -m pycontainer.supervisor.main --root "/srv/my world"'
    assert lines(service, "ExecStart") == [python]
    assert lines(service, "ExecReload") == ['/opt/50%%/bin/pycontainer --root "/srv/my world" service reload']
    assert lines(service, "Requires") == [f"{paths.marker}.socket"]
    assert lines(made[f"{paths.marker}.socket"], "ListenStream") == ["/srv/my world/run/supervisor.sock"]
    assert lines(boot, "ExecStart") == ['-/opt/50%%/bin/pycontainer --root "/srv/my world" service boot']
    door = made[f"{paths.marker}-frontdoor.service"]
    assert lines(door, "ExecStart") == ['/opt/50%%/bin/pycontainer --root "/srv/my world" frontdoor serve']
    assert lines(door, "ExecStop") == ['/opt/50%%/bin/pycontainer --root "/srv/my world" frontdoor stop']
    assert lines(boot, "RequiresMountsFor") == ['"/srv/my world/lib"']
    assert f"{paths.marker}.scope" in lines(boot, "After")
    others = [line for text in made.values() for line in text.splitlines() if " pycontainer." in line and "=" in line]
    assert others == [f"ExecStart={python}"]


def test_a_container() -> None:
    unit = container_unit(HostPaths(), "web", PROGRAM, 10)
    assert lines(unit, "Type") == ["notify"]
    assert lines(unit, "ExecStart") == ["/usr/bin/pycontainer start --foreground web"]
    assert lines(unit, "ExecStop") == ["/usr/bin/pycontainer stop web"]
    assert lines(unit, "TimeoutStopSec") == ["40"]
    (after,) = lines(unit, "After")
    assert {"pycontainer.scope", "pycontainer-boot.service"} <= set(after.split())


@pytest.mark.parametrize(
    ("text", "word"),
    [("/a/b", "/a/b"), ("/a b", '"/a b"'), ("/50%", "/50%%"), ("/$HOME", "/$$HOME"), ('/a"b\\c', '"/a\\"b\\\\c"')],
)
def test_words_are_literal(text: str, word: str) -> None:
    assert quoted(text) == word


def test_the_script_calls_the_command(tmp_path: Path) -> None:
    program = tmp_path / "a program"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(init_script(HostPaths("/srv/my world"), str(program)))
    script.chmod(0o755)

    def said(word: str) -> tuple[int, str]:
        done = subprocess.run([script, word], capture_output=True, text=True, check=False, env={"PATH": os.defpath})
        return done.returncode, done.stdout

    stop, start = "--root /srv/my world service shutdown --timeout 300\n", "--root /srv/my world service boot\n"
    assert [said(word) for word in ("start", "stop", "restart")] == [(0, start), (0, stop), (0, stop + start)]
    assert said("dance") == (2, "")
