"""The command as a whole: its name, its root, what it says when something is wrong, and with which exit code."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer
from pycontainer.errors import InvalidInput, NotFound
from pycontainer.oci import hooks
from pycontainer.oci.config import Hook
from pycontainer.oci.main import default_root, main, message_of, program_name
from tests.support.ocirecords import runtime

SOURCES = Path(pycontainer.__file__).parents[1]


def started(code: str, *, closed: str = "", env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run `code` as the launcher does, without `site`; `closed` are descriptors that the caller has closed."""
    program = f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n{code}"
    shell = f'exec "$0" -IS -c "$1" {closed}'
    done = subprocess.run(["sh", "-c", shell, sys.executable, program], capture_output=True, text=True, env=env)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/bin/pycontainer-oci", "pycontainer-oci"),
        ("/usr/bin/pyc2", "pyc2"),
        ("/usr/bin/runc", "runc"),
        ("/x/pycontainer/oci/main.py", "pycontainer-oci"),
        ("/usr/bin/pycontainer", "pycontainer-oci"),
        ("-c", "pycontainer-oci"),
        ("", "pycontainer-oci"),
    ],
)
def test_the_name_is_that_of_the_file(path: str, name: str) -> None:
    """A copy under another name has containers of its own, and never the directory of the supervisor."""
    assert program_name(path) == name


def test_default_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_root("runc") == "/run/runc"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InvalidInput, match="no place to record containers in"):
        default_root("runc")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert default_root("runc") == "/run/user/1000/runc"


def test_root_of_a_rootless_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root in a user namespace of a user is that user; the host's root is not, whatever its environment says."""
    code = "from pycontainer.oci.main import default_root; print(default_root('x'))"
    env = {"XDG_RUNTIME_DIR": "/run/user/1000", "USER": "alice", "PATH": os.environ["PATH"]}
    if os.geteuid() == 0:
        assert started(code, env=env) == (0, "/run/x\n", "")
    program = f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n{code}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-IS", "-c", program],
        capture_output=True, text=True, env=env,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("user namespaces are not to be had here")
    assert (done.stdout, done.stderr) == ("/run/user/1000/x\n", "")


def test_an_error_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert runtime(tmp_path, "state", "web") == 1
    assert capfd.readouterr() == ("", "pycontainer-oci: container does not exist\n")


def test_the_name_stands_in_messages(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["/usr/bin/pyc2", "--bogus"]) == 1
    assert capfd.readouterr() == ("", "pyc2: unknown flag '--bogus' (see 'pyc2 --help')\n")


@pytest.mark.parametrize("words", [("--bogus", "state", "web"), ("state", "--bogus", "web"), ("rnu",)])
@pytest.mark.parametrize("separator", ["=", " "])
def test_the_log_has_what_is_wrong_with_the_command_line(
    tmp_path: Path, words: tuple[str, ...], separator: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.json"
    log_words = ["--log=" + str(path)] if separator == "=" else ["--log", str(path)]
    assert main(["pycontainer-oci", *log_words, "--log-format=json", *words]) == 1
    (line,) = path.read_text().splitlines()
    assert list(json.loads(line)) == ["level", "msg", "time"]
    assert "unknown" in json.loads(line)["msg"]
    assert capfd.readouterr().err.startswith("pycontainer-oci: unknown ")


def test_the_log_of_an_engine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.json"
    assert runtime(tmp_path / "r", "--log", str(path), "--log-format", "json", "kill", "--all", "web", "9") == 1
    assert json.loads(path.read_text())["msg"] == "container does not exist"


def test_a_log_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert runtime(tmp_path, "--log", f"{tmp_path}/none/log", "list") == 1
    assert capfd.readouterr() == ("", f"pycontainer-oci: '{tmp_path}/none/log': no such file or directory\n")


def test_messages() -> None:
    assert message_of(NotFound("gone", hint="look")) == "gone (look)"
    assert message_of(FileNotFoundError(2, "No such file or directory", "/x\x1b[2J")) == (
        "'/x\\x1b[2J': no such file or directory"
    )
    assert message_of(PermissionError(1, "mount: Operation not permitted")) == "mount: Operation not permitted"
    error = RuntimeError("odd")
    error.add_note("and more")
    assert message_of(error) == "internal error: RuntimeError: odd; and more"


def test_a_traceback_is_for_debug_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runtime(tmp_path, "state", "web")
    assert "Traceback" not in capfd.readouterr().err
    runtime(tmp_path, "--debug", "state", "web")
    assert "Traceback" in capfd.readouterr().err


def test_versions(capfd: pytest.CaptureFixture[str]) -> None:
    """Docker looks for `version` and `commit:`; containerd for three lines."""
    assert main(["/usr/bin/runc", "--version"]) == 0
    version = pycontainer.__version__
    assert capfd.readouterr().out == f"runc version {version}\ncommit: v{version}\nspec: 1.2.0\n"


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["x", "--help"]) == 0
    told = capfd.readouterr().out
    assert main(["x"]) == 0
    assert capfd.readouterr().out == told and told.startswith("usage: x [OPTIONS] COMMAND")
    assert main(["x", "kill", "--help"]) == 0
    assert capfd.readouterr().out.startswith("usage: x kill [OPTIONS] ID [SIGNAL]\n")


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_unsupported(verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Podman asks `checkpoint --help` for support, and takes exit code 0 for a yes."""
    assert runtime(tmp_path, verb, "--image-path", "/i", "--work-path", "/w", "web") == 1
    assert capfd.readouterr() == ("", f"pycontainer-oci: {verb} is not supported in this version\n")
    assert runtime(tmp_path, verb, "--help") == 1
    assert "neither checkpoint nor restore" in capfd.readouterr().out


def test_a_reader_that_is_gone(tmp_path: Path) -> None:
    code = f"from pycontainer.oci.main import main; sys.exit(main(['x', '--root', {str(tmp_path)!r}, 'list']))"
    program = f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n{code}"
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    done = subprocess.run([sys.executable, "-IS", "-c", program], stdout=write_fd, stderr=subprocess.PIPE)
    os.close(write_fd)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_standard_streams(tmp_path: Path) -> None:
    """What we open never gets the number of one of them: a container would take it for its output."""
    code = (
        f"from pycontainer.oci.main import main; code = main(['x', '--root', {str(tmp_path)!r}, 'state', 'web'])\n"
        "import os; print(code, [os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 2)], os.get_inheritable(0))"
    )
    assert started(code, closed="0<&- 2>&-") == (0, "1 ['/dev/null', '/dev/null'] True\n", "")


def test_what_state_loads(tmp_path: Path) -> None:
    """Each module beyond costs a part of the milliseconds that a call may take."""
    code = (
        "before = set(sys.modules)\nfrom pycontainer.oci.main import main\n"
        f"main(['x', '--root', {str(tmp_path)!r}, 'state', 'web'])\nprint(*sorted(set(sys.modules) - before))"
    )
    status, out, _ = started(code)
    assert status == 0
    loaded = set(out.split())
    ours = {name.removeprefix("pycontainer.") for name in loaded if name.startswith("pycontainer.")}
    assert ours <= {
        "errors", "jsontext", "units", "oci", "oci.arguments", "oci.log", "oci.main", "oci.output", "oci.state",
        "oci.text", "oci.verbs", "oci.verbs.state",
    }  # fmt: skip
    others = {name for name in loaded if not name.startswith("pycontainer")}
    assert others & {"ctypes", "json", "re", "enum", "signal", "socket", "typing", "collections", "contextlib",
                     "functools", "subprocess", "tempfile", "shutil", "argparse", "logging", "pwd"} == set()  # fmt: skip


def test_a_caller_that_ignores_its_children(tmp_path: Path) -> None:
    """What it ignores we would, too: the kernel reaps hooks and processes then, and their exit codes are lost."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        runtime(tmp_path, "list")
        hooks.run([Hook("/bin/true", ["true"], [], None)], {"bundle": str(tmp_path)}, where="prestart")
    finally:
        signal.signal(signal.SIGCHLD, before)
