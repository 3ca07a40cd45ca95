"""What reads an archive is confined: seen from the host, tried from within, with crafted archives. IMG-01, 03, 09, PATH-09.

Each look-up happens in three ways: with openat2, without it, and with a filter that refuses it.
"""

import errno
import functools
import gzip
import hashlib
import lzma
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.linux import files, landlock
from pycontainer.linux.mounts import clone_tree, mount_setattr
from pycontainer.linux.namespaces import CLONE_NEWUSER, unshare, user_namespace
from pycontainer.runtime import confined, importer
from pycontainer.runtime.confined import FILE_CAPABILITIES, FILTER, WRITE_RIGHTS, Confinement, reap, spawn
from pycontainer.runtime.importer import UNPACKER_BASE, Importer, TimeLimits
from pycontainer.security.idranges import COUNT, LAST
from pycontainer.security.seccomp import ALLOW, Policy, Rule
from pycontainer.security.seccomp_compile import program
from pycontainer.store.unpack import Budgets, Unpacker
from tests.support.archives import BREAK_OUTS, DIR, LNK, SYM, E, archive, break_out, picture
from tests.support.images import CHECKOUT
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, process_commands

FILE_CAPABILITY_MASK = "000000008000001b"


@pytest.fixture(params=["openat2", "switched off", "forbidden"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "switched off":
        monkeypatch.setattr(files, "use_openat2", False)
    elif request.param == "forbidden":
        monkeypatch.setattr(importer, "FILTER", without("openat2"))
    return str(request.param)


def without(name: str) -> Policy:
    """Return the filter with one system call less: it fails with EPERM."""
    rules = [Rule(tuple(n for n in r.names if n != name), r.action) if r.action == ALLOW else r for r in FILTER.rules]
    return FILTER._replace(rules=tuple(rules))


def unpack(tmp_path: Path, data: bytes, **options: object) -> tuple[str, int]:
    """Import archive `data` into tmp_path/root."""
    source = tmp_path / "archive"
    source.write_bytes(data)
    return unpack_path(tmp_path, source, **options)


def unpack_path(tmp_path: Path, source: Path, **options: object) -> tuple[str, int]:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    fd = os.open(source, os.O_RDONLY)
    try:
        return Importer(**options).unpack(fd, str(root), None)[:2]  # type: ignore[arg-type]
    finally:
        os.close(fd)


@pytest.mark.usefixtures("way")
def test_nothing_gets_out(tmp_path: Path, outside: Path, subtests_failures: list[str]) -> None:
    """The whole table, compressed every other time; refusals name the entry."""
    for number, case in enumerate(BREAK_OUTS):
        data, expected = break_out(case, outside)
        subprocess.run(["rm", "-rf", str(tmp_path / "root")], check=True)
        try:
            unpack(tmp_path, gzip.compress(data, 1) if number % 2 else data)
        except InvalidInput as error:
            if not (isinstance(expected, str) and expected in error.message):
                subtests_failures.append(f"{case}: {error.message}")
            continue
        if isinstance(expected, str):
            subtests_failures.append(f"{case}: it was taken")
            continue
        for name, content in expected.items():
            path = tmp_path / "root" / name
            if path.is_symlink() or not path.is_file() or path.read_bytes() != content:
                subtests_failures.append(f"{case}: {name} is not what it should be")


@pytest.fixture
def subtests_failures() -> Iterator[list[str]]:
    """What went wrong in the cases of a table, all of it told at once."""
    failures: list[str] = []
    yield failures
    assert failures == []


def test_the_table_is_long_enough() -> None:
    assert len(BREAK_OUTS) >= 40


# -- policy --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_policy_table(tmp_path: Path) -> None:
    """IMG-03: what is on the disk afterwards, seen by the host: ids as inside, nothing special but what files may be."""
    capability = struct.pack("<5I", 0x02000001, 0x400, 0, 0, 0).decode("utf-8", "surrogateescape")
    xattrs = {
        "user.mine": "kept",
        "user.overlay.opaque": "y",
        "trusted.overlay.opaque": "y",
        "trusted.overlay.redirect": "/etc",
        "security.selinux": "system_u:object_r:bin_t:s0",
        "security.ima": "x",
        "system.posix_acl_access": "x",
        "system.posix_acl_default": "x",
    }
    pax = {f"SCHILY.xattr.{name}": value for name, value in xattrs.items()}
    pax |= {"SCHILY.acl.access": "user::rwx,user:1000:rwx,group::r-x,mask::rwx,other::r-x"}
    unpack(
        tmp_path,
        archive(
            E("char", tarfile.CHRTYPE),
            E("block", tarfile.BLKTYPE),
            E("fifo", tarfile.FIFOTYPE),
            E("setuid", mode=0o4755),
            E("all", mode=0o7777, uid=65535, gid=1),
            E("attributes", pax={**pax, "SCHILY.xattr.security.capability": capability}),
            E("dir", DIR, mode=0o7777, uid=12, gid=34, pax=pax),
            E("old", pax={"mtime": "-1.5"}),
            E("link", SYM, "/etc/shadow", uid=7, gid=65535),
        ),
    )
    root = tmp_path / "root"
    found = {}
    for path in sorted(root.iterdir()):
        details = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        found[path.name] = (oct(details.st_mode), details.st_uid, details.st_gid, sorted(names))
    assert found == {
        "setuid": (oct(stat.S_IFREG | 0o4755), 0, 0, []),
        "all": (oct(stat.S_IFREG | 0o7777), 65535, 1, []),
        "attributes": (oct(stat.S_IFREG | 0o644), 0, 0, ["security.capability", "user.mine"]),
        "dir": (oct(stat.S_IFDIR | 0o7777), 12, 34, ["user.mine"]),
        "old": (oct(stat.S_IFREG | 0o644), 0, 0, []),
        "link": (oct(stat.S_IFLNK | 0o777), 7, 65535, []),
    }
    assert os.getxattr(root / "attributes", "security.capability") == struct.pack("<5I", 0x02000001, 0x400, 0, 0, 0)
    assert (root / "old").stat().st_mtime_ns == -1_500_000_000


@pytest.mark.parametrize("uid", [65536, 70_000, 2**32 - 1, 2**32, 2**63])
def test_ids_outside_of_the_map_are_refused(tmp_path: Path, uid: int) -> None:
    with pytest.raises(InvalidInput, match=rf"'x' belongs to {uid}:0"):
        unpack(tmp_path, archive(E("x", pax={"uid": str(uid)})))
    with pytest.raises(InvalidInput, match=rf"'x' belongs to 0:{uid}"):
        unpack(tmp_path, archive(E("x", pax={"gid": str(uid)})))


@pytest.mark.usefixtures("way")
def test_a_directory_is_read_whatever_its_modes_are_and_no_further(tmp_path: Path, outside: Path) -> None:
    """The packer sees the owners as they are, reads all files, and its root is the source."""
    source = tmp_path / "source"
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/secret").write_text("x")
    (source / "out").symlink_to(outside)
    os.chown(source / "deep/secret", 1234, 65535)
    os.chmod(source / "deep/secret", 0)
    os.chmod(source / "deep", 0o500)
    os.setxattr(source / "deep/secret", "user.mine", b"y")
    unpack_path(tmp_path, source)
    assert picture(tmp_path / "root") == picture(source)
    os.chown(source / "deep/secret", 70_000, 0)
    with pytest.raises(InvalidInput, match="'deep/secret' belongs to 70000:0"):
        unpack_path(tmp_path, source)


def test_what_is_mounted_in_a_source_is_not_imported(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "mnt").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "pycontainer-test", str(source / "mnt")], check=True)
    try:
        (source / "mnt/of another").write_text("x")
        unpack_path(tmp_path, source)
    finally:
        subprocess.run(["umount", str(source / "mnt")], check=True)
    assert [str(path.relative_to(tmp_path / "root")) for path in (tmp_path / "root").rglob("*")] == ["mnt"]


# -- budgets -------------------------------------------------------------------------------------------------------


def bomb(data: bytes) -> bytes:
    return archive(E("harmless"), E("bomb", data=data))


@pytest.mark.parametrize("compress", [functools.partial(gzip.compress, compresslevel=9), lzma.compress])
def test_a_bomb_is_refused_before_it_is_made(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    budgets, data = Budgets(grace_bytes=1 << 20), bomb(b"x" * (32 << 20))
    with pytest.raises(InvalidInput, match="'bomb': the archive unpacks to more than 200 times its") as caught:
        unpack(tmp_path, compress(data), budgets=budgets)
    assert "import it uncompressed" in caught.value.hint
    assert (tmp_path / "root/bomb").stat().st_blocks * 512 < (1 << 20) + 210 * len(compress(data))
    unpack(tmp_path, data, budgets=budgets)  # not packed at all
    assert (tmp_path / "root/bomb").stat().st_size == 32 << 20
    unpack(tmp_path, compress(data))  # within the grace of the default
    unpack(tmp_path, compress(data), budgets=budgets._replace(max_ratio=None))


@pytest.mark.parametrize("compress", [functools.partial(gzip.compress, compresslevel=9), lzma.compress])
def test_zeros_are_no_bomb(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    unpack(tmp_path, compress(bomb(bytes(32 << 20))), budgets=Budgets(grace_bytes=1 << 20))
    details = (tmp_path / "root/bomb").stat()
    assert (details.st_size, details.st_blocks) == (32 << 20, 0)  # they take no space


def test_a_bomb_of_headers_is_refused(tmp_path: Path) -> None:
    data = archive(*(E(f"d{number}", DIR, pax={"comment": "x" * 100_000}) for number in range(40)))
    with pytest.raises(InvalidInput, match=r"'d\d+': the archive unpacks to more than 200 times its"):
        unpack(tmp_path, gzip.compress(data), budgets=Budgets(grace_bytes=1 << 20))


def test_bytes_of_extended_attributes_are_counted(tmp_path: Path) -> None:
    entries = [E(f"f{number}", pax={"SCHILY.xattr.user.x": "y" * 500}) for number in range(3)]
    with pytest.raises(InvalidInput, match="'f2': the archive holds more than 1100 bytes of extended attributes"):
        unpack(tmp_path, archive(*entries), budgets=Budgets(max_xattr_bytes=1100))
    with pytest.raises(InvalidInput, match=r"'f': no room for 500000 bytes of extended attribute 'user.x'"):
        unpack(tmp_path, archive(E("f", pax={"SCHILY.xattr.user.x": "y" * 500_000})))


def test_an_import_that_does_not_move_ends(tmp_path: Path) -> None:
    with stopped_children(tmp_path, time_limits=TimeLimits(stall_seconds=1)) as (_, failure):
        poll_until(lambda: failure, timeout_seconds=20, what="the import gave up")
        assert type(failure[0]) is InvalidInput and "did not move for 1 seconds" in str(failure[0])


def test_an_import_may_not_take_for_ever(tmp_path: Path) -> None:
    with stopped_children(tmp_path, time_limits=TimeLimits(total_seconds=1)) as (_, failure):
        poll_until(lambda: failure, timeout_seconds=20, what="the import gave up")
        assert type(failure[0]) is InvalidInput and "took longer than 1 seconds" in str(failure[0])


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "MAX_MEMORY_BYTES", 160 << 20)
    window = lzma.compress(archive(E("x")), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}])
    with pytest.raises(InvalidInput, match="needs more memory than an import may use"):
        unpack(tmp_path, window)


# -- seen from the host --------------------------------------------------------------------------------------------


class _Stopped:
    """The confined children of an import, halted in the middle of their work."""

    def __init__(self, pids: dict[str, int]) -> None:
        self.pids = pids

    def status(self, name: str) -> dict[str, str]:
        lines = Path(f"/proc/{self.pids[name]}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def endless(tmp_path: Path, form: str) -> Path:
    """Return a source of 32 GiB that takes no space: long enough to be looked at, and it is never read to its end."""
    size = 32 << 30
    if form == "directory":
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        with open(source / "big", "wb") as file:
            file.truncate(size)
        return source
    info = tarfile.TarInfo("big")
    info.size = size
    source = tmp_path / "big.tar.gz"
    source.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + gzip.compress(bytes(64 << 20), 1) * 500)
    return source


@pytest.fixture
def stopped(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[_Stopped, list[BaseException]]]:
    with stopped_children(tmp_path, form=request.param) as found:
        yield found


class stopped_children:
    """Import an endless source in a thread and stop its children; at the end they are killed, and the thread is joined."""

    def __init__(self, tmp_path: Path, *, form: str = "directory", time_limits: TimeLimits | None = None) -> None:
        self._source, self._target = endless(tmp_path, form), tmp_path
        self._importer_options = {"budgets": Budgets(max_ratio=1 << 20), "time_limits": time_limits}
        self._failure: list[BaseException] = []
        self._names = {"pc-pack", "pc-unpack"} if form == "directory" else {"pc-read", "pc-unpack"}
        self._pids: dict[str, int] = {}

    def __enter__(self) -> tuple[_Stopped, list[BaseException]]:
        def work() -> None:
            try:
                unpack_path(self._target, self._source, **self._importer_options)
            except BaseException as error:
                self._failure.append(error)

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        poll_until(lambda: self._failure or self._are_confined(), timeout_seconds=20, what="the children are at work")
        for pid in self._pids.values():
            os.kill(pid, signal.SIGSTOP)
        return _Stopped(self._pids), self._failure

    def _are_confined(self) -> bool:
        found = {}
        for entry in Path("/proc/self/task").glob("*/children"):
            for pid in entry.read_text().split():
                try:
                    text = Path(f"/proc/{pid}/status").read_text()
                except (FileNotFoundError, ProcessLookupError):  # one that came before has just ended
                    continue
                name = text.split("\n", 1)[0].removeprefix("Name:\t")
                if name in self._names and "\nSeccomp:\t2\n" in text:
                    found[name] = int(pid)
        self._pids = found
        return set(found) == self._names and any((self._target / "root").iterdir())

    def __exit__(self, *_exc: object) -> None:
        for pid in self._pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._thread.join()


@pytest.mark.vm
@pytest.mark.parametrize("stopped", ["directory", "gzip"], indirect=True)
def test_the_children_seen_from_the_host(stopped: tuple[_Stopped, list[BaseException]], tmp_path: Path) -> None:
    """IMG-09: ids, namespaces, network, filter, open files, limits."""
    children, failure = stopped
    assert not failure
    for name, pid in children.pids.items():
        status = children.status(name)
        uid = 0 if name == "pc-pack" else UNPACKER_BASE
        assert status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4
        capabilities = {"pc-pack": "0000000000000004", "pc-read": "0" * 16, "pc-unpack": FILE_CAPABILITY_MASK}[name]
        assert {key: status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
            "CapInh": "0" * 16,
            "CapPrm": capabilities,
            "CapEff": capabilities,
            "CapBnd": "0" * 16,
            "CapAmb": "0" * 16,
        }
        assert (status["Groups"], status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("", "1", "2", "1")
        assert status["NSpid"].split()[1:] == ["1"]
        for namespace in ("user", "mnt", "net", "ipc", "uts", "cgroup", "pid"):
            assert os.readlink(f"/proc/{pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}"), namespace
        links = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
        assert [line.partition(":")[0].strip() for line in links] == ["lo"]
        mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        assert len(mounts) == 1 and mounts[0][4] == "/"
        options = set(mounts[0][5].split(","))
        assert {"nosuid", "nodev", "noexec"} <= options and ("ro" in options) == (name != "pc-unpack")
        expected = {
            "pc-pack": ["/dev/null"] * 3 + ["/", "/", "/big", "pipe", "pipe", "pipe"],
            "pc-read": ["/dev/null"] * 3 + ["big.tar.gz", "pipe", "pipe", "pipe"],
            "pc-unpack": ["/dev/null"] * 3 + ["/", "/", "/big", "pipe", "pipe", "pipe"],
        }[name]
        targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        shown = [t.partition(":")[0] if t.startswith("pipe:") else t.removeprefix(str(tmp_path)) for t in targets]
        assert sorted(t.lstrip("/") if t.endswith(".gz") else t for t in shown) == sorted(expected)
        limits = {
            line[:26].strip(): line[26:46].strip() for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        }
        assert limits["Max address space"] == str(confined.MAX_MEMORY_BYTES)
        assert (limits["Max core file size"], limits["Max processes"], limits["Max open files"]) == ("0", "0", "1024")
        assert limits["Max file size"] == str(Budgets().max_bytes)
        assert limits["Max cpu time"] == str(TimeLimits().total_seconds)


def test_the_unpackers_ids_are_no_containers() -> None:
    assert LAST + COUNT <= UNPACKER_BASE and UNPACKER_BASE + COUNT < 2**31


# -- tried from within ---------------------------------------------------------------------------------------------


def fails(call: Callable[[], object], *codes: int) -> str:
    """Say how a call that must fail did not fail; empty if all is well."""
    try:
        call()
    except OSError as error:
        return "" if not codes or error.errno in codes else f"{error!r}"
    except ValueError:  # of setrlimit
        return ""
    return "it succeeded"


ATTEMPTS: dict[str, Callable[[], object]] = {
    "a device": lambda: os.mknod("/device", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "a fifo": lambda: os.mkfifo("/fifo"),
    "an open file by handle or by path": lambda: os.open("/proc/self/exe", os.O_RDONLY),
    "a file of the host": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "up and out": lambda: os.open("../../../../../../etc/passwd", os.O_RDONLY),
    "a chroot": lambda: os.chroot("/"),
    "a rename": lambda: os.rename("/file", "/other"),
    "other limits": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
    "a time of the host": lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
    "a signal to everybody": lambda: os.kill(-1, 9),
    "a pipe": os.pipe,
    "shared memory": lambda: os.memfd_create("x"),
    "an attribute of the host": lambda: os.setxattr("/file", "trusted.overlay.opaque", b"y"),
}
FATAL: dict[str, Callable[[], object]] = {
    "a socket": lambda: socket.socket(socket.AF_UNIX),
    "another program": lambda: os.execv("/bin/true", ["true"]),
    "a process": os.fork,
    "a user namespace": lambda: unshare(CLONE_NEWUSER),
    "a mount": lambda: clone_tree("/"),
    "another uid": lambda: os.setresuid(5, 5, 5),
}


def taken_over(tmp_path: Path, attempt: Callable[[], str]) -> tuple[int, str]:
    """Make `attempt` in a child confined as the unpacker is; return its exit code and what it says."""
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    (root / "file").write_text("x")
    read_fd, write_fd = os.pipe()
    with user_namespace(UNPACKER_BASE, COUNT) as userns_fd:
        tree_fd = clone_tree(str(root))
        mount_setattr(tree_fd, userns_fd=userns_fd)
        confinement = Confinement(
            "pc-test", program(FILTER), userns_fd, tree_fd, FILE_CAPABILITIES, WRITE_RIGHTS, 1 << 30, 60
        )
        pid = spawn(
            lambda: (os.write(write_fd, attempt().encode()), None)[1],
            lambda error: (os.write(write_fd, f"not confined: {error}".encode()), None)[1],
            confinement,
            {write_fd},
        )
        os.close(tree_fd)
    os.close(write_fd)
    with open(read_fd, "rb") as said:
        text = said.read().decode()
    return os.waitstatus_to_exitcode(reap(pid)), text


@pytest.mark.vm
@pytest.mark.parametrize("name", list(ATTEMPTS))
def test_who_takes_the_unpacker_over_cannot_have(tmp_path: Path, name: str) -> None:
    """IMG-09: each of these works for us here."""
    assert taken_over(tmp_path, lambda: fails(ATTEMPTS[name])) == (0, "")
    assert os.listdir(tmp_path / "root") == ["file"]


@pytest.mark.parametrize("name", list(FATAL))
def test_who_takes_the_unpacker_over_ends_with(tmp_path: Path, name: str) -> None:
    """IMG-09: a call that only an exploit makes ends the process."""
    assert taken_over(tmp_path, lambda: fails(FATAL[name])) == (-signal.SIGSYS, "")


@pytest.mark.skipif(landlock.abi() < 2, reason="this kernel has no Landlock with REFER")
def test_landlock_holds_without_the_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wall stands alone: with mknod and pipes allowed, Landlock still makes no fifo."""
    everything = Policy(ALLOW, ())
    monkeypatch.setattr(f"{__name__}.FILTER", everything)
    assert taken_over(tmp_path, lambda: fails(lambda: os.mkfifo("/fifo"), errno.EACCES)) == (0, "")
    assert taken_over(tmp_path, lambda: fails(lambda: os.execv("/file", ["x"]), errno.EACCES)) == (0, "")


def test_a_child_that_is_killed_by_the_filter_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unpacker, "unpack", lambda _self, _stream: socket.socket())
    with pytest.raises(InvalidInput, match="pc-unpack was ended: it made a system call that it never makes"):
        unpack(tmp_path, archive(E("f")))


def test_a_layer_cannot_be_taken_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IMG-05: whatever becomes of who reads an archive, the digest is that of the bytes that it was given."""

    def take_over(_self: object, stream: object) -> None:
        os.write(os.open("planted", os.O_WRONLY | os.O_CREAT), b"x")
        while stream.read(1 << 20):  # type: ignore[attr-defined]
            pass

    monkeypatch.setattr(Unpacker, "unpack", take_over)
    data = archive(E("f"))
    assert unpack(tmp_path, data)[0] == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "root/planted").exists()


@pytest.mark.parametrize(
    "said",
    [
        b'{"error": {"class": "StartFailed", "message": 5, "hint": [], "errno": {}}}\n',
        b'{"errno": 28, "what": {}, "path": []}\n',
        b'{"size_bytes": "x"}\n',
        b'{"size_bytes": -1}\n',
        b'{"paths": ["x"], "kind": "others"}\n',
        b'{"paths": [1], "kind": "opaque"}\n',
        b'{"member": ["x", 0]}\n',
        b"[" * 30_000 + b"\n",
        b"\xff\n",
        b"x" * 400_000,
        b'{"bytes": -1}\n{"bytes": "x"}\n',
    ],
    ids=lambda said: said[:20].decode(errors="replace"),
)
def test_whatever_a_child_says_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    def work(_work: object, message_fd: int) -> None:
        os.write(message_fd, said)

    monkeypatch.setattr(importer, "_work", work)
    with pytest.raises((PycontainerError, OSError)):
        unpack(tmp_path, archive(E("f")))


def test_who_holds_a_user_namespace_ends_with_who_asked_for_it() -> None:
    """FLT-01: it has the locks of an import; were it left when the import is killed, the next one would wait for ever."""
    script = """import os, signal
from pycontainer.linux import namespaces
namespaces.write_id_maps = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with namespaces.user_namespace(100000, 65536):
    pass
"""
    killed = subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE)
    out, _ = killed.communicate(timeout=20 * SLOWNESS)  # to the end of the file: nobody has it open any more
    assert out == b""
    assert killed.returncode == -signal.SIGKILL


def test_links_within_are_kept(tmp_path: Path) -> None:
    unpack(tmp_path, archive(E("a/f"), E("b/h", LNK, "a/f")))
    assert (tmp_path / "root/a/f").stat().st_ino == (tmp_path / "root/b/h").stat().st_ino


def test_a_killed_import_gives_its_space_back(own_world: World, tmp_path: Path) -> None:
    """IMG-08: the worker gets no chance to clean up, its children end with it, nothing is left of the image."""
    staging = Path(own_world.paths.images_dir) / "staging"
    with own_world.popen("image", "import", str(endless(tmp_path, "directory")), "big") as command:
        poll_until(lambda: any(staging.glob("*/layers/*/fs/big")), timeout_seconds=20, what="the import is at work")
        (worker,) = [
            pid
            for pid, line in process_commands()
            if "import_worker" in line
            and f"PPid:\t{own_world.supervisor_pid()}\n" in Path(f"/proc/{pid}/status").read_text()
        ]
        children = [int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()]
        assert len(children) == 2
        os.kill(worker, signal.SIGKILL)
        _, errors = command.communicate(timeout=60)
    assert command.returncode == 1 and b"ended without a result (exit -9)" in errors
    poll_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), what="the children end")
    assert list(staging.iterdir()) == []
    assert "big" not in own_world.ok("image", "list")
