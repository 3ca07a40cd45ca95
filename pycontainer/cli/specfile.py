"""`run -f` and `create -f`: containers described in a YAML file."""

from typing import Any

from pycontainer.errors import InvalidInput
from pycontainer.spec import yamlfile


def load_specs(path: str, *, override: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the plain specs of the file; what the command line says overrides that of a single one."""
    specs = [document.plain for document in yamlfile.load(path)]
    if override and len(specs) != 1:
        raise InvalidInput(
            f"'{path}' describes {len(specs)} containers, and options are for one",
            hint="write the settings into the file",
            field="file",
        )
    return [{**spec, **override} for spec in specs]
