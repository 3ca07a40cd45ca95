"""oci/config.py: the document as a whole, version, root, hooks, names, id maps; and the file it is read from."""

import os
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.oci import config
from tests.unit.oci.conftest import LEAST, MISSING, Parse, Refused

USER = {"linux.namespaces": [{"type": "user"}, {"type": "mount"}]}


def id_map(inside: object = 0, outside: object = 1000, count: object = 1) -> dict[str, object]:
    return {"containerID": inside, "hostID": outside, "size": count}


MAPS = {**USER, "linux.uidMappings": [id_map(count=10)], "linux.gidMappings": [id_map(count=10)]}


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.2.1", "1.99.0", "1.1.0-rc.1+b-7.x", "1.0.0+1", "1.0.0--"])
def test_versions(parse: Parse, version: str) -> None:
    assert parse({"ociVersion": version}).oci_version == version


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ociVersion": MISSING}, "ociVersion: missing"),
        ({"ociVersion": None}, "ociVersion: null is not a string"),
        ({"ociVersion": 1.0}, "ociVersion: 1.0 is not a string"),
        *(
            ({"ociVersion": text}, f"ociVersion: {text!r} is not a version such as 1.2.0")
            for text in ("", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0+", "1.0.0-a..b", "1.0.0+a+b")
        ),
        ({"ociVersion": "1.٣.0"}, "ociVersion: '1.٣.0' is not a version such as 1.2.0"),
        ({"ociVersion": "0.2.0"}, "ociVersion: '0.2.0' is not supported: this runtime implements 1.x"),
        ({"ociVersion": "2.0.0"}, "ociVersion: '2.0.0' is not supported: this runtime implements 1.x"),
        ({"root": MISSING}, "root: missing"),
        ({"root": None}, "root: null is not an object"),
        ({"root": []}, "root: a list is not an object"),
        ({"root": {}}, "root.path: missing"),
        ({"root.path": ""}, "root.path: empty"),
        ({"root.path": 7}, "root.path: 7 is not a string"),
        ({"root.path": "root\0fs"}, "root.path: 'root\\x00fs' contains a NUL byte"),
        ({"root.path": "../elsewhere"}, "root.path: '../elsewhere' leaves the bundle"),
        ({"root.path": "rootfs/../../x"}, "root.path: 'rootfs/../../x' leaves the bundle"),
        ({"root.path": "nothing"}, "root.path: 'nothing': No such file or directory"),
        ({"root.path": "/etc/passwd"}, "root.path: '/etc/passwd' is not a directory"),
        ({"root.path": "/etc/passwd/x"}, "root.path: '/etc/passwd/x': Not a directory"),
        ({"root.readonly": "yes"}, "root.readonly: 'yes' is not true or false"),
        ({"root.readonly": 1}, "root.readonly: 1 is not true or false"),
        ({"root.readonly": None}, "root.readonly: null is not true or false"),
        ({"process": None}, "process: null is not an object"),
        ({"mounts": {}}, "mounts: an object is not a list"),
        ({"mounts": None}, "mounts: null is not a list"),
        ({"mounts": ["/proc"]}, "mounts[0]: '/proc' is not an object"),
        ({"linux": None}, "linux: null is not an object"),
        ({"hostname": "a" * 65}, f"hostname: {'a' * 65!r} is longer than 64 bytes"),
        ({"hostname": "a\0"}, "hostname: 'a\\x00' contains a NUL byte"),
        ({"hostname": "\udc80"}, "hostname: '\\udc80' is not Unicode text"),
        (
            {"hostname": "a", "linux.namespaces": []},
            "hostname: needs another uts namespace than the runtime's: it would change the host's name",
        ),
        (
            {"domainname": "a", "linux.namespaces": [{"type": "uts", "path": "/proc/self/ns/uts"}]},
            "domainname: needs another uts namespace than the runtime's: it would change the host's name",
        ),
        ({"annotations": []}, "annotations: a list is not an object"),
        ({"annotations": {"a": 1}}, "annotations['a']: 1 is not a string"),
        ({"annotations": {"": "1"}}, "annotations['']: the key is empty"),
        ({"annotations": {"a\0": "1"}}, "annotations['a\\x00']: 'a\\x00' contains a NUL byte"),
        ({"hooks": []}, "hooks: a list is not an object"),
        ({"hooks": {"poststop": {}}}, "hooks.poststop: an object is not a list"),
        ({"hooks": {"prestart": [{}]}}, "hooks.prestart[0].path: missing"),
        (
            {"hooks": {"createRuntime": [{"path": "/a"}, {"path": "true"}]}},
            "hooks.createRuntime[1].path: 'true' is not an absolute path",
        ),
        (
            {"hooks": {"poststart": [{"path": "/a", "timeout": 0}]}},
            "hooks.poststart[0].timeout: 0 is out of range: 1 to 2147483647",
        ),
        (
            {"hooks": {"poststart": [{"path": "/a", "timeout": 1.5}]}},
            "hooks.poststart[0].timeout: 1.5 is not a whole number",
        ),
        (
            {"hooks": {"createContainer": [{"path": "/a", "env": ["A"]}]}},
            "hooks.createContainer[0].env[0]: 'A' has no '='",
        ),
        (
            {"hooks": {"startContainer": [{"path": "/a", "args": [1]}]}},
            "hooks.startContainer[0].args[0]: 1 is not a string",
        ),
    ],
)
def test_what_is_refused(refused: Refused, changes: dict[str, object], message: str) -> None:
    assert refused(changes) == message


@pytest.mark.parametrize("data", [None, [], "{}", 1])
def test_a_document_that_is_no_object(bundle: str, data: object) -> None:
    with pytest.raises(InvalidInput, match=r"^config\.json: .* is not an object$"):
        config.parse(data, bundle)


def test_what_is_not_there(parse: Parse) -> None:
    """`create` takes a configuration without a process, and one for which Linux is not mentioned."""
    found = parse({"process": MISSING, "linux": MISSING})
    assert found.process is None and found.namespaces == {} and found.mounts == [] and found.resources == {}
    assert found.seccomp is None and found.personality is None and found.intel_rdt is None
    assert found.hooks == {kind: [] for kind in config.HOOKS}
    assert (found.hostname, found.domainname, found.cgroups_path, found.rootfs_propagation) == ("", "", "", "")


@pytest.mark.parametrize("made", ["absolute", "symlink", "relative"])
def test_the_root_is_a_real_path(parse: Parse, bundle: str, made: str) -> None:
    os.symlink("rootfs", f"{bundle}/link")
    path = {"absolute": f"{bundle}/../{os.path.basename(bundle)}/rootfs", "symlink": "link", "relative": "./rootfs/"}[
        made
    ]
    assert parse({"root.path": path, "root.readonly": True}).root_path == f"{bundle}/rootfs"


def test_a_bundle_by_a_relative_path(parse: Parse, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    mounts = [{"destination": "/a", "source": "data", "options": ["bind"]}]
    found = config.parse({**LEAST, "mounts": mounts}, ".")
    assert found.root_path == f"{bundle}/rootfs" and found.mounts[0].source == f"{bundle}/data"


def test_hooks(parse: Parse) -> None:
    hook = {"path": "/bin/a", "args": ["a", "-b"], "env": ["X=1", "Y=", "X=2=3"], "timeout": 5}
    found = parse({"hooks": {"poststop": [hook, {"path": "/bin/c", "args": []}]}}).hooks
    full, least = found["poststop"]
    assert (full.path, full.args, full.env, full.timeout_seconds) == ("/bin/a", ["a", "-b"], ["X=2=3", "Y="], 5)
    assert (least.path, least.args, least.env, least.timeout_seconds) == ("/bin/c", ["/bin/c"], [], None)


def test_names(parse: Parse) -> None:
    found = parse({"hostname": "h" * 64, "domainname": "dömäin"})
    assert found.hostname == "h" * 64 and found.domainname == "dömäin"


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([id_map(count=0)], "[0].size: 0 ids are no range"),
        ([id_map(count=MISSING)], "[0].size: missing"),
        ([id_map(inside=-1)], "[0].containerID: -1 is out of range: 0 to 4294967295"),
        ([id_map(outside=2**32)], "[0].hostID: 4294967296 is out of range: 0 to 4294967295"),
        ([id_map(inside=True)], "[0].containerID: true is not a whole number"),
        ([id_map(inside="0")], "[0].containerID: '0' is not a whole number"),
        ([id_map(outside=1, count=2**32 - 1)], "[0].size: 4294967295 ids from hostID 1 on go beyond 4294967294"),
        ([id_map(0, 1000, 10), id_map(9, 5000, 1)], "[1].containerID: overlaps uidMappings[0]"),
        ([id_map(0, 1000, 10), id_map(20, 999, 2)], "[1].hostID: overlaps uidMappings[0]"),
        ([id_map(5, 1000, 1), id_map(0, 2000, 9)], "[1].containerID: overlaps uidMappings[0]"),
        ([id_map(one, one, 1) for one in range(341)], ": more than 340 ranges, which is what the kernel takes"),
        ([], ": missing: a new user namespace needs it"),
        (None, ": null is not a list"),
    ],
)
def test_id_maps_that_are_refused(refused: Refused, maps: list[dict[str, object]] | None, message: str) -> None:
    if maps is not None:
        maps = [{key: value for key, value in one.items() if value is not MISSING} for one in maps]
    assert refused({**MAPS, "linux.uidMappings": maps}) == f"linux.uidMappings{message}"


def test_id_maps(parse: Parse) -> None:
    maps = [id_map(0, 100000, 10), id_map(10, 99990, 10), id_map(20, 0, 2**32 - 1 - 100010 - 20)]
    maps[2]["hostID"] = 100010
    found = parse({**MAPS, "linux.uidMappings": maps}).uid_mappings
    assert [(one.inside, one.outside) for one in found] == [(0, 100000), (10, 99990), (20, 100010)]
    whole = parse({**MAPS, "linux.gidMappings": [id_map(0, 0, 2**32 - 1)]}).gid_mappings
    assert whole[0].count == 4294967295


def test_id_maps_belong_to_a_user_namespace(parse: Parse, refused: Refused) -> None:
    assert refused({"linux.gidMappings": [id_map()]}) == "linux.gidMappings: needs a user namespace in linux.namespaces"
    assert (
        refused({**MAPS, "linux.gidMappings": MISSING}) == "linux.gidMappings: missing: a new user namespace needs it"
    )
    joined = {"linux.namespaces": [{"type": "user", "path": "/run/user"}, {"type": "mount"}]}
    assert parse(joined).uid_mappings == [] and parse({**MAPS, **joined}).uid_mappings[0].count == 10


OWN_MOUNTS = "needs another mount namespace than the runtime's"


@pytest.mark.parametrize(
    "namespaces", [[], [{"type": "mount", "path": "/proc/self/ns/mnt"}]], ids=["none", "the-runtimes-by-path"]
)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linux.rootfsPropagation": "shared"}, f"rootfsPropagation: {OWN_MOUNTS}: it would change the host's"),
        ({"linux.maskedPaths": ["/a"]}, f"maskedPaths: {OWN_MOUNTS}: the paths would be in reach all the same"),
        ({"linux.readonlyPaths": ["/a"]}, f"readonlyPaths: {OWN_MOUNTS}: the paths would be in reach all the same"),
    ],
)
def test_what_the_runtimes_mounts_cannot_hold(
    parse: Parse, refused: Refused, namespaces: list[object], changes: dict[str, object], message: str
) -> None:
    assert refused({"linux.namespaces": namespaces, **changes}) == f"linux.{message}"
    assert parse({"linux.namespaces": namespaces}).shares_mounts
    assert not parse(changes).shares_mounts


def test_a_user_namespace_has_mounts_of_its_own(refused: Refused) -> None:
    found = refused({**MAPS, "linux.namespaces": [{"type": "user"}]})
    assert found == f"linux.namespaces: a user namespace {OWN_MOUNTS}: the host's mounts are not its to leave"


@pytest.mark.parametrize("key", ["uid", "gid"])
def test_the_user_has_an_id_in_the_new_namespace(parse: Parse, refused: Refused, key: str) -> None:
    user = {"uid": 0, "gid": 0}
    assert (
        refused({**MAPS, "process.user": user | {key: 10}}) == f"process.user.{key}: 10 is not in linux.{key}Mappings"
    )
    assert parse({**MAPS, "process.user": user | {key: 9}}).process is not None


def refusal(bundle: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        config.load(bundle)
    return caught.value.message


def test_files_that_are_not_read(tmp_path: Path) -> None:
    pytest.importorskip("pycontainer.oci.text")
    assert refusal(str(tmp_path)) == f"config.json: not found in bundle '{tmp_path}'"
    path = tmp_path / "config.json"
    os.mkfifo(path)
    assert refusal(str(tmp_path)) == f"config.json: '{path}' is not a regular file"
    path.unlink()
    path.mkdir()
    assert refusal(str(tmp_path)) == f"config.json: '{path}' is not a regular file"
    path.rmdir()
    with open(path, "wb") as file:
        file.truncate(config.MAX_BYTES + 1)
    assert refusal(str(tmp_path)) == f"config.json: more than {config.MAX_BYTES} bytes"
    os.truncate(path, 0)
    path.write_text('{"ociVersion": "1.0.0",\n "root": {"path": "a", "path": "b"}}')
    assert refusal(str(tmp_path)) == "config.json: root: a key is given twice"
    path.write_text('{"ociVersion": "1.0.0",\n "root": }')
    assert refusal(str(tmp_path)) == "config.json: line 2, column 10: Expecting value"


def test_what_a_container_goes_on_to_need(parse: Parse, bundle: str) -> None:
    """Its pod's first process, and with it paths of namespaces, may have gone, and the root's place on the host as well."""
    data = {
        **LEAST,
        "root": {"path": "/none"},
        "hostname": "web",
        "hooks": {"poststart": [{"path": "/bin/a"}]},
        "linux": {
            "namespaces": [{"type": "uts", "path": "/proc/4194304/ns/uts"}, {"type": "user", "path": "/none"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 1001, "size": 1}],
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
            "personality": {"domain": "LINUX32"},
        },
    }
    with pytest.raises(InvalidInput):
        config.parse(data, bundle)
    found = config.parse_kept(data)
    assert found.process is not None and found.process.args == ["sh"]
    assert found.hooks["poststart"][0].path == "/bin/a"
    assert [each[0].outside for each in (found.uid_mappings, found.gid_mappings)] == [1000, 1001]
    assert found.seccomp == {"defaultAction": "SCMP_ACT_ALLOW"} and found.personality == 8
