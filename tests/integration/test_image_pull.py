"""Fetching from a real registry on loopback: logins, resumed pulls, indexes, and every way in which it can fail."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.client.pull import pulled
from pycontainer.client.skopeo import Access, parse_reference
from pycontainer.errors import InvalidInput, NotFound, NotPermitted, PycontainerError, Unsupported
from pycontainer.paths import HostPaths
from tests.support.ocilayout import ARCHITECTURE, INDEX_TYPE, Layout, layer_of
from tests.support.poll import poll_until
from tests.support.registry import PASSWORD, USER, Registry, Throttle, free_port, registry

pytestmark = pytest.mark.requires("registry")

CONFIG = {"Cmd": ["sh"], "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000}}
PLAIN = Access(tls_verify=False)


@pytest.fixture(scope="module")
def public() -> Iterator[Registry]:
    with registry() as running:
        yield running


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    return HostPaths(str(tmp_path / "world"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def push(layout: Layout, name: str, target: str, *options: str) -> None:
    command = ["skopeo", "copy", "-q", "--dest-tls-verify=false", *options]
    subprocess.run([*command, f"oci:{layout.directory}:{name}", f"docker://{target}"], check=True)


def pull(paths: HostPaths, reference: str, access: Access = PLAIN, name: str = "x") -> dict[str, Any]:
    """Pull and return the layout's one index entry, its manifest, its config, and the digests of all its blobs."""
    with pulled(paths, parse_reference(reference), access, name) as directory:
        (entry,) = json.loads(Path(directory, "index.json").read_bytes())["manifests"]
        blobs = {}
        for path in Path(directory, "blobs/sha256").iterdir():
            blobs[path.name] = path.read_bytes()
            assert hashlib.sha256(blobs[path.name]).hexdigest() == path.name
        manifest = json.loads(blobs[entry["digest"][7:]])
        config = json.loads(blobs[manifest["config"]["digest"][7:]])
        assert sorted(os.listdir(directory)) == ["blobs", "index.json", "oci-layout"]
        assert all(layer["digest"][7:] in blobs for layer in manifest["layers"])
    assert os.listdir(paths.pulls_dir) == []
    return {"entry": entry, "manifest": manifest, "config": config}


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_config_and_layers_come_as_they_are(public: Registry, paths: HostPaths, layout: Layout, form: str) -> None:
    """Also from a manifest in Docker's format, whose config skopeo would write anew, without the health check."""
    image = layout.image([layer_of({"a": b"1"}), layer_of({"b": b"2"})], config=CONFIG)
    layout.index(("it", image))
    push(layout, "it", f"{public.host}/team/{form}:1", "--format", form)
    found = pull(paths, f"{public.host}/team/{form}:1", name="mine")
    original = layout.manifest(image)
    assert found["manifest"] == original
    assert found["config"]["config"] == CONFIG
    assert found["entry"]["annotations"] == {"org.opencontainers.image.ref.name": "mine"}
    if form == "oci":
        assert found["entry"]["digest"] == image["digest"]


def test_index_gives_the_image_for_this_machine(public: Registry, paths: HostPaths, layout: Layout) -> None:
    ours, other = (
        layout.image([layer_of({"a": name.encode()})], architecture=name) for name in (ARCHITECTURE, "s390x")
    )
    platforms = [(other, "s390x"), (ours, ARCHITECTURE)]
    entries = [{**image, "platform": {"os": "linux", "architecture": name}} for image, name in platforms]
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
    layout.index(("both", layout.json(index, INDEX_TYPE)), ("other", other))
    push(layout, "both", f"{public.host}/both:1", "--all")
    found = pull(paths, f"{public.host}/both:1")
    assert found["entry"]["digest"] == ours["digest"]
    digest = layout.json(index, INDEX_TYPE)["digest"]
    assert pull(paths, f"{public.host}/both@{digest}") == found

    index["manifests"] = entries[:1]
    layout.index(("none", layout.json(index, INDEX_TYPE)), ("other", other))
    for name, options in (("none", ["--all"]), ("other", [])):
        push(layout, name, f"{public.host}/{name}:1", *options)
        with pytest.raises(InvalidInput) as raised:
            pull(paths, f"{public.host}/{name}:1")
        assert raised.value.message == (
            f"'{public.host}/{name}:1' is for linux/s390x, and this machine is linux/{ARCHITECTURE}"
        )


def test_interrupted_pull_goes_on(public: Registry, paths: HostPaths, layout: Layout) -> None:
    """skopeo is killed in the middle; what was whole by then is not fetched again, and not kept behind the end."""
    small, large = (layer_of({"f": os.urandom(size)}) for size in (300_000, 6_000_000))
    image = layout.image([small, large])
    layout.index(("it", image))
    push(layout, "it", f"{public.host}/resumed:1")
    small_digest, large_digest = (layer["digest"] for layer in layout.manifest(image)["layers"])
    throttle = Throttle(public.port, 3_000_000)
    failures: list[PycontainerError] = []
    seen: list[int] = []

    def first() -> None:
        reference = parse_reference(f"{throttle.host}/resumed:1")
        try:
            with pulled(paths, reference, PLAIN, "x", lambda counters: seen.append(counters["bytes"])):
                pass
        except PycontainerError as error:
            failures.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    try:
        (directory,) = poll_until(lambda: [*Path(paths.pulls_dir).glob("*/layout")], what="the pull has begun")
        poll_until(lambda: (directory / "blobs/sha256" / small_digest[7:]).exists(), what="the small layer is there")
        poll_until(lambda: max(seen) > 2_000_000, what="the large layer is half there, and that is told")
        os.kill(poll_until(lambda: _child("skopeo", str(directory.parent)), what="skopeo runs"), signal.SIGKILL)
        thread.join()
    finally:
        throttle.close()
        thread.join()
    assert failures[0].message == f"'{throttle.host}/resumed:1': skopeo ended without a word (signal 9)"
    assert [*directory.glob("oci-put-blob*")], "nothing was left half done: the test shows nothing"
    assert (public.fetches(small_digest), public.fetches(large_digest)) == (1, 1)
    assert pull(paths, f"{public.host}/resumed:1")["entry"]["digest"] == image["digest"]
    assert (public.fetches(small_digest), public.fetches(large_digest)) == (1, 2)


@contextlib.contextmanager
def failing_pull(paths: HostPaths, reference: str) -> Iterator[list[PycontainerError]]:
    """Pull in a thread, and give the list that its error comes into."""
    failures: list[PycontainerError] = []

    def work() -> None:
        try:
            with pulled(paths, parse_reference(reference), PLAIN, "x"):
                pass
        except PycontainerError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failures
    finally:
        thread.join()


def test_a_pull_that_stands_still(
    public: Registry, paths: HostPaths, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that keeps the line and sends nothing: skopeo itself would wait for ever."""
    monkeypatch.setattr("pycontainer.client.pull._STALL_SECONDS", 2)
    layout.index(("it", layout.image([layer_of({"f": os.urandom(6_000_000)})])))
    push(layout, "it", f"{public.host}/still:1")
    throttle = Throttle(public.port, 3_000_000)
    with failing_pull(paths, f"{throttle.host}/still:1") as failures:
        try:
            poll_until(lambda: failures, what="the pull gives up")
            (directory,) = Path(paths.pulls_dir).iterdir()
            assert not _child("skopeo", str(directory))
        finally:
            throttle.close()
    assert failures[0].message == f"nothing came of '{throttle.host}/still:1' for 2 seconds"
    pull(paths, f"{public.host}/still:1")


def test_a_registry_that_sends_more_than_it_says(
    public: Registry, paths: HostPaths, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """skopeo holds a layer against its digest at its end, which may never come: the disk would be full before."""
    monkeypatch.setattr("pycontainer.client.pull._SLACK_BYTES", 1_000_000)
    image = layout.image([layer_of({"f": os.urandom(100_000)})])
    layout.index(("it", image))
    push(layout, "it", f"{public.host}/more:1")
    (layer,) = layout.manifest(image)["layers"]
    (stored,) = public.directory.glob(f"data/**/{layer['digest'][7:]}/data")
    with stored.open("ab") as file:
        file.write(os.urandom(8_000_000))
    throttle = Throttle(public.port, 6_000_000)
    with failing_pull(paths, f"{throttle.host}/more:1") as failures:
        try:
            poll_until(lambda: failures, what="the pull gives up")
            (directory,) = Path(paths.pulls_dir).iterdir()
            assert not _child("skopeo", str(directory))
        finally:
            throttle.close()
    assert f"sends more for '{throttle.host}/more:1' than the {layer['size']} bytes" in failures[0].message
    assert not [*directory.glob("layout/oci-put-blob*")], "what nobody can use does not stay on the disk"


def _child(program: str, cwd: str) -> int:
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if name.isdigit() and words[0].endswith(program.encode()) and os.readlink(f"/proc/{name}/cwd") == cwd:
                return int(name)
    return 0


def test_one_pull_of_an_image_at_a_time(public: Registry, paths: HostPaths, layout: Layout) -> None:
    layout.index(("it", layout.image([layer_of({"f": os.urandom(1000)})])))
    push(layout, "it", f"{public.host}/twice:1")
    reference = parse_reference(f"{public.host}/twice:1")
    said: list[dict[str, Any]] = []
    done: list[str] = []

    def second() -> None:
        with pulled(paths, reference, PLAIN, "x", said.append) as directory:
            done.append(directory)

    thread = threading.Thread(target=second)
    with pulled(paths, reference, PLAIN, "x") as directory:
        thread.start()
        poll_until(lambda: {"step": "waiting for another pull of this image"} in said, what="the second one waits")
        assert not done and os.path.exists(f"{directory}/index.json")
    thread.join()
    assert done == [directory] and os.listdir(paths.pulls_dir) == []


def test_layers_of_the_store_are_not_fetched(public: Registry, paths: HostPaths, layout: Layout) -> None:
    image = layout.image([layer_of({"f": os.urandom(1000)})])
    layout.index(("it", image))
    push(layout, "it", f"{public.host}/known:1")
    (layer,) = layout.manifest(image)["layers"]
    blobs = Path(paths.images_dir, "blobs/sha256")
    blobs.mkdir(parents=True)
    os.link(layout.directory / "blobs/sha256" / layer["digest"][7:], blobs / layer["digest"][7:])
    pull(paths, f"{public.host}/known:1")
    assert public.fetches(layer["digest"]) == 0


def test_what_the_store_refuses_is_not_kept(public: Registry, paths: HostPaths, layout: Layout) -> None:
    layout.index(("it", layout.image([layer_of({"f": b"1"})])))
    push(layout, "it", f"{public.host}/refused:1")
    with (
        pytest.raises(InvalidInput, match="damaged"),
        pulled(paths, parse_reference(f"{public.host}/refused:1"), PLAIN, "x"),
    ):
        raise InvalidInput("blob damaged")
    assert os.listdir(paths.pulls_dir) == []


def test_private_registry(paths: HostPaths, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is on no command line."""
    noting = tmp_path / "bin/skopeo"
    noting.parent.mkdir()
    noting.write_text(f'#!/bin/sh\necho "$0 $@" >>{tmp_path}/words\nexec {shutil.which("skopeo")} "$@"\n')
    noting.chmod(0o755)
    layout.index(("it", layout.image([layer_of({"a": b"1"})])))
    with registry(private=True) as private:
        push(layout, "it", f"{private.host}/secret:1", "--dest-creds", f"{USER}:{PASSWORD}")
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(noting.parent), prepend=":")
            pull(paths, f"{private.host}/secret:1", PLAIN._replace(username=USER, password=PASSWORD))
        words = (tmp_path / "words").read_text()
        assert words.count("--authfile=/proc/self/fd/") == 3 and PASSWORD not in words
        authfile = str(tmp_path / "auth.json")
        login = [
            "skopeo",
            "login",
            "--tls-verify=false",
            "--authfile",
            authfile,
            "-u",
            USER,
            "--password-stdin",
            private.host,
        ]
        subprocess.run(login, input=PASSWORD.encode(), check=True, capture_output=True)
        pull(paths, f"{private.host}/secret:1", PLAIN._replace(authfile=str(authfile)))
        for access in (PLAIN, PLAIN._replace(username=USER, password="wrong")):
            with pytest.raises(NotPermitted) as raised:
                pull(paths, f"{private.host}/secret:1", access)
            assert raised.value.message.startswith(
                f"'{private.host}/secret:1': it refuses these credentials, or wants some: "
            )
            assert "wrong" not in raised.value.message
    assert not os.path.exists(paths.pulls_dir) or os.listdir(paths.pulls_dir) == []


def test_tls(paths: HostPaths, layout: Layout) -> None:
    layout.index(("it", layout.image([layer_of({"a": b"1"})])))
    with registry(tls=True) as running:
        push(layout, "it", f"{running.host}/tls:1")
        with pytest.raises(NotPermitted, match="its certificate is not trusted: .*x509"):
            pull(paths, f"{running.host}/tls:1", Access())
        pull(paths, f"{running.host}/tls:1", Access(cert_dir=str(running.directory / "ca")))


def test_failures_in_one_line(public: Registry, paths: HostPaths, layout: Layout, tmp_path: Path) -> None:
    layout.index(("it", layout.image([layer_of({"a": b"1"})])))
    push(layout, "it", f"{public.host}/plain:1")
    policy, nothing = tmp_path / "policy.json", tmp_path / "none/policy.json"
    policy.write_text('{"default": [{"type": "reject"}]}')
    free = f"127.0.0.1:{free_port()}"
    cases: list[tuple[str, Access, type[PycontainerError], str]] = [
        (f"{public.host}/plain:2", PLAIN, NotFound, "it has no such image"),
        (f"{public.host}/nothing:1", PLAIN, NotFound, "it has no such image"),
        (f"{public.host}/plain@sha256:{'0' * 64}", PLAIN, NotFound, "it has no such image"),
        (f"{free}/plain:1", PLAIN, PycontainerError, "the registry does not answer as it should: "),
        (f"{public.host}/plain:1", Access(), PycontainerError, "the registry speaks plain HTTP: "),
        (
            f"{public.host}/plain:1",
            PLAIN._replace(policy=str(policy)),
            NotPermitted,
            "the policy for signatures does not",
        ),
        (
            f"{public.host}/plain:1",
            PLAIN._replace(policy=str(nothing)),
            PycontainerError,
            "there is no policy that says",
        ),
    ]
    for reference, access, kind, words in cases:
        with pytest.raises(PycontainerError) as raised:
            pull(paths, reference, access)
        assert type(raised.value) is kind, reference
        assert raised.value.message.startswith(f"'{reference}': {words}"), raised.value.message
        assert raised.value.hint and "\n" not in raised.value.message


@pytest.mark.parametrize("which", ["config", "layer"])
def test_a_damaged_blob_of_the_registry_is_named(
    public: Registry, paths: HostPaths, layout: Layout, which: str
) -> None:
    """IMG-05: the registry's own file has changed; nothing of it is kept."""
    image = layout.image([layer_of({"a": os.urandom(5000)})])
    layout.index(("it", image))
    push(layout, "it", f"{public.host}/damaged-{which}:1")
    manifest = layout.manifest(image)
    digest = manifest["config"]["digest"] if which == "config" else manifest["layers"][0]["digest"]
    path = public.directory / f"data/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput) as raised:
        pull(paths, f"{public.host}/damaged-{which}:1")
    assert digest in raised.value.message and "\n" not in raised.value.message
    blobs = Path(paths.pulls_dir, image["digest"][7:], "layout/blobs/sha256")
    assert not (blobs / digest[7:]).exists()


def test_without_skopeo(paths: HostPaths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="'skopeo', which is not installed"):
        pull(paths, "localhost/x")
