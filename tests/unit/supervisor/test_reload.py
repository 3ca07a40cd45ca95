"""New code is tried before it is executed."""

import pytest

from pycontainer.errors import PycontainerError
from pycontainer.supervisor import reload


def test_code_that_cannot_be_loaded_is_told_of() -> None:
    reload._probe("-I", "import json")
    with pytest.raises(
        PycontainerError, match="cannot be loaded: ModuleNotFoundError: No module named 'pycontainer_x'"
    ):
        reload._probe("-I", "import pycontainer_x")
