"""Containers as the command line and YAML files describe them, with the limits of a plan in the place of its name."""

from typing import Any

from pycontainer.errors import InvalidInput


def complete_specs(spec: dict[str, Any], *, file: str | None, plans_dir: str) -> list[dict[str, Any]]:
    """Return the plain specs that are asked for: `spec` alone, or those of `file`, a single one of which it overrides.

    A plan gives what neither says. What a plan of the file's is called, `--plan` overrides.
    """
    if file is None and "plan" not in spec:
        return [spec]
    from pycontainer.hosting.plans import Plans  # yaml, 15 ms that who needs neither saves
    from pycontainer.spec import yamlfile

    found: list[Plans] = []

    def expand(plain: dict[str, Any]) -> dict[str, Any]:
        if plain.get("plan") is not None and not found:
            found.append(Plans.load(plans_dir))
        return found[0].expand(plain) if found else {key: value for key, value in plain.items() if key != "plan"}

    if file is None:
        return [expand(spec)]
    specs = [document.plain for document in yamlfile.load(file, expand=expand)]
    if spec and len(specs) != 1:
        raise InvalidInput(
            f"'{file}' describes {len(specs)} containers, and options are for one",
            hint="write the settings into the file",
            field="file",
        )
    return [expand({**one, **spec}) for one in specs]
