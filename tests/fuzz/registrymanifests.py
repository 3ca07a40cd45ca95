"""What registries say of images (client/manifests.py)."""

import json

from pycontainer.client import manifests
from pycontainer.client.skopeo import parse_reference
from pycontainer.errors import Unsupported
from tests.fuzz.inputs import check_message, parsed

_REFERENCE = parse_reference("registry.example.org/web:1")
_DIGEST = "sha256:" + "ab" * 32
_CONFIG = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": _DIGEST, "size": 7}
_LAYER = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": _DIGEST, "size": 9}
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_PLATFORM = {"os": "linux", "architecture": manifests.architecture()}
SEEDS = (
    json.dumps({"schemaVersion": 2, "mediaType": _DOCKER, "config": _CONFIG, "layers": [_LAYER, _LAYER]}).encode(),
    json.dumps({"schemaVersion": 2, "config": _CONFIG, "layers": [_LAYER]}).encode(),
    json.dumps({"manifests": [{**_CONFIG, "platform": _PLATFORM}, {"platform": {"os": 1}}, 7]}).encode(),
    json.dumps({"manifests": [{"digest": "sha256:../../x", "platform": _PLATFORM}]}).encode(),
    b'{"mediaType": [], "layers": {}}',
)
MAX_BYTES = 2000


def try_one(data: bytes) -> None:
    made = parsed(_read, data)
    if isinstance(made, str):
        assert _is_digest(made)
    elif isinstance(made, manifests.Manifest):
        json.loads(made.data)
        for blob in (made.config, *made.layers):
            assert _is_digest(blob.digest) and 0 <= blob.size_bytes <= 1 << 40


def _read(data: object) -> object:
    assert isinstance(data, bytes)
    value = manifests.parsed(data, _REFERENCE)
    if manifests.is_index(value):
        return manifests.chosen(value, _REFERENCE)
    try:
        return manifests.manifest_of(value, data, _DIGEST, _REFERENCE)
    except Unsupported as error:
        check_message(error)
        return None


def _is_digest(value: str) -> bool:
    return len(value) == 71 and value.startswith("sha256:") and set(value[7:]) <= set("0123456789abcdef")
