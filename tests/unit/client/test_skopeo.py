"""References are read as Docker reads them, and refused where skopeo could take them for something else."""

import pytest

from pycontainer.client.skopeo import parse_reference
from pycontainer.errors import InvalidInput

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("nginx", "docker://docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker://docker.io/library/nginx:1.27"),
        ("team/web", "docker://docker.io/team/web:latest"),
        ("docker.io/nginx", "docker://docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx:1", "docker://docker.io/library/nginx:1"),
        ("localhost/web", "docker://localhost/web:latest"),
        ("localhost:5000/a/b/c:x", "docker://localhost:5000/a/b/c:x"),
        ("[::1]:5000/web", "docker://[::1]:5000/web:latest"),
        ("quay.io/a/b", "docker://quay.io/a/b:latest"),
        ("docker://quay.io/a/b:2", "docker://quay.io/a/b:2"),
        (f"quay.io/a/b@{DIGEST}", f"docker://quay.io/a/b@{DIGEST}"),
        (f"quay.io/a/b:2@{DIGEST}", f"docker://quay.io/a/b@{DIGEST}"),
    ],
)
def test_reference(text: str, source: str) -> None:
    assert parse_reference(text).source == source


@pytest.mark.parametrize(
    "text",
    ["", "-x", "--help", "Nginx", "a/B", "a:", "a@", "a@sha256:12", f"a@{DIGEST}0", "a b", "a\n", "quay.io/", "/a", "a//b",
     "a/../b", "oci:/etc:x", "dir:/etc", "quay.io/a:b/c", "quay.io:99999999/a", "a@md5:00", "é", "a:" + "x" * 129],
)  # fmt: skip
def test_no_reference(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no reference to an image in a registry"):
        parse_reference(text)
