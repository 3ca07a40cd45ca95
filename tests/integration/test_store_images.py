"""The image store with its worker process: sharing, replacing, removing, kill -9, parallel imports. IMG-05, IMG-08."""

import bz2
import gzip
import json
import lzma
import os
import signal
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidInput, InvalidState, NotFound, PycontainerError, from_wire
from pycontainer.linux.files import remove_tree
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.runtime.worker import command
from pycontainer.store import load
from pycontainer.store.blobs import digest_of
from pycontainer.store.images import ImageStore
from pycontainer.store.imports import importing
from pycontainer.store.ociconfig import host_platform, parse_config
from pycontainer.store.refs import ImageInfo
from pycontainer.units import shown
from tests.support.poll import poll_until


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(HostPaths(str(tmp_path / "world")))


def import_image(store: ImageStore, source: str, name: str, config: dict[str, object]) -> ImageInfo:
    return load.import_image(store, source, name, config, Importer())


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """A small root file system."""
    source = tmp_path / "tree"
    (source / "bin").mkdir(parents=True)
    (source / "bin/sh").write_text("#!")
    (source / "etc").symlink_to("/etc")
    return str(source)


@pytest.fixture
def tarball(tmp_path: Path, tree: str) -> str:
    path = str(tmp_path / "tree.tar")
    with tarfile.open(path, "w") as tar:
        tar.add(tree, ".")
    return path


def images_dir(tmp_path: Path) -> Path:
    return tmp_path / "world/lib/images"


def start_worker(tmp_path: Path, source: str, name: str) -> "subprocess.Popen[bytes]":
    worker = subprocess.Popen(command("import_worker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    request = {"root": str(tmp_path / "world"), "action": "import", "source": source, "fd": None, "name": name}
    request |= {"config": {"cmd": ["sh"]}, "platform": "", "format": "", "in_use": []}  # type: ignore[dict-item]
    worker.stdin.write(json.dumps(request).encode() + b"\n")
    worker.stdin.flush()
    return worker


def finish(worker: "subprocess.Popen[bytes]") -> tuple[int, dict[str, Any]]:
    out, _ = worker.communicate(timeout=60)
    messages = [json.loads(line) for line in out.splitlines()]
    assert all(list(message) == ["progress"] for message in messages[:-1])
    return worker.returncode, messages[-1]


def test_import_list_get(store: ImageStore, tmp_path: Path, tree: str) -> None:
    info = import_image(store, tree, "local/debian-nginx:1.0", {"cmd": ["nginx"]})
    assert store.list() == [info]
    assert info["name"] == "local/debian-nginx:1.0"
    assert info["size_bytes"] == 2
    for reference in (info["name"], info["id"], info["id"][7:19]):
        image = store.get(reference)
        assert (image.name, image.id, image.config["cmd"]) == (info["name"], info["id"], ["nginx"])
        (layer,) = image.layer_dirs
        assert os.path.isabs(layer) and Path(layer, "bin/sh").read_text() == "#!"
        assert os.readlink(f"{layer}/etc") == "/etc"
    directory = images_dir(tmp_path)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert os.listdir(directory / "staging") == []


@pytest.mark.parametrize("form", ["plain", "gz", "bz2", "xz", "zst"])
def test_every_compression_gives_the_same_layer(store: ImageStore, tmp_path: Path, tarball: str, form: str) -> None:
    plain = import_image(store, tarball, "plain", {})
    data = Path(tarball).read_bytes()
    packed = {
        "plain": lambda: data,
        "gz": lambda: gzip.compress(data),
        "bz2": lambda: bz2.compress(data),
        "xz": lambda: lzma.compress(data),
        "zst": lambda: subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout,
    }[form]()
    archive = tmp_path / "packed"
    archive.write_bytes(packed)
    other = import_image(store, str(archive), "other", {})
    assert other["id"] == plain["id"]
    assert len(os.listdir(images_dir(tmp_path) / "layers")) == 1
    archive.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InvalidInput):
        import_image(store, str(archive), "half", {})
    with pytest.raises(NotFound):
        store.get("half")
    assert os.listdir(images_dir(tmp_path) / "staging") == []


def _compress(form: str, data: bytes) -> bytes:
    if form == "zst":
        return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    if form == "gz":
        return gzip.compress(data)
    return bz2.compress(data) if form == "bz2" else lzma.compress(data)


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]


@pytest.mark.parametrize("form", ["gz", "bz2", "xz", "zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage behind", "half a stream behind", "an archive behind"])
def test_damage_of_every_compression_is_refused(
    store: ImageStore, tmp_path: Path, tarball: str, form: str, damage: str
) -> None:
    """IMG-05: what Python's own readers of xz and bz2 would ignore is refused as well; nothing is left of it."""
    data = Path(tarball).read_bytes()
    packed = _compress(form, data)
    archive = tmp_path / "packed"
    archive.write_bytes(
        {
            "cut": packed[:-5],
            "flipped": _flipped(packed, len(packed) // 2),
            "garbage behind": packed + b"\1garbage" * 100,
            "half a stream behind": packed + packed[: len(packed) // 2],
            "an archive behind": packed + _compress(form, b"x" + data),
        }[damage]
    )
    with pytest.raises(InvalidInput, match="damaged|cut off|data follows"):
        import_image(store, str(archive), "bad", {})
    assert store.list() == []
    for part in ("layers", "staging", "refs"):
        assert os.listdir(images_dir(tmp_path) / part) == []


@pytest.mark.parametrize(("form", "padding"), [("gz", b"\0" * 1000), ("xz", b"\0" * 8)])
def test_streams_that_follow_each_other_and_padding_are_fine(
    store: ImageStore, tmp_path: Path, tarball: str, form: str, padding: bytes
) -> None:
    data = Path(tarball).read_bytes()
    plain = import_image(store, tarball, "plain", {})
    archive = tmp_path / "packed"
    archive.write_bytes(_compress(form, data[:700]) + _compress(form, data[700:]) + padding)
    assert import_image(store, str(archive), "two", {})["id"] == plain["id"]


def test_frames_of_zstd_follow_each_other(store: ImageStore, tmp_path: Path, tarball: str) -> None:
    data = Path(tarball).read_bytes()
    archive = tmp_path / "packed"
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"  # RFC 8878, 3.1.2
    archive.write_bytes(_compress("zst", data[:700]) + skippable + _compress("zst", data[700:]))
    assert import_image(store, str(archive), "two", {})["id"] == import_image(store, tarball, "plain", {})["id"]


def test_remove(store: ImageStore, tmp_path: Path, tree: str) -> None:
    one = import_image(store, tree, "one", {})
    import_image(store, tree, "two", {})
    store.remove("one", in_use={one["id"]})  # the other name keeps the image
    with pytest.raises(InvalidState, match="image 'two' is used by containers"):
        store.remove("two", in_use={one["id"]})
    store.remove("two", in_use=set())
    assert store.list() == []
    for part in ("layers", "refs", "staging"):
        assert os.listdir(images_dir(tmp_path) / part) == []
    with pytest.raises(NotFound) as caught:
        store.remove("two", in_use=set())
    assert "image list" in caught.value.hint


def test_a_replaced_image_stays_while_a_container_needs_it(store: ImageStore, tmp_path: Path, tree: str) -> None:
    old = import_image(store, tree, "web", {})
    Path(tree, "new").write_text("more")
    new = import_image(store, tree, "web", {})
    assert store.get("web").id == new["id"] != old["id"]
    assert [info["name"] for info in store.list()] == [old["id"], "web"]
    (old_layer,) = store.get(old["id"]).layer_dirs
    import_image(store, tree, "other", {"cmd": ["x"]})
    store.remove("other", in_use={old["id"]})
    assert os.path.isdir(old_layer)
    store.remove("web", in_use={old["id"]})
    assert [info["id"] for info in store.list()] == [old["id"]]
    with pytest.raises(InvalidState):
        store.remove(old["id"], in_use={old["id"]})
    store.remove(old["id"], in_use=set())
    assert os.listdir(images_dir(tmp_path) / "layers") == []


def test_a_damaged_record_harms_nobody_else(store: ImageStore, tmp_path: Path, tree: str) -> None:
    import_image(store, tree, "good", {})
    Path(tree, "new").write_text("more")
    import_image(store, tree, "bad", {})
    (images_dir(tmp_path) / "refs/bad.json").write_text('{"name": "bad", "layers": ["../../x"]}')
    listed = {info["name"]: info["damaged"] for info in store.list()}
    assert listed["good"] == "" and listed["bad"].startswith("the record of image 'bad' is damaged")
    with pytest.raises(InvalidState, match="the record of image 'bad' is damaged"):
        store.get("bad")
    store.remove("good", in_use=set())
    assert len(os.listdir(images_dir(tmp_path) / "layers")) == 2  # nobody knows which is bad's
    import_image(store, tree, "bad", {})
    assert store.get("bad").name == "bad"


@pytest.mark.parametrize("name", ["", ".", "../x", "a//b", "-a", "a\n", "a b", "x" * 256, "é", "a/" * 90 + "b", "a@b"])
def test_refuses_names(store: ImageStore, tmp_path: Path, tree: str, name: str) -> None:
    with pytest.raises(InvalidInput):
        import_image(store, tree, name, {})
    assert not images_dir(tmp_path).exists()


def test_refuses_sources(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        import_image(store, str(tmp_path / "gone"), "x", {})
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidInput, match="neither a directory nor a file"):
        import_image(store, str(tmp_path / "fifo"), "x", {})
    with pytest.raises(InvalidInput, match="holds the image store itself"):
        import_image(store, str(tmp_path), "x", {})


def test_worker_reports_result_and_error(tmp_path: Path, store: ImageStore, tarball: str) -> None:
    code, message = finish(start_worker(tmp_path, tarball, "x"))
    assert (code, message) == (0, {"result": store.list()[0]})
    code, message = finish(start_worker(tmp_path, str(tmp_path / "gone"), "x"))
    assert code == 1
    error = from_wire(message["error"])
    assert type(error) is NotFound and "gone" in error.message


def test_killed_import_leaves_nothing_usable(tmp_path: Path, store: ImageStore, tree: str) -> None:
    big = tmp_path / "big.tar"
    with tarfile.open(big, "w") as tar:
        for number in range(30_000):
            info = tarfile.TarInfo(f"d{number % 7}/f{number}")
            tar.addfile(info)
    worker = start_worker(tmp_path, str(big), "big")
    staging = images_dir(tmp_path) / "staging"
    poll_until(
        lambda: staging.is_dir() and any(path.name.startswith("f1") for path in staging.glob("*/layers/*/fs/d*/f1*")),
        timeout_seconds=30,
        what="the import is at work",
    )
    worker.send_signal(signal.SIGKILL)
    assert worker.wait(timeout=10) == -signal.SIGKILL
    worker.communicate()
    assert store.list() == []
    assert any(name.startswith("import-") for name in os.listdir(staging))
    assert os.listdir(images_dir(tmp_path) / "layers") == []
    import_image(store, tree, "next", {})
    assert os.listdir(staging) == []
    assert [info["name"] for info in store.list()] == ["next"]


def test_parallel_imports_share_one_layer(tmp_path: Path, store: ImageStore, tarball: str) -> None:
    workers = [start_worker(tmp_path, tarball, f"image{number}") for number in range(2)]
    results = [finish(worker) for worker in workers]
    assert [code for code, _ in results] == [0, 0]
    assert [info["name"] for info in store.list()] == ["image0", "image1"]
    assert len(os.listdir(images_dir(tmp_path) / "layers")) == 1
    assert os.listdir(images_dir(tmp_path) / "staging") == []


def test_full_disk_is_said_and_undone(tmp_path: Path, tarball: str) -> None:
    mounted = tmp_path / "world"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "pycontainer-test", str(mounted)], check=True)
    try:
        big = tmp_path / "big.tar"
        with tarfile.open(big, "w") as tar:
            info = tarfile.TarInfo("big")
            info.size = 1 << 20
            with open("/dev/urandom", "rb") as noise:
                tar.addfile(info, noise)
        code, message = finish(start_worker(tmp_path, str(big), "big"))
        error = from_wire(message["error"])
        assert code == 1 and type(error) is PycontainerError
        assert error.message == f"the import failed: {shown(str(big))}: No space left on device"
        assert "free some space" in error.hint
        assert finish(start_worker(tmp_path, tarball, "small"))[0] == 0
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_remove_tree_leaves_mounts_alone_and_says_so(tmp_path: Path) -> None:
    tree, outside = tmp_path / "doomed", tmp_path / "outside"
    (tree / "a/mounted").mkdir(parents=True)
    (tree / "a/file").write_text("x")
    (tree / "b").mkdir()
    outside.mkdir()
    (outside / "canary").write_text("here")
    subprocess.run(["mount", "--bind", str(outside), str(tree / "a/mounted")], check=True)
    try:
        with pytest.raises(OSError, match="a/mounted") as caught:
            remove_tree(str(tree))
        assert caught.value.filename == str(tree)
        assert (outside / "canary").read_text() == "here"
        assert sorted(str(path.relative_to(tree)) for path in tree.rglob("*")) == ["a", "a/mounted", "a/mounted/canary"]
    finally:
        subprocess.run(["umount", str(tree / "a/mounted")], check=True)
    remove_tree(str(tree))
    assert not tree.exists()


# -- content addressing --------------------------------------------------------------------------------------------


def test_an_archive_that_is_a_layer_is_kept_and_the_id_is_that_of_a_config(
    store: ImageStore, tmp_path: Path, tarball: str
) -> None:
    """What is in blobs is byte for byte what came; the image's id is the digest of its OCI config."""
    packed = tmp_path / "tree.tar.gz"
    packed.write_bytes(_compress("gz", Path(tarball).read_bytes()))
    info = import_image(store, str(packed), "web", {"cmd": ["sh"], "healthcheck": {"test": ["CMD", "x"]}})
    image = store.get("web")
    (layer,) = image.layers
    assert layer.diff_id == digest_of(Path(tarball).read_bytes()) and layer.key == layer.diff_id.replace(":", "-")
    assert layer.blob == digest_of(packed.read_bytes())
    assert layer.media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert (layer.format, layer.size_bytes, image.platform) == ("tar", 2, host_platform())
    assert Path(store.blobs.path(layer.blob)).read_bytes() == packed.read_bytes()
    config = parse_config(store.blobs.read(info["id"], 1 << 20), info["id"])
    assert config.diff_ids == (layer.diff_id,) and config.config == info["config"]
    assert store.blobs.all() == {info["id"], layer.blob}
    store.remove("web", in_use=set())
    assert store.blobs.all() == set()


@pytest.mark.parametrize("form", ["bz2", "xz", "directory"])
def test_what_is_no_layer_as_it_came_has_no_blob(
    store: ImageStore, tmp_path: Path, tree: str, tarball: str, form: str
) -> None:
    packed = tmp_path / "packed"
    if form != "directory":
        packed.write_bytes(_compress(form, Path(tarball).read_bytes()))
    info = import_image(store, tree if form == "directory" else str(packed), "web", {})
    assert store.get("web").layers[0].blob is None
    assert store.blobs.all() == {info["id"]}


def test_the_same_archive_again_is_not_unpacked_again(
    store: ImageStore, tarball: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = import_image(store, tarball, "one", {})

    def unpack(*_arguments: object) -> None:
        raise AssertionError("it was unpacked again")

    monkeypatch.setattr(Importer, "unpack", unpack)
    again = import_image(store, tarball, "two", {"cmd": ["x"]})
    assert again["id"] != first["id"] and store.get("two").layer_dirs == store.get("one").layer_dirs


def test_records_of_before_go_on_working(store: ImageStore, tmp_path: Path, tree: str) -> None:
    """A store that the version before wrote: one layer without a note, an id that is no config's."""
    directory = images_dir(tmp_path)
    key = "sha256-" + "a" * 64
    (directory / "layers" / key).mkdir(parents=True)
    Path(tree).rename(directory / "layers" / key / "fs")
    (directory / "refs").mkdir()
    (directory / "staging").mkdir()
    config = {"entrypoint": [], "cmd": ["sh"], "env": [], "user": "", "workdir": "", "exposed_ports": [], "volumes": []}
    record = {"name": "old", "id": "sha256:" + "b" * 64, "created": 1.5, "size_bytes": 2, "layers": [key]}
    (directory / "refs/old.json").write_text(
        json.dumps({**record, "config": {**config, "stop_signal": "", "labels": {}}})
    )
    image = store.get("old")
    assert (image.id, image.manifest, image.platform) == ("sha256:" + "b" * 64, None, host_platform())
    assert Path(image.layer_dirs[0], "bin/sh").read_text() == "#!"
    made = parse_config(store.config_blob(image), "x")
    assert made.config == image.config and made.diff_ids == ("sha256:" + "a" * 64,)
    store.tag("old", "other")
    store.remove("old", in_use={image.id})
    store.remove("other", in_use=set())
    assert os.listdir(directory / "layers") == []


def test_tag_moves_a_name_and_inspect_tells_all_of_them(store: ImageStore, tree: str) -> None:
    one = import_image(store, tree, "one", {})
    Path(tree, "new").write_text("more")
    two = import_image(store, tree, "two", {})
    assert store.tag("one", "local/three:1")["id"] == one["id"]
    assert store.inspect(one["id"])["names"] == ["local/three:1", "one"]
    assert store.tag("two", "one")["id"] == two["id"]
    shown = store.inspect("one")
    assert shown["names"] == ["one", "two"] and shown["manifest"] is None
    (layer,) = shown["layers"]
    assert layer["path"] == store.get("one").layer_dirs[0] and layer["format"] == "tar"
    with pytest.raises(InvalidInput):
        store.tag("two", "../x")
    with pytest.raises(NotFound):
        store.tag("none", "x")


def test_prune_takes_what_nobody_needs_and_nothing_else(store: ImageStore, tmp_path: Path, tree: str) -> None:
    one = import_image(store, tree, "web", {})
    Path(tree, "new").write_text("more")
    two = import_image(store, tree, "web", {})
    import_image(store, tree, "idle", {"cmd": ["x"]})
    orphan = images_dir(tmp_path) / "layers" / ("sha256-" + "f" * 64)
    (orphan / "fs").mkdir(parents=True)
    (images_dir(tmp_path) / "blobs/sha256" / ("f" * 64)).write_bytes(b"x")
    assert store.prune({one["id"]}) == ()
    assert not orphan.exists() and "sha256:" + "f" * 64 not in store.blobs.all()
    assert [info["id"] for info in store.prune(set())] == [one["id"]]
    assert [info["name"] for info in store.prune({two["id"]}, unused=True)] == ["idle"]
    assert [info["name"] for info in store.list()] == ["web"]
    assert len(os.listdir(images_dir(tmp_path) / "layers")) == 1


def test_what_an_import_counts_on_stays_until_it_is_over(store: ImageStore, tmp_path: Path, tarball: str) -> None:
    """An image is removed while another import has found its layer: the layer stays, and goes when the import gives up."""
    import_image(store, tarball, "web", {})
    (layer,) = store.get("web").layers
    with importing(store) as work:
        assert work.layer(layer.key) == layer
        assert layer.blob is not None and work.has_blob(layer.blob)
        store.remove("web", in_use=set())
        assert layer.exists() and store.blobs.has(layer.blob)
    store.prune(set())
    assert not layer.exists() and store.blobs.all() == set()


def test_a_layer_that_no_image_has_is_made_anew(store: ImageStore, tmp_path: Path, tarball: str) -> None:
    """It may be what a power cut left of one; but while a record is damaged it may be a container's, and stays."""
    import_image(store, tarball, "web", {})
    (layer,) = store.get("web").layers
    (images_dir(tmp_path) / "refs/web.json").unlink()
    os.unlink(f"{layer.path}/bin/sh")
    import_image(store, tarball, "again", {})
    assert Path(store.get("again").layer_dirs[0], "bin/sh").exists()
    (images_dir(tmp_path) / "refs/again.json").write_text("damaged")
    os.unlink(f"{layer.path}/bin/sh")
    with importing(store) as work:
        assert work.layer(layer.key) == layer
