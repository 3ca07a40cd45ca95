"""The files of examples/oci, as the tests install them: with the runtime of the test in the place of ours."""

import os

from tests.support.images import CHECKOUT

DIRECTORY = f"{CHECKOUT}/examples/oci"
INSTALLED = "/usr/local/bin/pycontainer-oci"
"""Where the recipes expect the program."""


def recipe(name: str, runtime: str) -> str:
    """Return the text of a recipe for the program `runtime`."""
    with open(os.path.join(DIRECTORY, name)) as file:
        text = file.read()
    assert INSTALLED in text, f"{name} names no runtime"
    return text.replace(INSTALLED, runtime)
