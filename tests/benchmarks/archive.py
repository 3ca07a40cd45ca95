"""An OCI archive with as much in it as one likes, made of this machine's own /usr."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.support.ocilayout import ARCHITECTURE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE


def make_archive(directory: Path, name: str, megabytes: int) -> tuple[Path, int]:
    """Make an OCI archive of one layer with files of /usr; return its path and how many files there are."""
    layout = directory / f"{name}.layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    plain, left, files = directory / f"{name}.plain", megabytes * 1_000_000, 0
    with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as tar:
        for top, names, found in os.walk("/usr"):
            names.sort()
            for one in sorted(found):
                path = os.path.join(top, one)
                if left <= 0 or not os.path.isfile(path):
                    continue
                tar.add(path, path.lstrip("/"), recursive=False)
                left, files = left - os.lstat(path).st_size, files + 1
    if left > 0:
        raise ValueError(f"/usr holds less than {megabytes} MB")
    diff_id = digest_of(plain)
    subprocess.run(["gzip", "-n", "-6", plain], check=True)
    layer = blob(layout, plain.with_suffix(".plain.gz"), LAYER_TYPE)
    image = {"architecture": ARCHITECTURE, "os": "linux", "config": {"Cmd": ["/bin/true"]}}
    image["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]}
    config = json_blob(layout, image, "application/vnd.oci.image.config.v1+json")
    manifest = json_blob(layout, {"schemaVersion": 2, "config": config, "layers": [layer]}, MANIFEST_TYPE)
    entry = {**manifest, "annotations": {"org.opencontainers.image.ref.name": name}}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    archive = directory / f"{name}.tar"
    subprocess.run(["tar", "-cf", archive, "-C", layout, "oci-layout", "index.json", "blobs"], check=True)
    shutil.rmtree(layout)
    return archive, files


def json_blob(layout: Path, value: object, media_type: str) -> dict[str, object]:
    path = layout / "json"
    path.write_text(json.dumps(value))
    return blob(layout, path, media_type)


def blob(layout: Path, path: Path, media_type: str) -> dict[str, object]:
    """Move a file into the layout; return its descriptor."""
    digest, size = digest_of(path), path.stat().st_size
    path.rename(layout / "blobs/sha256" / digest)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
