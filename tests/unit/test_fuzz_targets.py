"""The targets of tests/fuzz without atheris: their seeds, and what hypothesis makes of those."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parents[1] / "fuzz"
TARGETS = sorted(path.stem for path in FUZZ.glob("[a-z]*.py") if path.stem not in ("broken", "inputs", "test_fuzz"))


def target(name: str) -> ModuleType:
    return importlib.import_module(f"tests.fuzz.{name}")


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    """VAL-01, VAL-02, VAL-03, VAL-04, API-04, FLT-09"""
    module = target(name)
    assert len(set(module.SEEDS)) == len(module.SEEDS) >= 4 and module.__doc__
    for seed in module.SEEDS:
        assert len(seed) <= module.MAX_BYTES
        module.try_one(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_seeds_that_are_cut_joined_and_damaged(name: str, data: st.DataObject) -> None:
    """VAL-01, VAL-02, VAL-03, VAL-04, API-04, FLT-09"""
    module = target(name)
    one, two = (data.draw(st.sampled_from(module.SEEDS)) for _ in range(2))
    first = data.draw(st.integers(0, len(one)))
    second = data.draw(st.integers(0, len(two)))
    middle = data.draw(st.binary(max_size=8) | st.sampled_from([b"\n", b"\0", b"9" * 30, b"\xed\xa0\x80", b"[" * 40]))
    module.try_one((one[:first] + middle + two[second:])[: module.MAX_BYTES])


def test_every_parser_of_the_package_has_a_target() -> None:
    """A new module of spec/ that parses is fuzzed, or stands here with the reason."""
    not_parsers = {
        "asked": "target spec",
        "fields": "a table",
        "hostpaths": "strings of paths, which values.py judges",
        "model": "data",
        "parse": "target spec",
        "problems": "words",
        "reference": "writes docs",
        "textfile": "target envfile, yamlfile",
        "transfer": "target spec",
        "validate": "target spec",
    }
    modules = {path.stem for path in (FUZZ.parents[1] / "pycontainer/spec").glob("[a-z]*.py")}
    assert modules - set(TARGETS) == set(not_parsers)
