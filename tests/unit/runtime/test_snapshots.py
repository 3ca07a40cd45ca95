"""The records of snapshots: what is kept of them, and which was made first."""

from pathlib import Path

from pycontainer.runtime.snapshots import Snapshot, load_snapshots, next_number, save_snapshot

LAYERS = ("0" * 16,)


def test_their_order_is_that_in_which_they_were_made(tmp_path: Path) -> None:
    """FLT-08: also with a clock that was set back meanwhile; those of a version without numbers are older than all others."""
    made = [Snapshot("old", 100.0, LAYERS), Snapshot("older", 99.0, LAYERS), Snapshot("in-2036", 2.1e9, LAYERS, 1)]
    made.append(Snapshot("back-again", 1.8e9, LAYERS, next_number({one.name: one for one in made})))
    for snapshot in made:
        save_snapshot(str(tmp_path), snapshot)
    found, damaged = load_snapshots(str(tmp_path))
    assert list(found) == ["older", "old", "in-2036", "back-again"] and damaged == []
    assert sorted(found.values()) == sorted(made)
