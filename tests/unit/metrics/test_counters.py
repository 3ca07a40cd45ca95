"""Counters that never go down within a run."""

from pycontainer.metrics.counters import AllCounters, Counters


def test_a_lagging_look_is_not_heeded() -> None:
    counters = Counters(1)
    assert [counters.held("cpu", value) for value in (5, 4, 5, 6)] == [5, 5, 5, 6]


def test_what_begins_anew_goes_on() -> None:
    """A link that was made again counts from 0."""
    counters = Counters(1)
    assert [counters.resumed("rx", value) for value in (100, 150, 0, 10, 5)] == [100, 150, 150, 160, 165]


def test_another_link_that_has_counted_more_already() -> None:
    counters = Counters(1)
    assert counters.resumed("rx", 100, 7) == 100
    assert counters.resumed("rx", 130, 8) == 230
    assert counters.resumed("rx", 140, 8) == 240


def test_each_of_its_own() -> None:
    counters = Counters(1)
    assert (counters.held("a", 5), counters.held("b", 1), counters.resumed("c", 2)) == (5, 1, 2)


def test_another_run_begins_at_its_own_count() -> None:
    everything = AllCounters()
    everything.of("c1", 1).held("cpu", 50)
    assert everything.of("c1", 1).held("cpu", 40) == 50
    assert everything.of("c1", 2).held("cpu", 3) == 3


def test_what_is_gone_is_forgotten() -> None:
    """LK-01: ten thousand containers that came and went leave nothing."""
    everything = AllCounters()
    for number in range(10):
        everything.of(f"c{number}", 1).held("cpu", 50)
    everything.keep(["c3", "never there"])
    assert everything.of("c3", 1).held("cpu", 1) == 50
    assert everything.of("c4", 1).held("cpu", 1) == 1
