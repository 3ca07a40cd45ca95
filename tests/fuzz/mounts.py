"""Volumes, tmpfs and mounts, as text and as mappings (spec/mounts.py)."""

from pycontainer.spec.model import Mount
from pycontainer.spec.mounts import parse_mount, parse_tmpfs, parse_volume
from tests.fuzz.inputs import parsed, value_of

SEEDS = (
    b"/srv/www:/var/www:ro",
    b"data:/data",
    b"/run:size=64m,mode=1777,exec,ro",
    b"type=bind,source=/a,target=/b,readonly,bind-nonrecursive",
    b"type=tmpfs,dst=/t,tmpfs-size=1M,tmpfs-mode=755,tmpfs-exec=true",
    b'{"type": "bind", "source": "/a,b", "target": "/b", "readonly": true}',
    b"../up:/../down",
)
MAX_BYTES = 400


def try_one(data: bytes) -> None:
    value = value_of(data)
    for parse in (parse_volume, parse_tmpfs, parse_mount):
        mount = parsed(parse, value)
        if isinstance(mount, Mount):
            parts = mount.target.split("/")
            assert parts[0] == "" and len(parts) > 1 and not {"", ".", ".."} & set(parts[1:])
            assert parts[1] not in ("proc", "sys")
            assert (mount.type == "bind") == mount.source.startswith("/")
            assert mount.size_bytes is None or mount.size_bytes >= 4096
            assert mount.mode is None or 0 <= mount.mode <= 0o7777
