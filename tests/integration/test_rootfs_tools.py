"""The builders of rootfs-tools: what they make, what they refuse, and that they leave nothing else behind."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import DEBIAN_EPOCH, DEBIAN_EXTRAS
from tests.support.images import CHECKOUT
from tests.support.poll import SLOWNESS, poll_until

TOOLS = f"{CHECKOUT}/rootfs-tools"
RECIPES = ("nginx", "apache-php", "postgres", "systemd")  # of Debian packages
BUILDERS = ("busybox", "static-site", "debian", "ubuntu", *RECIPES, "alpine", "from-oci", "from-container")


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


@pytest.fixture
def needed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """What each builder must be told besides OUT, all of it well."""
    directory = tmp_path_factory.mktemp("needed")
    (directory / "usr").mkdir()
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    options = {
        "static-site": [str(directory)],
        "alpine": ["--from", f"{directory}/tarball", "--sha256", "0" * 64],
        "from-oci": [str(directory)],
        "from-container": [str(directory)],
        "ubuntu": ["--mirror", "deb [signed-by=/key] http://m.invalid/ubuntu noble main"],
    }
    return lambda tool: options.get(tool, [])


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_busybox_directory(tmp_path: Path) -> None:
    root = tmp_path / "root"
    exit_code, text = build("busybox", root)
    assert (exit_code, text.split(" (")[0]) == (0, f"busybox: made {root}")
    assert names(tmp_path) == ["root", "root.json"]
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
        assert names(tmp_path) == [f"box.{suffix}", f"box.{suffix}.json", f"box.{suffix}.sha256"]
        assert json.loads((tmp_path / f"box.{suffix}.json").read_text()) == {"cmd": ["sh"]}
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
    assert names(tmp_path) == ["root", "root.json"]


@pytest.mark.parametrize("tool", BUILDERS)
def test_refuses_what_is_there(tmp_path: Path, tool: str, needed: Callable[[str], list[str]]) -> None:
    full, file, directory = tmp_path / "full", tmp_path / "file", tmp_path / "directory.tar"
    full.mkdir()
    (full / "mine").touch()
    file.write_text("mine")
    directory.mkdir()
    more = needed(tool)
    assert build(tool, *more, "-o", full) == (
        1,
        f"{tool}: directory '{full}' is not empty\nhint: name a new directory\n",
    )
    assert build(tool, *more, "-o", file) == (
        1,
        f"{tool}: '{file}' is a file\nhint: name a new directory, or a file *.tar, *.tar.gz, *.tar.xz or *.tar.zst\n",
    )
    assert build(tool, *more, "-o", directory) == (
        1,
        f"{tool}: '{directory}' is a directory\nhint: name a file, or a directory that does not end in .tar*\n",
    )
    assert build(tool, *more, "-o", tmp_path / "none/out") == (
        1,
        f"{tool}: there is no directory '{tmp_path}/none'\nhint: make it: mkdir -p '{tmp_path}/none'\n",
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
        (["-o", "x.tar.bz2"], "unknown kind of archive 'x.tar.bz2', not *.tar, *.tar.gz, *.tar.xz or *.tar.zst"),
    ],
)
def test_wrong_command_line(tool: str, arguments: list[str], problem: str, needed: Callable[[str], list[str]]) -> None:
    assert build(tool, *needed(tool), *arguments) == (2, f"{tool}: {problem}\nhint: see {TOOLS}/{tool} --help\n")


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("busybox", ["one", "two"], "one OUT only, not 'one' and 'two'"),
        ("nginx", ["one", "two"], "one OUT only, not 'one' and 'two'"),
        ("static-site", ["-o", "x"], "say what to serve: DIRECTORY"),
        ("static-site", ["one", "two"], "one DIRECTORY only, not 'one' and 'two'"),
        ("from-oci", ["-o", "x"], "say what from: SOURCE"),
        ("from-container", ["-o", "x"], "say what from: SOURCE"),
        ("from-container", ["/x", "-o", "x", "--id-offset", "a"], "'a' for --id-offset is not a number"),
        ("alpine", ["-o", "x"], "say what from: --from FILE, or --mirror URL --release VERSION"),
        ("alpine", ["-o", "x", "--from", "y"], "say what it must be: --sha256 HEX"),
        ("alpine", ["-o", "x", "--from", "y", "--sha256", "12"], "'12' is not a SHA-256 checksum"),
        ("alpine", ["--mirror", "http://m.invalid"], "say which release of the mirror: --release VERSION"),
        ("alpine", ["--mirror", "u", "--release", "../3"], "'../3' is not a release, such as 3.20.3"),
        ("debian", ["--suite variant", "x"], "unknown option '--suite variant'"),
    ],
)
def test_wrong_command_line_of_one(tool: str, arguments: list[str], problem: str) -> None:
    assert build(tool, *arguments) == (2, f"{tool}: {problem}\nhint: see {TOOLS}/{tool} --help\n")


@pytest.mark.parametrize("tool", ["debian", "ubuntu", *RECIPES])
def test_missing_value(tool: str) -> None:
    for option in ("--suite", "--variant", "--include", "--mirror", "--arch"):
        text = f"{tool}: option '{option}' needs a value\nhint: see {TOOLS}/{tool} --help\n"
        assert build(tool, "out", option) == (2, text)


@pytest.mark.parametrize("tool", BUILDERS)
def test_help(tool: str) -> None:
    done = subprocess.run([f"{TOOLS}/{tool}", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {tool} ")
    assert "\nExample:\n" in done.stdout
    assert "\n    pycontainer image import --config " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 126 + len(TOOLS)


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
        "nginx: making Debian trixie (minbase with nginx-light) with mmdebstrap\nE: no such package\n"
        f"nginx: mmdebstrap failed (see above); nothing was written to '{work}/out'\n"
        f"hint: other packages or another mirror? see {TOOLS}/nginx --help\n",
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
        "--arch",
        "arm64",
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
    assert {"--include=a,b,c", "--architectures=arm64", "--variant=minbase"} <= {*arguments}
    assert [os.path.basename(word) for word in arguments[-3:]] == ["bookworm", "root", "host.list"]


def test_ubuntu_takes_its_own(tmp_path: Path) -> None:
    """Suite, packages and mirror as told, and not this host's sources, which are Debian's."""
    bin_dir, work = tmp_path / "bin", tmp_path / "work"
    bin_dir.mkdir()
    work.mkdir()
    program(
        bin_dir / "mmdebstrap", f'printf "%s\\n" "$@" >{tmp_path}/arguments\nls "$TMPDIR" >{tmp_path}/there\nexit 1'
    )
    line = "deb [signed-by=/key.gpg] http://m.invalid/ubuntu jammy main"
    path = f"{bin_dir}:{os.environ['PATH']}"
    exit_code, text = build("ubuntu", "--suite", "jammy", "--include=a", "--mirror", line, work / "out", PATH=path)
    assert (exit_code, text.splitlines()[0]) == (1, "ubuntu: making Ubuntu jammy (minbase with a) with mmdebstrap")
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert (arguments[-3], arguments[-1]) == ("jammy", line)
    assert "--include=a" in arguments
    assert "host.list" not in (tmp_path / "there").read_text().split()
    assert names(work) == []


@pytest.mark.skipif(
    os.path.exists("/usr/share/keyrings/ubuntu-archive-keyring.gpg"), reason="Ubuntu's keys are installed"
)
def test_ubuntu_without_its_keys(tmp_path: Path) -> None:
    """Before anything is downloaded."""
    exit_code, text = build("ubuntu", tmp_path / "out")
    assert (exit_code, text.splitlines()) == (
        1,
        [
            "ubuntu: the keys of Ubuntu's archive are missing ('/usr/share/keyrings/ubuntu-archive-keyring.gpg')",
            "hint: install them: apt-get install --yes ubuntu-archive-keyring, or name them: "
            "--mirror 'deb [signed-by=KEYRING] URL noble main'",
        ],
    )


def test_ubuntu_without_a_mirror(tmp_path: Path) -> None:
    """The real mmdebstrap: nothing listens there. One line of ours, after apt's own."""
    line = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://127.0.0.1:9/ubuntu noble main"
    exit_code, text = build("ubuntu", "--mirror", line, tmp_path / "out", no_proxy="127.0.0.1")
    assert exit_code == 1
    assert "Connection refused" in text
    assert text.splitlines()[-2] == (f"ubuntu: mmdebstrap failed (see above); nothing was written to '{tmp_path}/out'")
    assert names(tmp_path) == []


@pytest.mark.requires("debian_mirror")
def test_debian_nginx_twice(debian_nginx: Path, tmp_path: Path) -> None:
    """Bit for bit: the tree packed in the order of names, as the archive is that another run of the builder makes."""
    out = tmp_path / "nginx.tar"
    environment = {"SOURCE_DATE_EPOCH": DEBIAN_EPOCH}
    exit_code, text = build("nginx", "--include", DEBIAN_EXTRAS, "-o", out, timeout_seconds=600, **environment)
    assert exit_code == 0, text
    try:
        pack = "tar --create --sort=name --numeric-owner --xattrs --xattrs-include=security.capability --format=pax"
        pack += " --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime ."
        packed = subprocess.run(pack.split(), cwd=debian_nginx, capture_output=True, check=True).stdout
        digest = hashlib.sha256(packed).hexdigest()
        assert out.with_name("nginx.tar.sha256").read_text() == f"{digest}  nginx.tar\n"
        with tarfile.open(out) as archive:
            assert max(member.mtime for member in archive) == int(DEBIAN_EPOCH)
    finally:
        out.unlink()


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
    scripts = ["$(find rootfs-tools -type f ! -name '*.py')", "examples/*.sh", "tests/run.sh", ".ci/run"]
    done = subprocess.run(
        ["sh", "-c", f"exec shellcheck -x -P SCRIPTDIR:. -- {' '.join(scripts)}"],
        cwd=os.path.dirname(TOOLS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
