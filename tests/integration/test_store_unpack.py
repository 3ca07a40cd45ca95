"""The unpacker against archives made by an attacker. IMG-01, IMG-03, IMG-05, IMG-06; both ways of look-up: PATH-09."""

import dataclasses
import io
import os
import stat
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.linux import files
from pycontainer.store.tarstream import Packed
from pycontainer.store.unpack import Budgets, Unpacker

REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
CANARY = "untouched"


@dataclasses.dataclass(frozen=True)
class E:
    """One entry of a crafted archive."""

    name: str
    kind: bytes = REG
    target: str = ""
    data: bytes = b"evil"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    pax: dict[str, str] = dataclasses.field(default_factory=dict)


def archive(*entries: E) -> bytes:
    """Build a tar archive without any of tarfile's clean-ups of names."""
    out = b""
    for entry in entries:
        info = tarfile.TarInfo(entry.name)
        info.type, info.linkname, info.mode, info.uid, info.gid = (
            entry.kind,
            entry.target,
            entry.mode,
            entry.uid,
            entry.gid,
        )
        info.pax_headers = dict(entry.pax)
        data = entry.data if entry.kind == REG else b""
        info.size = len(data)
        out += info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)
    return out + bytes(1024)


@pytest.fixture(params=["openat2", "fallback"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "fallback":
        monkeypatch.setattr(files, "use_openat2", False)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory beside the root whose content, modes and times must not change."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "canary").write_text(CANARY)
    before = picture(directory)
    yield directory
    assert picture(directory) == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]


def picture(directory: Path) -> list[tuple[object, ...]]:
    """Describe a tree exactly."""
    lines: list[tuple[object, ...]] = []
    for path in [directory, *sorted(directory.rglob("*"))]:
        details = path.lstat()
        content: object = None
        if stat.S_ISLNK(details.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(details.st_mode):
            content = path.read_bytes()
        lines.append(
            (
                str(path.relative_to(directory)),
                details.st_mode,
                details.st_uid,
                details.st_gid,
                0 if stat.S_ISDIR(details.st_mode) and path == directory else details.st_mtime_ns,
                details.st_nlink,
                content,
                {
                    name: os.getxattr(path, name, follow_symlinks=False)
                    for name in os.listxattr(path, follow_symlinks=False)
                },
            )
        )
    return lines


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


# `%` stands for the directory outside. A text: what the InvalidInput must say. A dict: the files there must be.
BREAK_OUTS: dict[str, tuple[list[E], str | dict[str, bytes]]] = {
    "up and out": ([E("../outside/canary")], "'../outside/canary': '..' would leave"),
    "up in the middle": ([E("a", DIR), E("a/../../outside/canary")], "'..' would leave"),
    "up at the end": ([E("a/..", DIR, mode=0o777)], "'..' would leave"),
    "only up": ([E("..", DIR, mode=0o777)], "'..' would leave"),
    "absolute up": ([E("/../outside/canary")], "'..' would leave"),
    "absolute name": ([E("%/canary")], {"%/canary": b"evil"}),
    "slashes in front": ([E("///%/canary")], {"%/canary": b"evil"}),
    "through an absolute link": ([E("l", SYM, "%"), E("l/canary")], "'l/canary': it lies beyond a link"),
    "through a relative link": ([E("l", SYM, "../outside"), E("l/canary")], "'l/canary': it lies beyond a link"),
    "through a long relative link": (
        [E("l", SYM, "../../../../../../../../%"), E("l/canary")],
        "'l/canary': it lies beyond a link",
    ),
    "through a chain": (
        [E("a", SYM, "b"), E("b", SYM, "c"), E("c", SYM, "%"), E("a/canary")],
        "'a/canary': it lies beyond a link",
    ),
    "through nested links": (
        [E("d", DIR), E("d/up", SYM, ".."), E("d/up2", SYM, "up/.."), E("d/up2/outside/canary")],
        {"outside/canary": b"evil"},
    ),
    "through a link to the root": ([E("l", SYM, "/"), E("l/x")], {"x": b"evil"}),
    "through a link that loops": ([E("l", SYM, "l"), E("l/x")], "'l/x': it lies beyond a loop"),
    "over a link to a file": ([E("f", SYM, "%/canary"), E("f")], {"f": b"evil"}),
    "directory over a link": ([E("l", SYM, "%"), E("l", DIR, mode=0o777), E("l/x")], {"l/x": b"evil"}),
    "directory with a slash over a link": ([E("l", SYM, "%"), E("l/", DIR, mode=0o777)], {}),
    "link named like the root": ([E("/.", SYM, "%"), E("canary")], "would replace the root"),
    "link named dot": ([E(".", SYM, "%"), E("canary")], "would replace the root"),
    "link named ./.": ([E("./.", SYM, "%"), E("canary")], "would replace the root"),
    "file named like the root": ([E("./")], "would replace the root"),
    "link in place of an empty parent": ([E("d", DIR), E("d", SYM, "%"), E("d/canary")], "'d/canary': it lies beyond"),
    "link in place of a full parent": (
        [E("d", DIR), E("d/x"), E("d", SYM, "%"), E("d/canary")],
        "'d': a directory with files is in its place",
    ),
    "parent replaced behind our back": (
        [E("d", DIR, mode=0o777), E("e", DIR), E("d", SYM, "%"), E("e/x")],
        {"e/x": b"evil"},
    ),
    "file as a parent": ([E("f"), E("f/x")], "'f/x': something above it is no directory"),
    "hard link to outside": ([E("h", LNK, "%/canary")], "'h' is a hard link to"),
    "hard link up and out": ([E("h", LNK, "../outside/canary")], "'h': '..' would leave"),
    "hard link through a link": (
        [E("l", SYM, "../outside"), E("h", LNK, "l/canary")],
        "'h' is a hard link to 'l/canary'",
    ),
    "hard link to a link": ([E("l", SYM, "%/canary"), E("h", LNK, "l"), E("h")], "'h' is a hard link to 'l'"),
    "hard link to a directory": ([E("d", DIR), E("h", LNK, "d")], "'h' is a hard link to 'd'"),
    "hard link to a later entry": ([E("h", LNK, "f"), E("f")], "'h' is a hard link to 'f'"),
    "hard link to the root": ([E("h", LNK, "/")], "'h' is a hard link to '/'"),
    "hard link to nothing": ([E("h", LNK, "")], "'h' is a hard link to ''"),
    "hard link to itself": ([E("f"), E("f", LNK, "f")], {"f": b"evil"}),
    "hard link twice": ([E("f"), E("h", LNK, "f"), E("h", LNK, "./f")], {"f": b"evil", "h": b"evil"}),
    "hard link through a link inside": (
        [E("d", DIR), E("d/f"), E("l", SYM, "d"), E("h", LNK, "l/f")],
        {"h": b"evil", "d/f": b"evil"},
    ),
    "NUL in a name": ([E("x", pax={"path": "a\0b"})], "NUL"),
    "NUL in a target": ([E("x", SYM, "y", pax={"linkpath": "a\0b"})], "NUL"),
    "no target": ([E("x", SYM, "")], "'x': the link's target is empty"),
    "long component": ([E("x" * 256)], "a component is longer than 255 bytes"),
    "long path": ([E("x/" * 2100 + "y")], "the name is too long"),
    "deep path": ([E("x/" * 300 + "y")], "deeper than 256"),
    "pax path up and out": ([E("x", pax={"path": "../outside/canary"})], "'..' would leave"),
    "uid beyond the range": ([E("x", uid=65536)], "'x' belongs to 65536:0"),
    "gid of nobody": ([E("x", gid=2**32 - 1)], "'x' belongs to 0:4294967295"),
    "negative uid": ([E("x", pax={"uid": "-1"})], "'x' belongs to -1:0"),
    "no time": ([E("x", pax={"mtime": "nan"})], "'x': 'nan' is no time"),
    "endless time": ([E("x", pax={"mtime": "9" * 40})], "is no time"),
    "negative size": ([E("x", pax={"size": "-512"})], "archive"),
    "same name in other forms": ([E("f", data=b"1"), E("./f", data=b"2"), E("/f//", DIR)], {}),
    "last of the same name wins": ([E("f", data=b"1"), E(".//f", data=b"2")], {"f": b"2"}),
    "multi-volume": ([E("x", b"M")], "unknown type"),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("case", list(BREAK_OUTS))
def test_nothing_gets_out(tmp_path: Path, outside: Path, case: str) -> None:
    entries, expected = BREAK_OUTS[case]
    entries = [
        dataclasses.replace(e, name=e.name.replace("%", str(outside)), target=e.target.replace("%", str(outside)))
        for e in entries
    ]
    if isinstance(expected, str):
        with pytest.raises(InvalidInput) as caught:
            unpack(tmp_path, archive(*entries))
        assert expected in caught.value.message
        return
    unpack(tmp_path, archive(*entries))
    for name, data in expected.items():
        path = tmp_path / "root" / name.replace("%", str(outside)).lstrip("/")
        assert path.read_bytes() == data
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


@pytest.mark.parametrize("sparse_map", [b"999999999\n", b"x\n", b"2\n0\n1\n-5\n9\n", b"1" * 512])
def test_bad_sparse_maps_end(tmp_path: Path, sparse_map: bytes) -> None:
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "big", "GNU.sparse.realsize": "100"}
    with pytest.raises(InvalidInput):
        unpack(tmp_path, archive(E("sparse", data=sparse_map.ljust(512, b"\0"), pax=pax)))


def test_leaves_no_descriptor_open(tmp_path: Path) -> None:
    count: Callable[[], int] = lambda: len(os.listdir("/proc/self/fd"))  # noqa: E731
    before = count()
    unpack(tmp_path, archive(E("a/b/f"), E("a/c/g"), E("a", DIR)))
    for entries in ([E("l", SYM, "x"), E("l/y")], [E("a/b/f"), E("h", LNK, "gone")]):
        with pytest.raises(InvalidInput):
            unpack(tmp_path, archive(*entries))
    assert count() == before
