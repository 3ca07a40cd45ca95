"""The builders of rootfs-tools: what they make, what they refuse, and that they leave nothing else behind."""

import hashlib
import os
import signal
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import CHECKOUT
from tests.support.poll import SLOWNESS, poll_until

TOOLS = f"{CHECKOUT}/rootfs-tools"
BUILDERS = ("busybox", "debian", "nginx")


def build(tool: str, *arguments: object, timeout_seconds: float = 60, **environment: str) -> tuple[int, str]:
    """Run a builder and return its exit code and its standard error; standard output must stay empty."""
    done = subprocess.run(
        [f"{TOOLS}/{tool}", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=timeout_seconds * SLOWNESS,
        env={**os.environ, **environment},
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_busybox_directory(tmp_path: Path) -> None:
    root = tmp_path / "root"
    exit_code, text = build("busybox", root)
    assert (exit_code, text.split(" (")[0]) == (0, f"busybox: made {root}")
    assert names(tmp_path) == ["root"]
    assert names(root) == ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var", "www"]
    assert names(root / "dev") == []
    assert os.readlink(root / "bin/sh") == "busybox"
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert {path.lstat().st_mtime for path in (root, *root.rglob("*"))} == {0.0}
    done = subprocess.run(
        ["chroot", root, "/usr/bin/cat", "/www/index.html"], capture_output=True, text=True, check=True
    )
    assert "<h1>Hello from pycontainer</h1>" in done.stdout


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "tar.zst"])
def test_busybox_archive(tmp_path: Path, suffix: str) -> None:
    """Built twice, the second time over the first result: equal bytes, and a checksum that sha256sum accepts."""
    out = tmp_path / f"box.{suffix}"
    digests = []
    for _ in range(2):
        assert build("busybox", "-o", out)[0] == 0
        digests.append(hashlib.sha256(out.read_bytes()).hexdigest())
        assert names(tmp_path) == [f"box.{suffix}", f"box.{suffix}.sha256"]
        assert (tmp_path / f"box.{suffix}.sha256").read_text() == f"{digests[-1]}  box.{suffix}\n"
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", f"{out}.sha256"], cwd=tmp_path, check=True)
    assert digests[0] == digests[1]
    plain = subprocess.run(
        ["tar", "--extract", "--auto-compress", "--file", out, "--to-stdout", "./www/index.html"],
        capture_output=True,
        check=True,
    ).stdout
    assert b"<h1>Hello from pycontainer</h1>" in plain


def test_busybox_archive_members(tmp_path: Path) -> None:
    assert build("busybox", tmp_path / "box.tar", SOURCE_DATE_EPOCH="1234")[0] == 0
    with tarfile.open(tmp_path / "box.tar") as archive:
        members = archive.getmembers()
    assert members[0].name == "."
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 1234)}
    assert {member.type for member in members} == {tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE}


def test_existing_empty_directory_is_filled(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    assert build("busybox", f"{root}/")[0] == 0
    assert (root / "bin/busybox").is_file()
    assert names(tmp_path) == ["root"]


@pytest.mark.parametrize("tool", BUILDERS)
def test_refuses_what_is_there(tmp_path: Path, tool: str) -> None:
    prefix = tool if tool == "busybox" else "debian"
    full, file, directory = tmp_path / "full", tmp_path / "file", tmp_path / "directory.tar"
    full.mkdir()
    (full / "mine").touch()
    file.write_text("mine")
    directory.mkdir()
    assert build(tool, full) == (1, f"{prefix}: directory '{full}' is not empty\nhint: name a new directory\n")
    assert build(tool, file) == (
        1,
        f"{prefix}: '{file}' is a file\nhint: name a new directory, or a file *.tar, *.tar.gz, *.tar.xz or *.tar.zst\n",
    )
    assert build(tool, directory) == (
        1,
        f"{prefix}: '{directory}' is a directory\nhint: name a file, or a directory that does not end in .tar*\n",
    )
    assert build(tool, tmp_path / "none/out") == (
        1,
        f"{prefix}: there is no directory '{tmp_path}/none'\nhint: make it: mkdir -p '{tmp_path}/none'\n",
    )
    assert names(tmp_path) == ["directory.tar", "file", "full"]
    assert (names(full), names(directory), file.read_text()) == (["mine"], [], "mine")


@pytest.mark.parametrize("tool", BUILDERS)
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "say where to: -o OUT"),
        (["--sweet", "bookworm"], "unknown option '--sweet'"),
        (["-o"], "option '-o' needs a value"),
        (["one", "two"], "one OUT only, not 'one' and 'two'"),
        (["x.tar.bz2"], "unknown kind of archive 'x.tar.bz2', not *.tar, *.tar.gz, *.tar.xz or *.tar.zst"),
    ],
)
def test_wrong_command_line(tool: str, arguments: list[str], problem: str) -> None:
    name = tool if tool == "busybox" else "debian"
    assert build(tool, *arguments) == (2, f"{name}: {problem}\nhint: see {TOOLS}/{name} --help\n")


def test_debian_missing_value() -> None:
    for option in ("--suite", "--variant", "--include", "--mirror"):
        text = f"debian: option '{option}' needs a value\nhint: see {TOOLS}/debian --help\n"
        assert build("debian", "out", option) == (2, text)


@pytest.mark.parametrize("tool", BUILDERS)
def test_help(tool: str) -> None:
    done = subprocess.run([f"{TOOLS}/{tool}", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {tool} ")
    assert "\nExample:\n" in done.stdout


@pytest.mark.parametrize(("tool", "slow"), [("busybox", "zstd"), ("debian", "mmdebstrap")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_leaves_nothing(tmp_path: Path, tool: str, slow: str, number: signal.Signals) -> None:
    """The slow part, which heeds no signal, and its child in another session end with the builder."""
    bin_dir, work = tmp_path / "bin", tmp_path / "work"
    bin_dir.mkdir()
    work.mkdir()
    other = "setsid sleep 600 &" if tool == "debian" else ""  # the debian builder has a pid namespace to end it by
    program(bin_dir / slow, f"trap '' HUP INT TERM\n{other}\ntouch {tmp_path}/at-work\nsleep 600")
    process = subprocess.Popen(
        [f"{TOOLS}/{tool}", work / "out.tar.zst"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "TEST_MARK": str(tmp_path)},
    )
    try:
        poll_until((tmp_path / "at-work").exists, timeout_seconds=20, what="the slow part runs")
        process.send_signal(number)
        assert process.wait(timeout=10 * SLOWNESS) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert names(work) == []
    poll_until(lambda: marked_processes(str(tmp_path)) == [], timeout_seconds=5, what="all processes are gone")


def marked_processes(mark: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if f"TEST_MARK={mark}\0".encode() in file.read():
                    found.append(pid)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    """mmdebstrap fails after it made half a tree; the message names it and the target."""
    bin_dir, work = tmp_path / "bin", tmp_path / "work"
    bin_dir.mkdir()
    work.mkdir()
    program(bin_dir / "mmdebstrap", 'mkdir -p "$TMPDIR/root/etc"; echo "E: no such package" >&2; exit 25')
    exit_code, text = build("nginx", "--suite=trixie", work / "out", PATH=f"{bin_dir}:{os.environ['PATH']}")
    assert (exit_code, text) == (
        1,
        "debian: making Debian trixie (minbase with nginx-light) with mmdebstrap\nE: no such package\n"
        f"debian: mmdebstrap failed (see above); nothing was written to '{work}/out'\n"
        f"hint: other packages or another mirror? see {TOOLS}/debian --help\n",
    )
    assert names(work) == []


@pytest.mark.parametrize("form", ["one-line", "deb822"])
def test_debian_takes_the_hosts_own_sources(tmp_path: Path, form: str) -> None:
    """Debian's for the suite, in both forms; not disabled ones, passwords, files, other suites; and the proxy settings."""
    apt, bin_dir = tmp_path / "apt", tmp_path / "bin"
    (apt / "sources.list.d").mkdir(parents=True)
    (apt / "lists/partial").mkdir(parents=True)
    bin_dir.mkdir()
    sources = [
        ("http://m.invalid/debian", "bookworm", "main contrib"),
        ("http://m.invalid/debian", "bookworm-updates", "main"),
        ("https://s.invalid/debian-security", "bookworm-security", "main"),
        ("http://m.invalid/debian", "trixie", "main"),
        ("http://me:secret@m.invalid/debian", "bookworm", "main"),
        ("file:/srv/debian", "bookworm", "main"),
    ]
    if form == "one-line":
        lines = [f"deb {url} {suite} {components}" for url, suite, components in sources]
        lines += ["# deb http://off.invalid/debian bookworm main", "deb-src http://m.invalid/debian bookworm main"]
        (apt / "sources.list").write_text("\n".join(lines) + "\n")
    else:
        paragraphs = [
            f"Types: deb deb-src\nURIs: {url}\nSuites: {suite}\nComponents: {components}\n"
            for url, suite, components in sources
        ]
        paragraphs.append(
            "Enabled: no\nTypes: deb\nURIs: http://off.invalid/debian\nSuites: bookworm\nComponents: main\n"
        )
        (apt / "sources.list.d/debian.sources").write_text("\n".join(paragraphs))
    (apt / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{apt}/sources.list";\nDir::Etc::sourceparts "{apt}/sources.list.d";\n'
        f'Dir::State::lists "{apt}/lists";\nAcquire::http::Proxy "http://proxy.invalid:3142";\n'
    )
    program(
        bin_dir / "mmdebstrap",
        f'cp "$TMPDIR/host.list" "$TMPDIR/host.conf" {tmp_path}\nprintf "%s\\n" "$@" >{tmp_path}/arguments\nexit 1',
    )
    exit_code, _ = build(
        "debian",
        "--suite",
        "bookworm",
        "--include",
        "a",
        "--include",
        "b,c",
        tmp_path / "out",
        PATH=f"{bin_dir}:{os.environ['PATH']}",
        APT_CONFIG=str(apt / "apt.conf"),
    )
    assert exit_code == 1
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    key = f"[signed-by={keyring}] " if os.path.exists(keyring) else ""
    assert sorted((tmp_path / "host.list").read_text().splitlines()) == sorted(
        [
            f"deb {key}http://m.invalid/debian/ bookworm main",
            f"deb {key}http://m.invalid/debian/ bookworm contrib",
            f"deb {key}http://m.invalid/debian/ bookworm-updates main",
            f"deb {key}https://s.invalid/debian-security/ bookworm-security main",
        ]
    )
    assert 'Acquire::http::Proxy "http://proxy.invalid:3142";\n' in (tmp_path / "host.conf").read_text()
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert "--include=a,b,c" in arguments
    assert [os.path.basename(word) for word in arguments[-3:]] == ["bookworm", "root", "host.list"]


@pytest.fixture(scope="module")
def debian_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tree that rootfs-tools/nginx makes, built with an apt setting of this host that must not stay in it."""
    directory = tmp_path_factory.mktemp("debian-nginx")
    configuration = directory / "apt.conf"
    configuration.write_text('Acquire::http::User-Agent "of-this-host-only";\n')
    try:
        exit_code, text = build("nginx", directory / "root", timeout_seconds=600, APT_CONFIG=str(configuration))
        assert exit_code == 0, text
        assert names(directory) == ["apt.conf", "root"]
        yield directory / "root"
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", directory / "root"], check=True)


@pytest.mark.requires("debian_mirror")
def test_debian_nginx(debian_nginx: Path) -> None:
    root = debian_nginx
    assert os.access(root / "usr/sbin/nginx", os.X_OK)
    done = subprocess.run(["chroot", root, "/usr/sbin/nginx", "-v"], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("nginx version: nginx/")
    everything = [(path, path.lstat()) for path in root.rglob("*")]
    kinds = (stat.S_ISDIR, stat.S_ISREG, stat.S_ISLNK)
    assert [path for path, status in everything if not any(is_kind(status.st_mode) for is_kind in kinds)] == []
    assert names(root / "dev") == names(root / "tmp") == []
    assert not [path for path, status in everything if (status.st_dev != root.stat().st_dev)]

    # Nothing of apt's work, and nothing of this host's.
    left = [path for path in (*root.glob("var/lib/apt/lists/**/*"), *root.glob("var/cache/apt/**/*")) if path.is_file()]
    assert sum(path.stat().st_size for path in left) == 0, left
    assert names(root / "etc/apt/apt.conf.d") == ["01autoremove", "70debconf"]
    assert [path for path in ("etc/resolv.conf", "etc/hostname", "etc/apt/auth.conf") if (root / path).exists()] == []
    assert names(root / "etc/apt/auth.conf.d") == []
    words = b"of-this-host-only", b"/.rootfs."
    texts = [path for path, status in everything if stat.S_ISREG(status.st_mode) and path.is_relative_to(root / "etc")]
    assert [path for path in texts if any(word in path.read_bytes() for word in words)] == []
    lines = [line for path in (root / "etc/apt/sources.list.d").iterdir() for line in path.read_text().splitlines()]
    assert lines
    for line in lines:
        assert not line.startswith("deb ") or (root / "usr/share/keyrings/debian-archive-keyring.gpg").is_file(), line


def test_shellcheck() -> None:
    scripts = ["rootfs-tools/*", "examples/*.sh", "tests/run.sh", ".ci/run"]
    done = subprocess.run(
        ["sh", "-c", f"exec shellcheck -x -P SCRIPTDIR:. -- {' '.join(scripts)}"],
        cwd=os.path.dirname(TOOLS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
