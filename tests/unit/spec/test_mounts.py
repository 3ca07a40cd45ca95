"""Volumes, tmpfs and mounts: the three spellings of Mount."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput
from pycontainer.spec.model import Mount
from pycontainer.spec.mounts import parse_mount, parse_tmpfs, parse_volume


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("/src:/dst", Mount("bind", "/dst", "/src")),
        ("/src:/dst:rw", Mount("bind", "/dst", "/src")),
        ("/src/:/dst//x/.:ro", Mount("bind", "/dst/x", "/src", read_only=True)),
        ("data:/var/lib/data", Mount("volume", "/var/lib/data", "data")),
        ("/var//lib/data/", Mount("volume", "/var/lib/data")),
        ("data:/d:ro", Mount("volume", "/d", "data", read_only=True)),
        ("/dev/kvm:/dev/kvm", Mount("bind", "/dev/kvm", "/dev/kvm")),
        ("/src:/dst:idmap", Mount("bind", "/dst", "/src", idmap=True)),
        ("/src:/dst:idmap,ro", Mount("bind", "/dst", "/src", read_only=True, idmap=True)),
        ("data:/d:nocopy,rw", Mount("volume", "/d", "data", copy=False)),
    ],
)
def test_volumes(entry: object, expected: Mount) -> None:
    assert parse_volume(entry) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("/", "nothing may be mounted at '/'"),
        ("/proc/x", "nothing may be mounted at '/proc/x'"),
        ("/dst/../x", "'/dst/../x' holds '..'"),
        ("./dst", "'./dst' has no target"),
        ("data", "'data' has no target"),
        (":", "':' has no source"),
        (":/dst", "':/dst' has no source"),
        ("data:", "'data:' has no target"),
        ("a:/b:ro:x", "'a:/b:ro:x' is not a volume"),
        ("a:/b:z", "'a:/b:z': volume option 'z' is not supported"),
        ("a:/b:idmap", "'a:/b:idmap': volume option 'idmap' is not supported"),
        ("/a:/b:nocopy", "'/a:/b:nocopy': volume option 'nocopy' is not supported"),
        ("a:/b:ro,rw", "'a:/b:ro,rw': the volume options repeat or contradict each other"),
        ("a:/b:ro,ro", "'a:/b:ro,ro': the volume options repeat or contradict each other"),
        ("a:/b:", "'a:/b:': volume option '' is not supported"),
        ("a:b", "'b' is not an absolute path"),
        ("./a:/b", "'./a' is not an absolute path"),
        ("..:/b", "'..' is not an absolute path"),
        ("a/b:/c", "'a/b' is not an absolute path"),
        ("-x:/b", "'-x' is not a volume name"),
        ("/a/../b:/c", "'/a/../b' holds '..'"),
        ("/a:/c/../d", "'/c/../d' holds '..'"),
        ("/a:/", "nothing may be mounted at '/'"),
        ("/a:/.//", "nothing may be mounted at '/'"),
        ("/a:/proc", "nothing may be mounted at '/proc'"),
        ("/a:/proc/self", "nothing may be mounted at '/proc/self'"),
        ("/a:/sys/fs/cgroup", "nothing may be mounted at '/sys/fs/cgroup'"),
        ("/a:/dev", "nothing may be mounted at '/dev'"),
        ("/a\n:/b", "'/a\\n:/b' holds a control character"),
        (f"/{'x' * 256}:/b", f"'/{'x' * 74}...' has a component of more than 255 bytes"),
        (f"{'/xxx' * 1024}:/b", "the path has more than 4095 bytes"),
    ],
)
def test_what_is_no_volume(entry: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_volume(entry)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("/run", Mount("tmpfs", "/run")),
        ("/run:size=64m", Mount("tmpfs", "/run", size_bytes=64 * 2**20)),
        (
            "/run:rw,noexec,nosuid,nodev,size=65536k,mode=1777",
            Mount("tmpfs", "/run", size_bytes=64 * 2**20, mode=0o1777),
        ),
        ("/run:ro,exec", Mount("tmpfs", "/run", read_only=True, exec_allowed=True)),
    ],
)
def test_tmpfs(entry: object, expected: Mount) -> None:
    assert parse_tmpfs(entry) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("run", "'run' is not an absolute path"),
        ("/run:suid", "'/run:suid': tmpfs option 'suid' is not supported"),
        ("/run:uid=5", "'/run:uid=5': tmpfs option 'uid=5' is not supported"),
        ("/run:size", "'/run:size': tmpfs option 'size' is not supported"),
        ("/run:size=50%", "'50%' is not a size"),
        ("/run:size=1", "'1' is less than the least size, 4KiB"),
        ("/run:mode=9", "'9' is not a mode"),
    ],
)
def test_what_is_no_tmpfs(entry: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_tmpfs(entry)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("type=bind,source=/a,target=/b", Mount("bind", "/b", "/a")),
        ("type=bind,src=/a,dst=/b,readonly", Mount("bind", "/b", "/a", read_only=True)),
        ("type=bind,src=/a,destination=/b,ro=true", Mount("bind", "/b", "/a", read_only=True)),
        ("type=bind,src=/a,dst=/b,readonly=0", Mount("bind", "/b", "/a")),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", Mount("bind", "/b", "/a", recursive=False)),
        ("source=data,target=/b", Mount("volume", "/b", "data")),
        (
            "type=tmpfs,target=/t,tmpfs-size=1M,tmpfs-mode=755,tmpfs-exec",
            Mount("tmpfs", "/t", size_bytes=2**20, mode=0o755, exec_allowed=True),
        ),
        (
            {"type": "bind", "source": "/a,b", "target": "/b", "readonly": True},
            Mount("bind", "/b", "/a,b", read_only=True),
        ),
        ({"type": "tmpfs", "target": "/t", "tmpfs-mode": 1777}, Mount("tmpfs", "/t", mode=0o1777)),
    ],
)
def test_mounts(entry: object, expected: Mount) -> None:
    assert parse_mount(entry) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("type=nfs,target=/b", "'nfs' is not a mount type"),
        ("type=bnid,target=/b", "'bnid' is not a mount type, did you mean 'bind'?"),
        ("type=bind,soruce=/a,target=/b", "unknown mount option 'soruce', did you mean 'source'?"),
        ("type=bind,source=/a,src=/c,target=/b", "mount option 'source' is given twice"),
        ("type=bind,source,target=/b", "mount option 'source' has no value"),
        ("type=bind,source=,target=/b", "the value is empty"),
        ("type=bind,source=/a", "'type=bind,source=/a': the mount has no target"),
        ("type=bind,target=/b", "'type=bind,target=/b': the bind mount has no source"),
        ("source=,target=/b", "'' is not a volume name"),
        ("type=tmpfs,source=/a,target=/b", "'type=tmpfs,source=/a,target=/b': a tmpfs mount has no 'source'"),
        (
            "type=bind,source=/a,target=/b,tmpfs-size=1M",
            "'type=bind,source=/a,target=/b,tmpfs-size=1M': a bind mount has no 'tmpfs-size'",
        ),
        ("source=../a,target=/b", "'../a' is not a volume name"),
        ("type=bind,source=/a,target=/b,readonly=yes", "'yes' is not true or false"),
        ({"type": "bind", "source": None, "target": "/b"}, "None is not text"),
        ({1.5: 2}, "1.5 is not text"),
        ([], "[] is not text"),
        ("", "the value is empty"),
    ],
)
def test_what_is_no_mount(entry: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_mount(entry)
    assert caught.value.message == message


@given(st.text("/.ab:\n\0,=ro\u00e9", max_size=20), st.sampled_from([parse_volume, parse_mount, parse_tmpfs]))
def test_any_target_stays_beneath_the_root(entry: str, parse: object) -> None:
    try:
        mount = parse(entry)  # type: ignore[operator]
    except InvalidInput:
        return
    parts = mount.target.split("/")
    assert parts[0] == "" and len(parts) > 1 and not {"", ".", ".."} & set(parts[1:])
