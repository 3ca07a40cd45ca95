"""What goes wrong: one line for people on standard error, and runc's form of it in the file that `--log` names.

    pycontainer-oci: container does not exist
    {"level":"error","msg":"container does not exist","time":"2026-11-26T03:34:47Z"}
    time="2026-11-26T03:34:47Z" level=error msg="container does not exist"

Engines read the last line of the file and show its `msg`. Without a file, `--log-format json` makes the line on standard
error JSON. There is one log for the process, as there is one command.
"""

import os
import time

try:
    from _json import encode_basestring_ascii as _quoted
except ImportError:  # a Python without its C parts
    from json.encoder import encode_basestring_ascii as _quoted

_log_fd = -1
_is_json = False
_shows_debug = False
_program = "pycontainer-oci"


def start(program: str, path: str, log_format: str, *, debug: bool) -> None:
    """Say where messages go from here on. Raises OSError if the file cannot be opened.

    The descriptor is close-on-exec: neither hooks nor containers get it.
    """
    global _log_fd, _is_json, _shows_debug, _program
    stop()
    _program, _is_json, _shows_debug = program, log_format == "json", debug
    if path and path != "/dev/stderr":
        _log_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY, 0o644)


def stop() -> None:
    """Close the file."""
    global _log_fd
    if _log_fd >= 0:
        os.close(_log_fd)
        _log_fd = -1


def error(message: str) -> None:
    """Report why the command failed."""
    _report("error", message)


def warn(message: str) -> None:
    """Report what failed without stopping the command."""
    _report("warning", message)


def debug(message: str) -> None:
    """Report what is done, if that was asked for."""
    if _shows_debug:
        _report("debug", message)


def _report(level: str, message: str) -> None:
    message = "; ".join(line.strip() for line in message.splitlines() if line.strip())
    if _log_fd >= 0:
        _write(_log_fd, _json_line(level, message) if _is_json else _text_line(level, message))
        if level == "debug":
            return
    if _is_json and _log_fd < 0:
        _write(2, _json_line(level, message))
    else:
        prefix = "" if level == "error" else f"{level}: "
        _write(2, f"{_program}: {prefix}{message}\n")


def _json_line(level: str, message: str) -> str:
    return f'{{"level":"{level}","msg":{_quoted(message)},"time":"{_now()}"}}\n'


def _text_line(level: str, message: str) -> str:
    return f'time="{_now()}" level={level} msg={_quoted(message)}\n'


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _write(fd: int, line: str) -> None:
    """Write a line in one call, so that lines of several processes do not mix; a reader that is gone is no error of ours."""
    try:
        os.write(fd, line.encode("utf-8", "backslashreplace"))
    except OSError:
        pass
