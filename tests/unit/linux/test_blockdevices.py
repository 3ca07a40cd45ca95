"""Which disks lie beneath paths, on whatever this machine has."""

import os
from pathlib import Path

from pycontainer.linux.blockdevices import disks_of


def test_a_disk_is_a_whole_disk(tmp_path: Path) -> None:
    for disk in disks_of([str(tmp_path)]):
        assert os.path.exists(f"/sys/dev/block/{disk}/queue"), "a partition has none"


def test_each_disk_is_named_once(tmp_path: Path) -> None:
    assert disks_of([str(tmp_path), str(tmp_path), "/no/such/path"]) == disks_of([str(tmp_path)])


def test_what_lies_in_memory_has_no_disk() -> None:
    assert disks_of(["/proc", "/sys"]) == ()
