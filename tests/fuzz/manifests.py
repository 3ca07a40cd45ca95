"""The documents of images (store/manifests.py, ociconfig.py, ocilayout.py, dockerarchive.py); the first byte says which."""

import hashlib
import json
import os

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.store.archivefiles import Place
from pycontainer.store.blobs import is_digest
from pycontainer.store.dockerarchive import read_archive
from pycontainer.store.manifests import parse_index, parse_manifest
from pycontainer.store.ociconfig import host_architecture, make_config, parse_config
from pycontainer.store.ocilayout import read_layout
from tests.fuzz.inputs import check_message, write

_DIGEST = "sha256:" + "a" * 64
_INDEX_TYPE, _TYPE = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
_CONFIG = {
    "architecture": host_architecture(),
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": [_DIGEST]},
    "config": {"Env": ["A=1"], "Volumes": {"/d": {}}, "Healthcheck": {"Test": ["NONE"], "Interval": 5}},
}
_LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": _DIGEST, "size": 5}
_MANIFEST = {
    "schemaVersion": 2,
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": _DIGEST, "size": 5},
    "layers": [_LAYER],
}
_ENTRY = {
    "mediaType": _TYPE,
    "digest": _DIGEST,
    "size": 5,
    "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
    "annotations": {"org.opencontainers.image.ref.name": "a"},
}
_INDEX = {"schemaVersion": 2, "manifests": [_ENTRY, {**_ENTRY, "mediaType": _INDEX_TYPE}]}
_DOCKER = [{"Config": "c", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]
SEEDS = (
    b"i" + json.dumps(_INDEX).encode(),
    b"m" + json.dumps(_MANIFEST).encode(),
    b"c" + json.dumps(_CONFIG).encode(),
    b"d" + json.dumps(_DOCKER).encode(),
    b"i" + json.dumps({**_INDEX, "layers": []}).encode(),
    b"m" + json.dumps({**_MANIFEST, "manifests": []}).encode(),
    b"d[{}]",
    b"c{}",
)
MAX_BYTES = 4000


class _Files:
    """Every name leads to the fuzzed document, a config, or a layout's mark."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def find(self, name: str) -> Place | None:
        assert not name.startswith("blobs/") or len(name) == len("blobs/sha256/") + 64
        data = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "c": json.dumps(_CONFIG).encode()}.get(
            name, self._data
        )
        path = write(f"manifests/{hashlib.sha256(data).hexdigest()}", data)
        fd = os.open(path, os.O_RDONLY)
        self.opened.append(fd)
        return Place(fd, 0, len(data))

    opened: list[int] = []


def try_one(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    try:
        if kind == b"i":
            for descriptor in parse_index(content, "index.json"):
                assert is_digest(descriptor.digest) and descriptor.size_bytes >= 0
            read_layout(_Files(content), "linux/amd64")
        elif kind == b"m":
            manifest = parse_manifest(content, "manifest")
            assert all(is_digest(part.digest) for part in (manifest.config, *manifest.layers))
        elif kind == b"c":
            found = parse_config(content, _DIGEST)
            assert all(is_digest(diff_id) for diff_id in found.diff_ids)
            again = parse_config(make_config(found.config, found.diff_ids, platform=found.platform), _DIGEST)
            assert (again.diff_ids, again.platform) == (found.diff_ids, found.platform)
        elif kind == b"d":
            read_archive(_Files(content), "linux/amd64")
    except (InvalidInput, Unsupported) as error:
        check_message(error)
    finally:
        while _Files.opened:
            os.close(_Files.opened.pop())
