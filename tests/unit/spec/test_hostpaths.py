"""Relative host paths become absolute; nothing else changes."""

import pytest

from pycontainer.spec.hostpaths import absolute_host_paths


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"rootfs": "roots/web"}, {"rootfs": "/base/dir/roots/web"}),
        ({"rootfs": "../web"}, {"rootfs": "/base/web"}),
        ({"rootfs": "/abs/../x/"}, {"rootfs": "/x"}),
        (
            {"volumes": ["./a:/b:ro", "..:/c", ".:/d", "name:/e", "/f:/g", "a/b:/h"]},
            {"volumes": ["/base/dir/a:/b:ro", "/base:/c", "/base/dir:/d", "name:/e", "/f:/g", "a/b:/h"]},
        ),
        ({"volumes": "./a:/b"}, {"volumes": "/base/dir/a:/b"}),
        (
            {"mounts": [{"type": "bind", "source": "a", "target": "/b"}, {"source": "a", "target": "/b"}]},
            {"mounts": [{"type": "bind", "source": "/base/dir/a", "target": "/b"}, {"source": "a", "target": "/b"}]},
        ),
        (
            {"mounts": ["type=bind,src=a,dst=/b,readonly", "src=a,dst=/b"]},
            {"mounts": ["type=bind,src=/base/dir/a,dst=/b,readonly", "src=a,dst=/b"]},
        ),
        (
            {"rootfs": None, "volumes": 5, "mounts": [7], "memory": "1G"},
            {"rootfs": None, "volumes": 5, "mounts": [7], "memory": "1G"},
        ),
    ],
)
def test_paths(plain: dict[str, object], expected: dict[str, object]) -> None:
    before = repr(plain)
    assert absolute_host_paths(plain, "/base/dir") == expected
    assert repr(plain) == before
