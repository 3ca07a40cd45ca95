"""Names as Docker has them, in archives that it is to read."""

import pytest

from pycontainer.store.archive import docker_tag, full_name


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("web", "web:latest"),
        ("web:2", "web:2"),
        ("team/web_x.y", "team/web_x.y:latest"),
        ("localhost:5000/team/web", "localhost:5000/team/web:latest"),
        ("registry.example.org/web:1@sha256:" + "0" * 64, "registry.example.org/web:1"),
        ("Web", ""),
        ("team/Web:1", ""),
        ("a//b", ""),
        ("", ""),
    ],
)
def test_docker_tag(name: str, tag: str) -> None:
    assert docker_tag(name) == tag


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("web", "docker.io/library/web:latest"),
        ("team/web:2", "docker.io/team/web:2"),
        ("localhost/web", "localhost/web:latest"),
        ("registry:5000/web:1", "registry:5000/web:1"),
        ("Web", ""),
    ],
)
def test_full_name(name: str, whole: str) -> None:
    assert full_name(name) == whole
