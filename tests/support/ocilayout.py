"""OCI layouts written by hand, so that a test knows every digest in them, and names of what one holds."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def layer_of(files: Mapping[str, bytes]) -> bytes:
    """Return a plain layer with these files, root's and with the time 0."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Layout:
    """A layout that grows; every method returns the descriptor of what it added."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs/sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.directory / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def json(self, value: object, media_type: str) -> dict[str, Any]:
        return self.blob(json.dumps(value).encode(), media_type)

    def image(
        self,
        layers: Sequence[bytes],
        *,
        architecture: str = ARCHITECTURE,
        config: Mapping[str, Any] | None = None,
        pack: Callable[[bytes], bytes] = lambda layer: gzip.compress(layer, 1, mtime=0),
    ) -> dict[str, Any]:
        """Add an image of plain layers, which are gzip'ed, fast, or become what `pack` makes of them."""
        image = {
            "architecture": architecture,
            "os": "linux",
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.json(image, "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(pack(one), LAYER_TYPE) for one in layers],
        }
        return self.json(manifest, MANIFEST_TYPE)

    def manifest(self, descriptor: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON that a descriptor leads to."""
        path = self.directory / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")
        value: dict[str, Any] = json.loads(path.read_bytes())
        return value

    def index(self, *images: tuple[str, Mapping[str, Any]]) -> None:
        """Write index.json: (name, descriptor) of each image."""
        entries = [
            {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}} for name, descriptor in images
        ]
        (self.directory / "index.json").write_text(
            json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})
        )
