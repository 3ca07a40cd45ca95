"""Images of other tools come in: trees as umoci unpacks them, damage of every kind, kills, a full disk. IMG-01, 05, 08.

The images are made by umoci from a busybox tree, copied by skopeo and podman, and taken to pieces here.
"""

import gzip
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidInput, InvalidState, PycontainerError, Unsupported, from_wire
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.runtime.worker import command
from pycontainer.store.images import ImageStore
from pycontainer.store.load import import_image, load
from pycontainer.store.ociconfig import host_architecture, host_platform
from tests.support.archives import DIR, LNK, SYM, E, archive
from tests.support.ociimages import build_layout, run
from tests.support.overlay import mounted
from tests.support.poll import poll_until
from tests.support.trees import assert_same, content_of, tree

pytestmark = [pytest.mark.requires("umoci"), pytest.mark.requires("skopeo")]
COMPRESSED = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd"}
OPAQUE_XATTR = "trusted.overlay.opaque"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with oci/, an image of six layers, and ref/, what umoci unpacks it to."""
    directory = tmp_path_factory.mktemp("images")
    build_layout(directory)
    run("umoci", "unpack", "--image", f"{directory}/oci:img", directory / "ref")
    return directory


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(HostPaths(str(tmp_path / "world")))


def nothing_is_left(store: ImageStore) -> bool:
    """Tell whether the store is as if nothing had been tried, once what nobody needs was taken away."""
    assert store.list() == []

    def is_empty() -> bool:  # a child of a killed worker dies a moment after it, and holds its locks so long
        store.prune(set())
        return not any(
            os.listdir(f"{store.directory}/{part}") for part in ("layers", "refs", "blobs/sha256", "staging")
        )

    return poll_until(is_empty, what="nothing is left in the store")


# -- what comes in -------------------------------------------------------------------------------------------------


def test_a_tree_is_the_one_that_umoci_unpacks(store: ImageStore, work: Path, tmp_path: Path) -> None:
    """Names, modes, owners, attributes, links and times, over whiteouts, an opaque directory, and what is only inserted."""
    (info,) = load(store, str(work / "oci"), Importer())
    image = store.get("img")
    assert len(image.layers) == 6
    with mounted(image.layer_dirs, tmp_path / "at") as at:
        found = tree(at)
    assert_same(found, tree(work / "ref/rootfs"))
    assert "etc/link" not in found
    assert found["usr/lib/real/through-a-link"].content == content_of(work / "inserted")
    sparse = os.stat(f"{image.layer_dirs[0]}/sparse")
    assert sparse.st_blocks * 512 < sparse.st_size / 4
    assert info["config"] == {
        "entrypoint": [],
        "cmd": ["/bin/sh"],
        "env": ["A=1"],
        "user": "33:44",
        "workdir": "/srv",
        "exposed_ports": ["80/tcp"],
        "volumes": ["/data"],
        "stop_signal": "SIGQUIT",
        "labels": {"x": "y"},
        "healthcheck": {},
    }
    assert (info["platform"], info["id"]) == (host_platform(), config_digest(work / "oci"))


def config_digest(layout: Path) -> str:
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads((layout / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
    return str(manifest["config"]["digest"])


def test_every_blob_is_kept_as_it_came(store: ImageStore, work: Path) -> None:
    load(store, str(work / "oci"), Importer())
    index = json.loads((work / "oci/index.json").read_text())
    assert store.get("img").manifest == index["manifests"][0]["digest"]
    manifest = json.loads((work / "oci/blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
    wanted = [index["manifests"][0]["digest"], manifest["config"]["digest"], *(x["digest"] for x in manifest["layers"])]
    assert store.blobs.all() == {*wanted}
    for digest in wanted:
        assert Path(store.blobs.path(digest)).read_bytes() == (work / "oci/blobs/sha256" / digest[7:]).read_bytes()


@pytest.fixture(scope="module")
def forms(work: Path) -> dict[str, Path]:
    """The same image in all the forms that an image comes in."""
    found = {"layout": work / "oci"}
    for name, target in {
        "oci-archive": f"oci-archive:{work}/oci-archive.tar:local/img:1",
        "docker-archive": f"docker-archive:{work}/docker-archive.tar:local/img:1",
    }.items():
        run("skopeo", "copy", "-q", f"oci:{work}/oci:img", target)
        found[name] = work / target.split(":")[1].rpartition("/")[2]
    for form, (ending, program) in itertools.product(("oci-archive", "docker-archive"), COMPRESSED.items()):
        found[f"{form}.{ending}"] = work / f"{form}.tar.{ending}"
        with open(found[f"{form}.{ending}"], "wb") as file:
            subprocess.run([program, "-c", found[form]], stdout=file, check=True)
    return found


@pytest.mark.parametrize(
    "form",
    ["oci-archive", "docker-archive", "docker-archive.gz", "docker-archive.zst"]
    + [f"oci-archive.{ending}" for ending in COMPRESSED],
)
def test_every_form_gives_the_same_layers(store: ImageStore, work: Path, forms: dict[str, Path], form: str) -> None:
    (info,) = load(store, str(forms[form]), Importer())
    assert info["name"].endswith("local/img:1")
    layers = store.get(info["name"]).layers
    load(store, str(forms["layout"]), Importer())
    assert store.get("img").layers == layers  # nothing was unpacked again
    assert len(os.listdir(store.layers_dir)) == 6


def test_several_images_in_one_archive(store: ImageStore, work: Path, tmp_path: Path) -> None:
    layout = copy_layout(work, tmp_path)
    run("umoci", "tag", "--image", f"{layout}:img", "other")
    run("umoci", "config", "--image", f"{layout}:other", "--config.cmd", "/other")
    infos = load(store, str(layout), Importer())
    assert sorted(info["name"] for info in infos) == ["img", "other"]
    assert infos[0]["id"] != infos[1]["id"] and store.get("img").layers == store.get("other").layers
    with pytest.raises(InvalidInput, match="2 images, which cannot all be called 'x'"):
        load(store, str(layout), Importer(), name="x")


def test_import_tells_images_from_root_file_systems(store: ImageStore, work: Path, forms: dict[str, Path]) -> None:
    for number, form in enumerate(("layout", "docker-archive", "oci-archive", "docker-archive.gz", "oci-archive.zst")):
        assert import_image(store, str(forms[form]), f"i{number}", {}, Importer())["config"]["cmd"] == ["/bin/sh"]
    with pytest.raises(InvalidInput, match="says itself how its containers start"):
        import_image(store, str(forms["layout"]), "x", {"cmd": ["y"]}, Importer())
    info = import_image(store, str(work / "base"), "plain", {"cmd": ["y"]}, Importer())
    assert info["config"]["cmd"] == ["y"] and len(store.get("plain").layers) == 1


def test_platforms(store: ImageStore, work: Path, tmp_path: Path) -> None:
    """An index of two: ours is taken, the other one when it is asked for; with only another one it is refused."""
    layout = copy_layout(work, tmp_path)
    run("umoci", "tag", "--image", f"{layout}:img", "foreign")
    run("umoci", "config", "--image", f"{layout}:foreign", "--architecture", "s390x")
    index = json.loads((layout / "index.json").read_text())
    ours, foreign = index["manifests"]
    with pytest.raises(Unsupported, match=f"image 'foreign' is for linux/s390x, not for {host_platform()}") as caught:
        load(store, str(layout), Importer())
    assert "--platform linux/s390x" in caught.value.hint and nothing_is_left(store)
    both = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {**foreign, "platform": {"os": "linux", "architecture": "s390x"}, "annotations": {}},
                {**ours, "platform": {"os": "linux", "architecture": host_architecture()}, "annotations": {}},
            ],
        }
    ).encode()
    index_type = "application/vnd.oci.image.index.v1+json"
    index["manifests"] = [{"mediaType": index_type, **put(layout, both), "annotations": ours["annotations"]}]
    (layout / "index.json").write_text(json.dumps(index))
    assert load(store, str(layout), Importer())[0]["platform"] == host_platform()
    (info,) = load(store, str(layout), Importer(), name="other", platform="linux/s390x")
    assert info["platform"] == "linux/s390x"


# -- layers --------------------------------------------------------------------------------------------------------


def put(layout: Path, data: bytes) -> dict[str, Any]:
    """Add a blob to a layout and return its descriptor, but for the type."""
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def make_layout(layout: Path, *layers: bytes, pack: Callable[[bytes], bytes] = bytes, ending: str = "") -> str:
    """Make a layout of crafted layers, tar archives that are packed, and return its path."""
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    about = {"architecture": host_architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    layer_type = f"application/vnd.oci.image.layer.v1.tar{ending}"
    manifest = {
        "schemaVersion": 2,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            **put(layout, json.dumps(about).encode()),
        },
        "layers": [{"mediaType": layer_type, **put(layout, pack(layer))} for layer in layers],
    }
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        **put(layout, json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "crafted"},
    }
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return str(layout)


def names(store: ImageStore, tmp_path: Path) -> list[str]:
    with mounted(store.get("crafted").layer_dirs, tmp_path / "at") as at:
        return sorted(tree(at).keys() - {"."})


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # else two calls in different seconds differ


def _zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize(("pack", "ending"), [(bytes, ""), (_gzip, "+gzip"), (_zstd, "+zstd")])
def test_layers_of_every_compression(
    store: ImageStore, tmp_path: Path, pack: Callable[[bytes], bytes], ending: str
) -> None:
    layers = archive(E("a")), archive(E("b"))
    load(store, make_layout(tmp_path / "oci", *layers, pack=pack, ending=ending), Importer())
    assert names(store, tmp_path) == ["a", "b"]
    for layer, data in zip(store.get("crafted").layers, layers, strict=True):
        assert layer.blob == f"sha256:{hashlib.sha256(pack(data)).hexdigest()}" and layer.media_type.endswith(ending)


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ([E("d/.wh.a")], ["d", "d/b", "f"]),
        ([E("d/.wh..wh..opq")], ["d", "f"]),
        ([E("d/.wh..wh..opq"), E("d/new")], ["d", "d/new", "f"]),
        ([E("d/new"), E("d/.wh..wh..opq")], ["d", "d/new", "f"]),  # it hides what is beneath, never what it has itself
        ([E(".wh.d"), E("d", DIR), E("d/new")], ["d", "d/new", "f"]),
        ([E("d", DIR), E("d/new"), E(".wh.d")], ["d", "d/new", "f"]),
        ([E(".wh.d"), E("d/new")], ["d", "d/new", "f"]),
        ([E(".wh.d"), E("d/.wh.a")], ["f"]),
        ([E("d/a", data=b"mine"), E("d/.wh.a")], ["d", "d/a", "d/b", "f"]),
        ([E("d"), E("d/.wh.a")], ["d", "f"]),
        ([E(".wh.none"), E("x/.wh.none", DIR), E("x/y/.wh.z")], ["d", "d/a", "d/b", "f", "x", "x/y"]),
        ([E("d/.wh..wh..opq"), E("d/.wh.a")], ["d", "f"]),
        ([E(".wh..wh.plnk", DIR), E(".wh..wh.plnk/1"), E(".wh..wh.aufs")], ["d", "d/a", "d/b", "f"]),
        ([E(".wh.f"), E("f", DIR)], ["d", "d/a", "d/b", "f"]),
    ],
    ids=lambda value: "+".join(e.name for e in value) if value and isinstance(value[0], E) else "",
)
def test_whiteouts(store: ImageStore, tmp_path: Path, upper: list[E], expected: list[str]) -> None:
    """The rules of the OCI image-spec, in whatever order the entries are; none is ever seen as a file."""
    base = archive(E("d", DIR), E("d/a"), E("d/b"), E("f"))
    load(store, make_layout(tmp_path / "oci", base, archive(*upper)), Importer())
    found = names(store, tmp_path)
    assert found == expected
    assert not any(".wh." in name for name in found)


def test_whiteouts_that_hide_nothing_are_not_listed(store: ImageStore, tmp_path: Path) -> None:
    """overlayfs lists a whiteout in a directory that it need not merge, as an entry that cannot be looked at."""
    layers = archive(E("f"), E(".wh.x")), archive(E("n", DIR), E("n/.wh.y")), archive(E("z"))
    load(store, make_layout(tmp_path / "oci", *layers), Importer())
    with mounted(store.get("crafted").layer_dirs, tmp_path / "at") as at:
        assert sorted(os.listdir(at)) == ["f", "n", "z"] and os.listdir(at / "n") == []


@pytest.mark.parametrize(
    "entry", [E(".wh."), E(".wh..."), E(".wh.d/f"), E(".wh.x", DIR, mode=0o755), E("a/.wh.b/.wh.c")]
)
def test_names_that_only_look_like_whiteouts(store: ImageStore, tmp_path: Path, entry: E) -> None:
    source = make_layout(tmp_path / "oci", archive(E("d", DIR), E("d/f")), archive(entry))
    if entry.name == ".wh.x":  # whatever its kind, as everywhere
        load(store, source, Importer())
        assert names(store, tmp_path) == ["d", "d/f"]
        return
    with pytest.raises(InvalidInput, match="is no whiteout, and nothing else may be called that"):
        load(store, source, Importer())
    assert nothing_is_left(store)


def test_what_a_layer_does_not_mention_stays_as_it_is(store: ImageStore, tmp_path: Path) -> None:
    """A layer over two bases: its parent directory has the owner and mode of each, and neither spoils the other."""
    upper = archive(E("d/e/new"))
    for number, (mode, uid) in enumerate([(0o700, 7), (0o2755, 8)]):
        base = archive(E("d", DIR, mode=mode, uid=uid, pax={"mtime": "1000.5"}), E("d/e", DIR, mode=mode, uid=uid))
        load(store, make_layout(tmp_path / f"oci{number}", base, upper), Importer(), name=f"i{number}")
    for number, (mode, uid) in enumerate([(0o700, 7), (0o2755, 8)]):
        with mounted(store.get(f"i{number}").layer_dirs, tmp_path / "at") as at:
            for name in ("d", "d/e"):
                details = os.stat(at / name)
                assert (details.st_mode & 0o7777, details.st_uid) == (mode, uid)
            assert os.stat(at / "d").st_mtime_ns == 1_000_500_000_000
            assert os.listdir(at / "d/e") == ["new"]


def test_only_directories_of_the_layer_become_opaque(store: ImageStore, tmp_path: Path) -> None:
    """PATH-01: marks are made with the rights of the host, so no link may lead them anywhere else."""
    outside = tmp_path / "outside"
    outside.mkdir()
    layers = archive(E("d", DIR), E("d/a")), archive(E("x", SYM, str(outside)), E("x/.wh..wh..opq"), E("x/.wh.y"))
    with pytest.raises(InvalidInput, match="cannot apply the whiteouts of the layer"):
        load(store, make_layout(tmp_path / "oci", *layers), Importer())
    assert os.listxattr(outside) == [] and os.listdir(outside) == []


def test_hard_links_lead_to_files_of_the_same_layer_alone(store: ImageStore, tmp_path: Path) -> None:
    source = make_layout(tmp_path / "oci", archive(E("f")), archive(E("g", LNK, "f")))
    with pytest.raises(InvalidInput, match=r"layer blob sha256:[0-9a-f]{64}: 'g' is a hard link to 'f'"):
        load(store, source, Importer())
    assert nothing_is_left(store)


# -- bad input -----------------------------------------------------------------------------------------------------


def copy_layout(work: Path, tmp_path: Path) -> Path:
    shutil.copytree(work / "oci", tmp_path / "oci")
    return tmp_path / "oci"


def _parts(layout: Path) -> dict[str, Path]:
    """Return the files of a layout's one image by what they are."""
    index = json.loads((layout / "index.json").read_text())
    blobs = layout / "blobs/sha256"
    manifest = blobs / index["manifests"][0]["digest"][7:]
    document = json.loads(manifest.read_text())
    layer = blobs / document["layers"][0]["digest"][7:]
    return {"manifest": manifest, "config": blobs / document["config"]["digest"][7:], "layer": layer}


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "longer", "gone", "empty", "a link", "a directory", "a fifo"])
def test_damage_of_every_blob_is_refused_and_names_it(
    store: ImageStore, work: Path, tmp_path: Path, part: str, damage: str
) -> None:
    """IMG-05"""
    layout = copy_layout(work, tmp_path)
    path = _parts(layout)[part]
    data = path.read_bytes()
    path.unlink()
    if damage == "a link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "a directory":
        path.mkdir()
    elif damage == "a fifo":
        os.mkfifo(path)
    elif damage != "gone":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"cut": data[:-1], "flipped": flipped, "longer": data + b" ", "empty": b""}[damage])
    with pytest.raises(InvalidInput) as caught:
        load(store, str(layout), Importer())
    assert path.name in caught.value.message and "\n" not in caught.value.message
    assert nothing_is_left(store)


_SHA = "sha256:" + "0" * 64
_BAD_DESCRIPTORS: list[tuple[dict[str, Any], str]] = [
    ({"digest": "sha256:../../../../etc/passwd"}, "is not sha256: and 64"),
    ({"digest": _SHA.upper()}, "is not sha256: and 64"),
    ({"digest": "sha512:" + "0" * 128}, "is not sha256: and 64"),
    ({"digest": _SHA + "0"}, "is not sha256: and 64"),
    ({"digest": None}, "is not sha256: and 64"),
    ({"digest": _SHA}, f"{_SHA} is missing"),
    ({"size": 1}, "bytes, not the 1 that it should have"),
    ({"size": -1}, "-1 is not the size"),
    ({"size": True}, "is not the size"),
    ({"size": 1 << 70}, "is not the size"),
    ({"mediaType": 7}, "has no mediaType"),
    ({"annotations": {"a": 1}}, "annotations"),
]


@pytest.mark.parametrize(("change", "message"), _BAD_DESCRIPTORS)
@pytest.mark.parametrize("where", ["index", "config", "layer"])
def test_hostile_descriptors(
    store: ImageStore, work: Path, tmp_path: Path, where: str, change: dict[str, Any], message: str
) -> None:
    layout = copy_layout(work, tmp_path)
    index = json.loads((layout / "index.json").read_text())
    descriptor = index["manifests"][0]
    if where != "index":
        manifest = json.loads(_parts(layout)["manifest"].read_text())
        changed = manifest["config"] if where == "config" else manifest["layers"][0]
        changed.update(change)
        descriptor.update(put(layout, json.dumps(manifest).encode()))
    else:
        descriptor.update(change)
    (layout / "index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidInput) as caught:
        load(store, str(layout), Importer(), name="x")
    assert message in caught.value.message
    assert nothing_is_left(store)


def _replace_manifest(layout: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(_parts(layout)["manifest"].read_text())
    change(manifest)
    index["manifests"][0].update(put(layout, json.dumps(manifest).encode()))
    (layout / "index.json").write_text(json.dumps(index))


_BAD_MANIFESTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda m: m.pop("config"), "names no config"),
    (lambda m: m.pop("layers"), "is no manifest of an image"),
    (lambda m: m.update(manifests=[]), "is no manifest of an image"),
    (lambda m: m.update(schemaVersion=1), "unknown schemaVersion 1"),
    (lambda m: m.update(layers=[]), "has 0 layers"),
    (lambda m: m["layers"].pop(), "has 6 layers, the manifest 5"),
    (lambda m: m.update(layers=m["layers"] * 100), "has 600 layers, not 1 to 500"),
    (lambda m: m["layers"].reverse(), "but the image's config says"),
    (lambda m: m["layers"][0].update(mediaType="application/x-lz4"), "unknown media type 'application/x-lz4'"),
    (lambda m: m["config"].update(mediaType="application/vnd.cncf.helm.config.v1+json"), "is no manifest of an image"),
]


@pytest.mark.parametrize(("change", "message"), _BAD_MANIFESTS)
def test_hostile_manifests(
    store: ImageStore, work: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    layout = copy_layout(work, tmp_path)
    _replace_manifest(layout, change)
    with pytest.raises(InvalidInput) as caught:
        load(store, str(layout), Importer())
    assert message in caught.value.message
    assert nothing_is_left(store)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("index.json", "", "index.json is damaged: not JSON"),
        ("index.json", '{"schemaVersion": 2, "schemaVersion": 2}', "given twice"),
        ("index.json", '{"schemaVersion": 2, "manifests": []}', "names no image"),
        ("index.json", '{"schemaVersion": 2, "manifests": [], "layers": []}', "is no index"),
        ("index.json", '{"schemaVersion": 2, "manifests": [' + "[" * 5000 + "]" * 5000 + "]}", "levels deep"),
        ("index.json", " " * (5 << 20), "more than 4194304"),
        ("oci-layout", "{}", "has no imageLayoutVersion"),
        ("oci-layout", '{"imageLayoutVersion": "2.0.0"}', "has version '2.0.0'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_hostile_documents(
    store: ImageStore, work: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    layout = copy_layout(work, tmp_path)
    (layout / name).write_text(content)
    with pytest.raises(PycontainerError) as caught:
        load(store, str(layout), Importer())
    assert message in caught.value.message
    assert nothing_is_left(store)


def test_indexes_that_lead_to_each_other_without_end(store: ImageStore, work: Path, tmp_path: Path) -> None:
    layout = copy_layout(work, tmp_path)
    inner = json.loads((layout / "index.json").read_text())
    for _ in range(6):
        entry = {"mediaType": "application/vnd.oci.image.index.v1+json", **put(layout, json.dumps(inner).encode())}
        inner = {"schemaVersion": 2, "manifests": [entry] * 3}
    (layout / "index.json").write_text(json.dumps(inner))
    with pytest.raises(InvalidInput, match="indexes 3 levels deep"):
        load(store, str(layout), Importer(), name="x")
    assert nothing_is_left(store)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (b"\x04\x22\x4d\x18" + b"x" * 600, "is no tar archive, or has an unknown compression"),
        (gzip.compress(archive(E("f")))[:-6], "the archive is cut off"),
        (archive(E("../x")), "'..' would leave the root"),
        (archive(E("x", uid=70000)), "belongs to 70000:0"),
        (gzip.compress(bytes(400 << 20), 9), "times its"),
    ],
    ids=["lz4", "cut", "dotdot", "uid", "bomb"],
)
def test_hostile_layers_are_named(store: ImageStore, tmp_path: Path, layer: bytes, message: str) -> None:
    if message == "times its":  # a bomb is a valid archive: one file of the same byte
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz", compresslevel=9) as tar:
            info = tarfile.TarInfo("same")
            info.size = 400 << 20
            tar.addfile(info, io.BytesIO(b"x" * info.size))
        layer = out.getvalue()
    with pytest.raises(InvalidInput) as caught:
        load(store, make_layout(tmp_path / "oci", layer), Importer())
    assert message in caught.value.message
    assert hashlib.sha256(layer).hexdigest() in caught.value.message
    assert nothing_is_left(store)


def test_device_nodes_and_odd_names_in_a_layer(store: ImageStore, tmp_path: Path) -> None:
    layer = archive(E("dev/sda", tarfile.BLKTYPE), E("new\nline"), E("f", mode=0o4755))
    load(store, make_layout(tmp_path / "oci", layer), Importer())
    assert names(store, tmp_path) == ["f", "new\nline"]


@pytest.mark.parametrize("damage", ["cut", "no manifest", "config gone", "layer gone", "flipped", "not json"])
def test_damaged_docker_archives(store: ImageStore, forms: dict[str, Path], tmp_path: Path, damage: str) -> None:
    bad, cut = tmp_path / "bad.tar", forms["docker-archive"].read_bytes()
    if damage == "cut":
        bad.write_bytes(cut[: len(cut) // 3])
    else:
        with tarfile.open(forms["docker-archive"]) as source, tarfile.open(bad, "w") as target:
            (manifest,) = json.load(source.extractfile("manifest.json"))  # type: ignore[arg-type]
            for member in source:
                file = source.extractfile(member)
                data = file.read() if file and member.isreg() else b""
                if damage == "no manifest" and member.name == "manifest.json":
                    continue
                if damage == "config gone" and member.name == manifest["Config"]:
                    continue
                if damage == "layer gone" and member.name == manifest["Layers"][0]:
                    continue
                if damage == "flipped" and member.name == manifest["Layers"][0]:
                    data = data.replace(b"etc/keep/a", b"etc/keep/A")
                if damage == "not json" and member.name == "manifest.json":
                    data = b"[{]"
                member.size = len(data) if member.isreg() else 0
                target.addfile(member, io.BytesIO(data) if member.isreg() else None)
    with pytest.raises(InvalidInput) as caught:
        load(store, str(bad), Importer())
    assert "\n" not in caught.value.message
    assert nothing_is_left(store)


def test_a_deleted_layer_of_a_base_is_said(store: ImageStore, work: Path) -> None:
    load(store, str(work / "oci"), Importer())
    layer = store.get("img").layers[0]
    shutil.rmtree(layer.path)
    with pytest.raises(InvalidState, match=f"image 'img' is damaged: '{layer.path}' is gone") as caught:
        store.get("img")
    assert caught.value.hint
    load(store, str(work / "oci"), Importer())  # the hint's advice, without removing it first
    assert store.get("img").layers[0].exists()


# -- kills, disks, parallel imports --------------------------------------------------------------------------------


def start_worker(tmp_path: Path, source: Path, name: str = "") -> "subprocess.Popen[bytes]":
    worker = subprocess.Popen(command("import_worker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    request = {
        "root": str(tmp_path / "world"),
        "action": "load",
        "source": str(source),
        "fd": None,
        "name": name,
        "platform": "",
    }
    worker.stdin.write(json.dumps({**request, "in_use": []}).encode() + b"\n")
    worker.stdin.flush()
    return worker


def finish(worker: "subprocess.Popen[bytes]") -> tuple[int, dict[str, Any]]:
    out, _ = worker.communicate(timeout=60)
    return worker.returncode, json.loads(out.splitlines()[-1])


def test_parallel_imports_of_one_image_unpack_it_once(store: ImageStore, work: Path, tmp_path: Path) -> None:
    """IMG-08: four at once; each layer is there once, and only one of the four made it."""
    workers = [start_worker(tmp_path, work / "oci", f"i{number}") for number in range(4)]
    results = [worker.communicate(timeout=120)[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert len({json.loads(lines[-1])["result"][0]["id"] for lines in results}) == 1
    unpacking = [line for lines in results for line in lines if b"unpacking layer 1 of 6" in line]
    assert len({id(lines) for lines in results if any(line in unpacking for line in lines)}) == 1
    assert len(os.listdir(store.layers_dir)) == 6 and os.listdir(store.staging.directory) == []


def test_killed_at_any_moment_a_load_leaves_an_image_or_none(store: ImageStore, work: Path, tmp_path: Path) -> None:
    """FLT-01: kill -9 after a while that grows; the next one succeeds, and what was half done goes."""
    started = time.monotonic()
    assert finish(start_worker(tmp_path, work / "oci"))[0] == 0
    whole_seconds = time.monotonic() - started
    killed = 0
    for part in range(1, 12):
        store.prune(set(), unused=True)
        worker = start_worker(tmp_path, work / "oci")
        time.sleep(whole_seconds * part / 11)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        killed += worker.returncode == -signal.SIGKILL
        for info in store.list():
            assert store.get(info["name"]).layers  # whole, or not there
        store.remove_left_over(set())
        if not store.list():
            assert nothing_is_left(store)
    assert killed >= 3
    load(store, str(work / "oci"), Importer())
    assert len(store.get("img").layers) == 6


def test_killed_while_it_unpacks_nothing_stays(store: ImageStore, work: Path, tmp_path: Path) -> None:
    big = io.BytesIO()
    with tarfile.open(fileobj=big, mode="w") as tar:
        for number in range(30_000):
            tar.addfile(tarfile.TarInfo(f"d{number % 7}/f{number}"))
    source = Path(make_layout(tmp_path / "oci", archive(E("base")), big.getvalue()))
    worker = start_worker(tmp_path, source)
    poll_until(
        lambda: any(Path(store.staging.directory).glob("import-*/layers/*/fs/d*/f1*")),
        timeout_seconds=30,
        what="the second layer is unpacked",
    )
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert len(os.listdir(store.layers_dir)) == 1 and store.list() == []
    assert nothing_is_left(store)
    load(store, str(source), Importer())


def test_a_full_disk_in_the_middle(work: Path, tmp_path: Path) -> None:
    """FLT-05: the store's file system is too small for the image; it is told in one line, and the space comes back."""
    (tmp_path / "world").mkdir()
    run("truncate", "-s", "24M", tmp_path / "disk")
    run("mkfs.ext4", "-q", "-F", tmp_path / "disk")
    run("mount", "-o", "loop", tmp_path / "disk", tmp_path / "world")
    try:
        noise = io.BytesIO()
        with tarfile.open(fileobj=noise, mode="w") as tar:
            info = tarfile.TarInfo("noise")
            info.size = 13 << 20
            tar.addfile(info, io.BytesIO(os.urandom(info.size)))
        source = Path(make_layout(tmp_path / "oci", archive(E("base")), noise.getvalue()))
        store = ImageStore(HostPaths(str(tmp_path / "world")))
        store.make_directories()
        before = os.statvfs(tmp_path / "world").f_bfree
        code, message = finish(start_worker(tmp_path, source))
        error = from_wire(message["error"])
        assert code == 1 and type(error) is PycontainerError
        layer = json.loads(_parts(source)["manifest"].read_text())["layers"][1]["digest"]
        assert re.fullmatch(
            rf"the load failed: (layer )?blob {layer}: No space left on device(: 'noise')?", error.message
        )
        assert "free some space" in error.hint
        assert all(
            os.listdir(f"{store.directory}/{part}") == [] for part in ("layers", "refs", "blobs/sha256", "staging")
        )
        os.sync()
        assert os.statvfs(tmp_path / "world").f_bfree >= before - 64  # blocks of directories that grew
        small = Path(make_layout(tmp_path / "small", archive(E("base"))))
        assert finish(start_worker(tmp_path, small))[0] == 0
    finally:
        run("umount", tmp_path / "world")
