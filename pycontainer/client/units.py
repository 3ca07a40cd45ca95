"""Files for the host's init: units of systemd for the service and for single containers, and a script for an init without.

The service's lie in supervisor/units as a distribution would install them; here they get the paths of this installation,
and the names of this world: a `--root` has a socket, a service and a scope of its own.
"""

import os

import pycontainer
from pycontainer.paths import DEFAULT_RUN_DIR, DEFAULT_STATE_DIR, HostPaths

SERVICE_UNITS = (
    "pycontainer.socket",
    "pycontainer.service",
    "pycontainer-boot.service",
    "pycontainer-metrics.service",
    "pycontainer-frontdoor.service",
)
_TEMPLATES = os.path.join(os.path.dirname(pycontainer.__file__), "supervisor", "units")
_STOP_SPARE_SECONDS = 30  # for what follows the end of its processes

_CONTAINER = """\
# made by 'pycontainer generate systemd {name}'
[Unit]
Description=Container {name}
Wants={world}.socket network-online.target
# Stopped before all others are, and before the scope in which it lives.
After={world}.socket {world}.service {world}.scope {world}-boot.service network-online.target remote-fs.target
RequiresMountsFor={state_dir}

[Service]
Type=notify
ExecStart={program} start --foreground {name}
ExecStop={program} stop {name}
# That of SIGTERM, which 'stop' sends. Its restart policy is the supervisor's business, not systemd's.
SuccessExitStatus=143
TimeoutStartSec=infinity
TimeoutStopSec={stop_seconds}
KillMode=process

[Install]
WantedBy=multi-user.target
"""


def container_unit(paths: HostPaths, name: str, program: str, stop_timeout_seconds: int) -> str:
    """Return the text of a unit that starts and stops one container. `program` is the path of the command."""
    return _CONTAINER.format(
        name=name,
        world=paths.marker,
        state_dir=quoted(paths.state_dir),
        program=_command(program, paths),
        stop_seconds=stop_timeout_seconds + _STOP_SPARE_SECONDS,
    )


def service_units(paths: HostPaths, program: str, python: str) -> dict[str, str]:
    """Return the units of the service, by name. `python` is the interpreter that has the package."""
    names = {name: name.replace("pycontainer", paths.marker, 1) for name in (*SERVICE_UNITS, "pycontainer.scope")}
    root = f" --root {quoted(paths.root)}" if paths.root else ""
    units = {}
    for name in SERVICE_UNITS:
        text = _template(name)
        for old, new in names.items():
            text = text.replace(old, new)
        text = text.replace("/usr/bin/python3", quoted(python)).replace("supervisor.main", f"supervisor.main{root}")
        text = text.replace("/usr/bin/pycontainer", _command(program, paths))
        text = text.replace(f"{DEFAULT_RUN_DIR}/supervisor.sock", paths.supervisor_socket.replace("%", "%%"))
        units[names[name]] = text.replace(DEFAULT_STATE_DIR, quoted(paths.state_dir))
    return units


def init_script(paths: HostPaths, program: str) -> str:
    """Return a script for an init that is not systemd."""
    import shlex  # 1 ms that units do not need

    root = f" --root {shlex.quote(paths.root)}" if paths.root else ""
    text = _template("pycontainer.init").replace("/usr/bin/pycontainer", f"{shlex.quote(program)}{root}")
    return text.replace("Provides:          pycontainer", f"Provides:          {paths.marker}")


def quoted(text: str) -> str:
    """Return a word as units have it: specifiers and variables are literal, one with blanks in quotes. systemd.service(5)"""
    text = text.replace("%", "%%").replace("$", "$$")
    if any(character in " \t\"'\\;" for character in text):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _command(program: str, paths: HostPaths) -> str:
    return quoted(program) + (f" --root {quoted(paths.root)}" if paths.root else "")


def _template(name: str) -> str:
    with open(f"{_TEMPLATES}/{name}", encoding="utf-8") as file:
        return file.read()
