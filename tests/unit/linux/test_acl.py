"""Lists of groups on files: what is set is what the kernel holds, and it goes again."""

import os
from pathlib import Path

import pytest

from pycontainer.linux.acl import group_rights, set_group_rights


def test_groups_beside_that_of_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    Path(path).touch(0o600)
    try:
        set_group_rights(path, 0o600, {4711: 0o6, 12: 0o4})
    except OSError as error:
        pytest.skip(f"no access control lists here: {error}")
    assert group_rights(path) == (0o600, {4711: 0o6, 12: 0o4})
    assert os.stat(path).st_mode & 0o777 == 0o660  # the mask, where there is a list
    set_group_rights(path, 0o640, {12: 0o1})
    assert group_rights(path) == (0o640, {12: 0o1})
    set_group_rights(path, 0o600, {})
    assert group_rights(path) == (0o600, {})
    assert os.stat(path).st_mode & 0o777 == 0o600
    set_group_rights(path, 0o600, {})
