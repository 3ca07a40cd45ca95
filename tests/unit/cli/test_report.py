"""Errors on the command line: one clear line, a hint, the right exit code, no traceback."""

import os
import subprocess
import sys

import click
import pytest

from pycontainer.cli import report
from pycontainer.cli.report import for_each, guarded, printable, workload_codes
from pycontainer.errors import AlreadyExists, InvalidInput, NotFound, NotPermitted, StartFailed


def outcome(error: BaseException, capsys: pytest.CaptureFixture[str], *, debug: bool = False) -> tuple[int, str]:
    def fails() -> None:
        raise error

    code = guarded(fails, debug=lambda: debug)
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


def test_error_with_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(NotFound("no container 'web'", hint="look with 'pycontainer ps -a'"), capsys) == (
        3,
        "pycontainer: no container 'web'\nhint: look with 'pycontainer ps -a'\n",
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), 2),
        (AlreadyExists("x"), 4),
        (NotPermitted("x"), 7),
        (StartFailed("x", step="mounts", errno=2), 125),
        (StartFailed("x", step="execve", errno=2), 127),
        (StartFailed("x", step="execve", errno=13), 126),
        (KeyboardInterrupt(), 130),
        (click.UsageError("no such option: --x"), 2),
        (FileNotFoundError(2, "No such file or directory", "web.yaml"), 1),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(error, capsys)[0] == code


def test_system_error_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    error = FileNotFoundError(2, "No such file or directory", "web.yaml")
    assert outcome(error, capsys)[1] == "pycontainer: 'web.yaml': no such file or directory\n"


def test_defect_is_one_line_and_a_traceback_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    quiet, loud = outcome(ZeroDivisionError("x"), capsys)[1], outcome(ZeroDivisionError("x"), capsys, debug=True)[1]
    assert quiet.startswith("pycontainer: internal error: ZeroDivisionError: x\nhint: ")
    assert "Traceback" not in quiet
    assert "Traceback" in loud


def test_names_do_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(NotFound("no container '\x1b[2J'"), capsys)[1] == "pycontainer: no container '\\x1b[2J'\n"
    assert printable("ä\u202e\t") == "ä\\u202e\\t"


def test_suggestions_are_for_the_chosen_world(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_world", None)
    report.choose_world("/srv/a world", ["ps", "rm"])
    hints = {
        "'pycontainer ps --all' lists them": "'pycontainer --root '/srv/a world' ps --all' lists them",
        "start it, or: pycontainer rm web": "start it, or: pycontainer --root '/srv/a world' rm web",
        "install pycontainer again": "install pycontainer again",
        "systemctl enable pycontainer-boot.service": "systemctl enable pycontainer-boot.service",
        "have pycontainer psych": "have pycontainer psych",
    }
    for hint, shown in hints.items():
        assert outcome(NotFound("x", hint=hint), capsys)[1] == f"pycontainer: x\nhint: {shown}\n"


def test_workload_codes() -> None:
    for error, code in ((NotFound("x"), 125), (StartFailed("x", step="execve", errno=2), 127)):
        with pytest.raises(type(error)) as caught, workload_codes():
            raise error
        assert caught.value.exit_code == code


def test_for_each_does_the_others_too(capsys: pytest.CaptureFixture[str]) -> None:
    done = []

    def act(name: str) -> None:
        if name == "b":
            raise NotFound("no container 'b'")
        done.append(name)

    with pytest.raises(click.exceptions.Exit) as caught:
        for_each(["a", "b", "c"], act)
    assert (done, caught.value.exit_code) == (["a", "c"], 3)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("a\nc\n", "pycontainer: no container 'b'\n")


def test_closed_pipe_is_quiet() -> None:
    code = (
        "from pycontainer.cli.report import guarded\nraise SystemExit(guarded(lambda: print('x' * 10**6), debug=bool))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def run_on_full(code: str, stream: str) -> tuple[int, bytes]:
    """Run `code` under `guarded` with a full `stream`; return the exit code and what the other of the two got."""
    program = (
        "import sys, click\nfrom pycontainer.cli import report\nfrom pycontainer.errors import NotFound\n"
        f"def command():\n    {code}\n"
        "raise SystemExit(report.guarded(command, debug=bool))"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    with open("/dev/full", "wb") as full:
        streams = {stream: full, other: subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", program], env=env, **streams)  # type: ignore[call-overload]
        out, err = process.communicate()
    return process.returncode, out or err or b""


NO_ROOM = b"pycontainer: cannot write: no space left on device\n"


@pytest.mark.parametrize(
    ("code", "exit_code", "told"),
    [
        ("click.echo('x')", 1, NO_ROOM),
        ("sys.stdout.write('x')", 1, NO_ROOM),
        ("report.for_each(['a', 'b'], len)", 1, NO_ROOM),
        ("with report.workload_codes(): click.echo('x')", 125, NO_ROOM),
        ("sys.stdout.write('x'); raise NotFound('no y')", 3, b"pycontainer: no y\n"),
    ],
)
def test_output_that_cannot_be_written_is_one_line(code: str, exit_code: int, told: bytes) -> None:
    assert run_on_full(code, "stdout") == (exit_code, told)


@pytest.mark.parametrize(
    ("code", "exit_code", "told"),
    [
        ("raise NotFound('x')", 3, b""),
        ("raise click.UsageError('x')", 2, b""),
        ("report.show_warnings(['x']); print('y'); return 7", 7, b"y\n"),
    ],
)
def test_what_cannot_be_told_changes_nothing(code: str, exit_code: int, told: bytes) -> None:
    assert run_on_full(code, "stderr") == (exit_code, told)
