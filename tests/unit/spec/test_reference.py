"""docs/spec.md is what the table says, and its examples are accepted."""

import re
from pathlib import Path

import pytest

from pycontainer.spec import yamlfile
from pycontainer.spec.fields import FIELDS, Field
from pycontainer.spec.reference import render

DOCS = Path(__file__).parents[3] / "docs" / "spec.md"


def test_the_reference_is_up_to_date() -> None:
    assert DOCS.read_text() == render(), "run: python -m pycontainer.spec.reference > docs/spec.md"


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.key)
def test_the_example_of_each_setting(field: Field) -> None:
    lines = [f"{field.key}: {field.example}"]
    if field.key == "rootfs_writable":
        lines.append("rootfs: /srv/roots/web")
    elif field.key not in ("image", "rootfs"):
        lines.append("image: debian-nginx")
    needed = {"memory_swap": "memory: 200M", "cpu_burst": "cpus: 0.5"}
    if field.key in needed:
        lines.append(needed[field.key])
    (document,) = yamlfile.load_text("\n".join(lines), source="example", base_dir="/")
    assert field.key in document.plain


def test_the_files_in_the_reference() -> None:
    single, several = re.findall(r"```yaml\n(.*?)```", render(), re.DOTALL)
    assert yamlfile.load_text(single, source="single", base_dir="/")[0].plain["cpus"] == "0.5"
    documents = yamlfile.load_text(several, source="several", base_dir="/")
    assert [document.plain["name"] for document in documents] == ["web", "cache"]
