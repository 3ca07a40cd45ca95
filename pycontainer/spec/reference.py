"""Renders docs/spec.md from the table of fields, and a test compares: `python -m pycontainer.spec.reference`."""

from collections.abc import Callable

from pycontainer.spec.fields import FIELDS, Field, Shape
from pycontainer.spec.model import RestartPolicy
from pycontainer.spec.values import IPC_SYSCTLS
from pycontainer.units import RLIMIT_NAMES, format_bytes, format_duration

_HEAD = """\
# The settings of a container

<!-- made by `python -m pycontainer.spec.reference > docs/spec.md`; do not edit -->

The command line, YAML files and Python name the same settings. A file holds one container, or several by name:

```yaml
image: debian-nginx
memory: 200M
cpus: 0.5
pids: 100
ports: {8080: 80}
```

```yaml
containers:
  web:
    image: debian-nginx
    ports: ["8080:80"]
  cache:
    image: debian-redis
    networks: [none]
```

An unknown key, a key without a value and a value that makes no sense are errors; all of a file are shown together,
each with its line. What is left out has its default. A list with one entry may be written as the entry alone.

| key | takes | default | command line | meaning |
|---|---|---|---|---|
"""

_FORMS = f"""
## Values

- **size**: a whole number of bytes, or a number and a unit: `K`, `M`, `G`, `T`, `P` in either case, also as `Ki`
  or `KiB`, are powers of 1024. A fraction needs a unit (`1.5G`) and is rounded down. `KB`, `MB` and their kin are
  refused as ambiguous.
- **rate**: bytes per second as a size, `20M` or `20M/s`; with `B/s` decimal, `20MB/s` is 20 000 000.
- **CPUs**: a number of CPUs, `0.5` or `2`, or a percentage of one, `50%`; from 0.01 to 8192, exact to nine
  decimals.
- **CPU list**: numbers and ranges, `0-1,3`.
- **duration**: whole seconds, `10`, or days, hours, minutes and seconds, `1m30s`, `1d`.
- **unlimited** is no limit, for the caps and for ulimits; 0, -1 and `max` are refused.
- **default**, in `set` and `tenant set`, takes away what has no other value when it is left out: `--memory-swap default`,
  `--cpu-weight default`.
- `pycontainer set` changes {", ".join(f"`{field.key}`" for field in FIELDS if field.live)}
  of a container that exists, at once if it runs.
- **name**: 1 to 63 of `A-Z a-z 0-9 _ . -`, beginning with a letter or a digit; of containers, networks and volumes
  alike.
- **path**: absolute, without `..`; `.` and needless slashes are removed. In a YAML file `rootfs`, the sources of
  bind mounts and of volumes that begin with `./` or `../` may be relative to the file. Nothing can be mounted at
  `/`, `/dev`, `/proc` or `/sys`.
- **pairs**: a mapping, `{{TZ: UTC}}`, or a list, `["TZ=UTC"]`.
- **signal**: `TERM`, `SIGTERM`, `15` or `SIGRTMIN+3`.
- **ports**: `[[HOSTIP:][HOSTPORT]:]PORT[/tcp|udp]`. `80` publishes on a free port, `127.0.0.1::80` on a free port
  of that address; IPv6 addresses stand in brackets; `8000-8009:80-89` publishes ten.
- **mounts**: `type` (bind, volume, tmpfs; volume unless said), `source` or `src`, `target`, `dst` or
  `destination`, `readonly` or `ro`; for bind `bind-nonrecursive` and `bind-idmap` or `idmap` (owners
  inside are those on the host); for volume `volume-nocopy` (an empty one stays so); for tmpfs `tmpfs-size`,
  `tmpfs-mode`, `tmpfs-exec`.
- **ulimits**: {", ".join(f"`{name}`" for name in RLIMIT_NAMES)}; numbers as in setrlimit(2).
- **sysctls**: `net.*` (not with network `host`), `fs.mqueue.*`, {", ".join(f"`{name}`" for name in IPC_SYSCTLS)}.
- **capabilities**: the kernel's names, in either case, with or without `CAP_`; or `ALL`.

In YAML only `true` and `false` are truth values: `no`, `on` and `off` are text, and so are `0.5`, `010`, `1:30`
and dates. Tags, anchors, aliases, merge keys, several documents in a file and tabs as indentation are refused; a
file has at most 1 MiB.

## OCI counterparts

Where the OCI runtime specification's `config.json` has the setting:

| key | config.json |
|---|---|
"""


_FORMATS: dict[str, Callable[[int], str]] = {"size": format_bytes, "duration": format_duration}


def render() -> str:
    """Return the text of docs/spec.md."""
    rows = "".join(
        f"| `{field.key}` | {_takes(field)} | {_default(field)} | {_option(field)} | {_cell(field.help)} |\n"
        for field in FIELDS
    )
    counterparts = "".join(f"| `{field.key}` | {field.oci} |\n" for field in FIELDS if field.oci)
    return _HEAD + rows + _FORMS + counterparts


def _takes(field: Field) -> str:
    kind = field.unit or {Shape.ONE: "", Shape.LIST: "list", Shape.PAIRS: "pairs"}[field.shape]
    example = f"`{_cell(field.example)}`"
    return f"{kind}, {example}" if kind else example


def _default(field: Field) -> str:
    default = field.default
    if default is None or default == "" or default == ():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, RestartPolicy):
        return default.name
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    if isinstance(default, int) and field.unit in _FORMATS:
        return _FORMATS[field.unit](default)
    return str(default)


def _option(field: Field) -> str:
    return ", ".join(f"`{option}`" for option in field.option.split(", "))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")
