"""What `set --transient` puts in force is known to the next supervisor, as long as the container runs."""

import dataclasses
import os
from pathlib import Path
from typing import cast

import pytest

from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.runtime.start import Run
from pycontainer.spec.model import ContainerSpec
from pycontainer.supervisor.world import World
from tests.support.doctor import GONE


def make_world(path: Path, *, runs: bool) -> World:
    made = World(HostPaths(str(path)), open_files_soft=1024)
    os.makedirs(made.paths.run_containers_dir, exist_ok=True)
    made.add(Container(made.paths, GONE, ContainerSpec(name="x", pids_max=50), None, base=0, created=0.0))
    if runs:
        made.runs[GONE] = cast(Run, None)  # only looked for
    return made


def test_over_a_supervisor(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path, runs=True)
    container = world.containers[GONE]
    assert world.transient.spec_of(container) is container.spec
    spec = dataclasses.replace(container.spec, pids_max=77)
    world.transient.note(GONE, spec)
    following = make_world(tmp_path, runs=True)
    following.transient.load()
    assert following.transient.spec_of(container) == spec
    following.transient.note(GONE, None)
    assert following.transient.spec_of(container) is container.spec
    assert os.listdir(world.paths.run_containers_dir) == []
    assert capfd.readouterr().err == ""


def test_of_an_ended_run_nothing_stays(tmp_path: Path) -> None:
    world = make_world(tmp_path, runs=True)
    world.transient.note(GONE, ContainerSpec(name="x"))
    following = make_world(tmp_path, runs=False)
    following.transient.load()
    assert os.listdir(world.paths.run_containers_dir) == []
    assert following.transient.spec_of(following.containers[GONE]) is following.containers[GONE].spec


def test_a_damaged_note_is_said_and_goes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path, runs=True)
    note = Path(world.paths.run_containers_dir, f"{GONE}.transient")
    note.write_text('{"spec": {"name": 1}}')
    world.transient.load()
    assert f"'{note}' is damaged: the limits on record hold again: " in capfd.readouterr().err
    assert not note.exists()
