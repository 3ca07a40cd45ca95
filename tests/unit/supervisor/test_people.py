"""The file that says whose users may connect: what it opens, and that anything wrong with it opens nothing."""

import grp
import os
from pathlib import Path

import pytest

from pycontainer.supervisor.operators import Operators
from pycontainer.supervisor.people import load_people

GAMES, UUCP = grp.getgrnam("games").gr_gid, grp.getgrnam("uucp").gr_gid


def written(path: Path, text: str, mode: int = 0o644) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_what_it_opens(tmp_path: Path) -> None:
    text = """
groups: {games: acme, 4711: acme, uucp: beta}
images: ["debian*"]
tenants:
  acme: {images: "acme/*", networks: [acme-net], ports: 20000-20099}
"""
    people = load_people(written(tmp_path / "people.yaml", text))
    assert not people.problem
    acme, beta = people.callers[GAMES], people.callers[UUCP]
    assert acme == people.callers[4711] == ("acme", ("debian*", "acme/*"), ("acme-net",), (20000, 20099))
    assert beta == ("beta", ("debian*",), (), None)
    assert (
        people.describe()
        == "group '4711' for tenant 'acme', group 'games' for tenant 'acme', group 'uucp' for tenant 'beta'"
    )
    assert people.of([1, GAMES, 4711]) == {"acme": acme}
    assert set(people.of([GAMES, UUCP])) == {"acme", "beta"}


def test_a_group_that_is_not_there_yet(tmp_path: Path) -> None:
    """The others are served; who looks is told."""
    path = written(tmp_path / "people.yaml", "groups: {games: acme, no-such-group: beta}")
    people = load_people(path)
    assert set(people.callers) == {GAMES}
    assert people.problem == f"'{path}': this host has no group 'no-such-group'"
    assert load_people(str(tmp_path / "none")) == ({}, {}, "")


WRONG = [
    ("", "is not a mapping"),
    ("- a", "is not a mapping"),
    ("groups: {}", "groups: there is no group"),
    ("groups: {games: acme}\nimage: x", "unknown key 'image', did you mean 'images'?"),
    ("groups: {games: ../x}", "groups.games: '../x' is not a tenant's name"),
    ("groups: {games: [acme]}", "groups.games: ['acme'] is not a tenant's name"),
    ("groups: {games: acme.one}", "groups.games: tenant 'acme.one' has a dot in its name: it can have no users"),
    ("groups: {0: acme}", "groups.0: group 0 cannot be a tenant's"),
    ("groups: {-1: acme}", "groups.-1: group -1 cannot be a tenant's"),
    ("groups: {root: acme}", "groups.root: group 0 cannot be a tenant's"),
    (f"groups: {{games: acme, {GAMES}: beta}}", "it is the same group as 'games', which is of another tenant"),
    ("groups: {games: acme, games: beta}", "key 'games' is given twice"),
    ("groups: {games: acme}\nimages: [1]", "images: [1] is no list of names"),
    ("groups: {games: acme}\nimages: ['']", "images: '' is no pattern of an image's name"),
    ("groups: {games: acme}\ntenants: {beta: {}}", "tenants.beta: no group is this tenant's"),
    ("groups: {games: acme}\ntenants: {acme: {disk: 1G}}", "unknown key 'disk'"),
    ("groups: {games: acme}\ntenants: {acme: {networks: host}}", "'host' is no network that a tenant can be given"),
    ("groups: {games: acme}\ntenants: {acme: {ports: 0-10}}", "'0-10' is no range of ports"),
    ("groups: {games: acme}\ntenants: {acme: {ports: 30-20}}", "'30-20' is no range of ports"),
    ("groups: {games: acme}\ntenants: {acme: {ports: 20-99999}}", "'20-99999' is no range of ports"),
    ("groups: {games: acme}\ntenants: {acme: {ports: 20-}}", "'20-' is no range of ports"),
    ("groups: [", "not YAML"),
    ("groups: &a {games: acme}", "anchor '&a' is not supported"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_what_is_wrong_opens_nothing(tmp_path: Path, text: str, reason: str) -> None:
    """API-01, VAL-01"""
    people = load_people(written(tmp_path / "people.yaml", text))
    assert not people.callers
    assert people.problem.startswith("no users of tenants: ") and reason in people.problem
    assert "\n" not in people.problem


def test_what_others_could_have_written_opens_nothing(tmp_path: Path) -> None:
    """API-01"""
    path = written(tmp_path / "people.yaml", "groups: {games: acme}", 0o666)
    assert "others could have written it" in load_people(path).problem
    os.unlink(path)
    os.symlink(written(tmp_path / "other.yaml", "groups: {games: acme}"), path)
    assert "Too many levels of symbolic links" in load_people(path).problem


def test_a_change_holds_from_the_next_look_on(tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    operators = Operators(people_file=str(path))
    assert not operators.has_others and operators.describe() == "root"
    written(path, "groups: {games: acme}")
    operators.refresh()
    assert operators.has_others and operators.describe() == "root; group 'games' for tenant 'acme'"
    seen = operators.people
    operators.refresh()
    assert operators.people is seen
    written(path, "groups: {games: acme.two}")
    operators.refresh()
    assert not operators.has_others
    assert operators.describe().startswith("root (no users of tenants: ")
    path.unlink()
    operators.refresh()
    assert operators.describe() == "root"
