"""The unpacker against archives made by an attacker. IMG-01, IMG-03, IMG-05, IMG-06; both ways of look-up: PATH-09."""

import io
import os
import stat
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.linux import files
from pycontainer.store.tarstream import Packed
from pycontainer.store.unpack import Budgets, Unpacker
from tests.support.archives import BREAK_OUTS, DIR, LNK, SYM, E, archive, break_out, picture


@pytest.fixture(params=["openat2", "fallback"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "fallback":
        monkeypatch.setattr(files, "use_openat2", False)


def unpack(tmp_path: Path, data: bytes, **options: object) -> Unpacker:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpacker = Unpacker(fd, **options)  # type: ignore[arg-type]
        unpacker.unpack(io.BytesIO(data))
    finally:
        os.close(fd)
    return unpacker


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("case", list(BREAK_OUTS))
def test_nothing_gets_out(tmp_path: Path, outside: Path, case: str) -> None:
    data, expected = break_out(case, outside)
    if isinstance(expected, str):
        with pytest.raises(InvalidInput) as caught:
            unpack(tmp_path, data)
        assert expected in caught.value.message
        return
    unpack(tmp_path, data)
    for name, content in expected.items():
        path = tmp_path / "root" / name
        assert path.read_bytes() == content
        assert path.is_file() and not path.is_symlink()


def test_link_out_of_the_root_is_kept_as_text(tmp_path: Path, outside: Path) -> None:
    unpack(tmp_path, archive(E("l", SYM, str(outside))))
    assert os.readlink(tmp_path / "root/l") == str(outside)


def test_specials_are_dropped_and_named(tmp_path: Path) -> None:
    done = unpack(
        tmp_path,
        archive(
            E("c", tarfile.CHRTYPE), E("b", tarfile.BLKTYPE), E("p", tarfile.FIFOTYPE), E("again", LNK, "c"), E("f")
        ),
    )
    assert os.listdir(tmp_path / "root") == ["f"]
    assert done.dropped == ["c", "b", "p"]


def test_xattr_policy(tmp_path: Path) -> None:
    v2 = struct.pack("<5I", 0x02000001, 0x400, 0, 0, 0)
    v3 = struct.pack("<6I", 0x03000001, 0x400, 0, 0, 0, 0)
    foreign = struct.pack("<6I", 0x03000001, 0x400, 0, 0, 0, 1000)
    names = {
        "user.mine": "kept",
        "user.overlay.opaque": "y",
        "trusted.overlay.opaque": "y",
        "security.selinux": "label",
        "security.evil": "x",
        "system.posix_acl_access": "x",
    }

    def pax(capability: bytes) -> dict[str, str]:
        every = {**names, "security.capability": capability.decode("utf-8", "surrogateescape")}
        return {f"SCHILY.xattr.{name}": value for name, value in every.items()}

    unpack(tmp_path, archive(E("v2", pax=pax(v2)), E("v3", pax=pax(v3)), E("foreign", pax=pax(foreign))))
    root = tmp_path / "root"
    assert {name: sorted(os.listxattr(root / name)) for name in ("v2", "v3", "foreign")} == {
        "v2": ["security.capability", "user.mine"],
        "v3": ["security.capability", "user.mine"],
        "foreign": ["user.mine"],
    }
    assert os.getxattr(root / "v2", "security.capability") == v2
    assert os.getxattr(root / "v3", "security.capability") == v2


def test_round_trip(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "dir/sub").mkdir(parents=True)
    (source / "dir/file").write_bytes(os.urandom(700_001))
    (source / "empty").write_bytes(b"")
    os.link(source / "dir/file", source / "hard")
    (source / "soft").symlink_to("dir/../nowhere")
    os.link(source / "soft", source / "dir/soft", follow_symlinks=False)
    os.mkdir(os.fsencode(source) + b"/\xff\n\xe4")
    (source / "setuid").write_bytes(b"x")
    os.setxattr(source / "setuid", "user.binary", b"\xff\0=\n1")
    os.setxattr(source / "dir", "user.on-dir", b"y")
    os.chown(source / "setuid", 65535, 12)
    os.chmod(source / "setuid", 0o6755)
    os.chown(source / "soft", 7, 8, follow_symlinks=False)
    os.chmod(source / "dir/sub", 0o1777)
    os.chmod(source / "dir", 0o500)
    for number, path in enumerate(sorted(source.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 10**18 + 123_456_789 + number), follow_symlinks=False)
    os.utime(source / "empty", ns=(0, -1_500_000_001))
    os.utime(source, ns=(0, 10**18 + 1))
    fd = os.open(source, os.O_RDONLY)
    packed = b""
    stream = Packed(fd)
    while block := stream.read(10_000):
        packed += block
    again = Packed(fd)
    assert packed == b"".join(iter(lambda: again.read(1 << 20), b""))
    os.close(fd)
    done = unpack(tmp_path, packed)
    assert picture(tmp_path / "root") == picture(source)
    assert (tmp_path / "root").stat().st_mtime_ns == 10**18 + 1
    assert done.size_bytes == 700_002
    assert (tmp_path / "root/hard").stat().st_ino == (tmp_path / "root/dir/file").stat().st_ino


def test_owner_takes_all_and_loses_setuid(tmp_path: Path) -> None:
    unpack(tmp_path, archive(E("new/f", mode=0o6755, uid=70_000)), owner=(1234, 5678))
    for name in ("new", "new/f"):
        details = (tmp_path / "root" / name).stat()
        assert (details.st_uid, details.st_gid, stat.S_IMODE(details.st_mode)) == (1234, 5678, 0o755)


def test_merge_keeps_what_is_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True, mode=0o711)
    (root / "lib").symlink_to("usr/lib")
    os.chmod(root, 0o711)
    unpack(
        tmp_path,
        archive(E("./", DIR, mode=0o777), E("usr", DIR, mode=0o777), E("lib", DIR, mode=0o777), E("lib/f")),
        merge=True,
    )
    assert (root / "usr/lib/f").read_bytes() == b"evil"
    assert (root / "lib").is_symlink()
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in (".", "usr/lib")] == [0o711, 0o711]
    (root / "file").write_text("x")
    with pytest.raises(InvalidInput, match="'file'"):
        unpack(tmp_path, archive(E("file", DIR)), merge=True)


GOOD = archive(E("one", data=b"1" * 600), E("two"))


def _flip(position: int) -> bytes:
    return GOOD[:position] + bytes([GOOD[position] ^ 0x41]) + GOOD[position + 1 :]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cut off"),
        (GOOD[:100], "cut off"),
        (GOOD[:512], "cut off"),
        (GOOD[:1000], "cut off"),
        (GOOD[:1536], "cut off"),
        (GOOD[:-1024], "cut off"),
        (_flip(3), "damaged"),
        (_flip(1536 + 3), "damaged"),
        (GOOD + GOOD, "data follows"),
        (GOOD + b"x", "data follows"),
        (GOOD + bytes(1 << 20) + b"x", "data follows"),
        (GOOD + bytes(20 << 20), "data follows"),
        (os.urandom(4096), "damaged"),
        (archive(E("x", pax={"comment": "x" * (4 << 20)})), "header of more than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_damage_is_noticed(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        unpack(tmp_path, data)


def test_chained_headers_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    head = archive(E("x", pax={"comment": "y"}))[:1024]
    with pytest.raises(InvalidInput, match="damaged"):
        unpack(tmp_path, head * 100_000)


@pytest.mark.parametrize(
    ("budgets", "says"),
    [
        (Budgets(max_entries=1), "more than 1 entries"),
        (Budgets(max_bytes=603), "'two': the archive unpacks to more than 603 bytes"),
        (Budgets(max_path_bytes=2), "'one': the name is too long"),
    ],
)
def test_budgets(tmp_path: Path, budgets: Budgets, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        unpack(tmp_path, GOOD, budgets=budgets)
    unpack(tmp_path, GOOD, budgets=Budgets(max_entries=2, max_bytes=604, max_path_bytes=3))


def _sparse(size: int) -> bytes:
    """GNU sparse 1.0: a map of one byte at the beginning."""
    data = b"1\n0\n1\n".ljust(512, b"\0") + b"X"
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "big", "GNU.sparse.realsize": str(size)}
    return archive(E("sparse", data=data, pax=pax))


def test_sparse_files_stay_sparse_and_count_in_full(tmp_path: Path) -> None:
    unpack(tmp_path, _sparse(10 << 20))
    details = (tmp_path / "root/big").stat()
    assert details.st_size == 10 << 20 and details.st_blocks * 512 <= 1 << 18
    with pytest.raises(InvalidInput, match="unpacks to more than"):
        unpack(tmp_path, _sparse(1 << 50))
    unpack(tmp_path, _sparse(1 << 43), budgets=Budgets(max_bytes=1 << 60))  # for hours, if each zero were looked at
    assert (tmp_path / "root/big").stat().st_size == 1 << 43


@pytest.mark.parametrize("sparse_map", [b"999999999\n", b"x\n", b"2\n0\n1\n-5\n9\n", b"1" * 512])
def test_bad_sparse_maps_end(tmp_path: Path, sparse_map: bytes) -> None:
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "big", "GNU.sparse.realsize": "100"}
    with pytest.raises(InvalidInput):
        unpack(tmp_path, archive(E("sparse", data=sparse_map.ljust(512, b"\0"), pax=pax)))


def test_directories_have_their_times_whatever_comes_later(tmp_path: Path) -> None:
    """What goes into one again, by its name, through a link or unmentioned ones, leaves no trace of when."""
    times = {"d": "100.5", "d/inner": "200", "e": "300.25", ".": "400", "twice": "600"}

    def directory(name: str, mtime: str = "", mode: int = 0o2550) -> E:
        return E(name, DIR, mode=mode, uid=33, gid=44, pax={"mtime": mtime or times[name]})

    done = unpack(
        tmp_path,
        archive(
            E("early"), directory("twice", "500", 0o700), directory("d"), directory("d/inner"), E("d/inner/f"),
            directory("e"), E("link", SYM, "d"), directory("."), E("d/late"), E("link/through"), E("e/new/deep/f"),
            E("d/inner/again"), directory("twice"), E("d/late"), E("e/f"), E("link/inner/last"),
        ),
        is_layer=True,
    )  # fmt: skip
    root = tmp_path / "root"
    for name, mtime in times.items():
        details = (root / name).stat()
        assert (name, details.st_mtime_ns / 1e9, stat.S_IMODE(details.st_mode)) == (name, float(mtime), 0o2550)
        assert (details.st_uid, details.st_gid) == (33, 44)
    details = (root / "e/new").stat()
    assert (stat.S_IMODE(details.st_mode), details.st_uid, details.st_gid) == (0o755, 0, 0), "nothing was inherited"
    assert done.implied == {(b"e", b"new"), (b"e", b"new", b"deep")}


def test_memory_does_not_grow_with_the_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup may hold millions: only those on the way to the present entry are remembered."""
    most = 0
    leave_for = Unpacker._leave_for

    def watched(self: Unpacker, parts: tuple[bytes, ...]) -> None:
        nonlocal most
        leave_for(self, parts)
        most = max(most, len(self._way))

    monkeypatch.setattr(Unpacker, "_leave_for", watched)
    entries = [E(f"d{number % 300}/{inner}", DIR) for inner in ("", "a", "a/b") for number in range(300)]
    entries += [E(f"d{number}/unmentioned/{number}/f") for number in range(300)]
    unpack(tmp_path, archive(*entries))
    assert 0 < most <= 5
    assert sum(1 for _ in (tmp_path / "root").rglob("*")) == 300 * 6


def test_leaves_no_descriptor_open(tmp_path: Path) -> None:
    count: Callable[[], int] = lambda: len(os.listdir("/proc/self/fd"))  # noqa: E731
    before = count()
    unpack(tmp_path, archive(E("a/b/f"), E("a/c/g"), E("a", DIR)))
    for entries in ([E("l", SYM, "x"), E("l/y")], [E("a/b/f"), E("h", LNK, "gone")]):
        with pytest.raises(InvalidInput):
            unpack(tmp_path, archive(*entries))
    assert count() == before
