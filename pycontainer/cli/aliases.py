"""Options that people bring from OpenVZ (`vzctl set`) and Docker: each becomes settings of ours.

They are not in `--help`; docs/cgroups.md lists them, and a test holds that list against this one.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Settings = dict[str, str]
_META = "pycontainer.aliases"
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_OPENVZ_CPUUNITS, _DOCKER_SHARES = 1000, 1024  # what an ordinary container has there


def _same(key: str) -> Callable[[str], Settings]:
    return lambda text: {key: "unlimited" if text in ("-1", "unlimited") else text}


def _both_ways(*keys: str) -> Callable[[str], Settings]:
    return lambda text: dict.fromkeys(keys, "unlimited" if text == "0" else text)


def _soft_and_hard(soft: str, hard: str, unit: str) -> Callable[[str], Settings]:
    """vzctl writes `soft:hard`, or one number for both; sizes without a unit are KiB."""

    def convert(text: str) -> Settings:
        first, _, second = text.partition(":")
        amounts = [amount + unit if _NUMBER.fullmatch(amount) else amount for amount in (first, second or first)]
        return dict(zip((soft, hard), amounts, strict=True))

    return convert


def _weight(ordinary: int) -> Callable[[str], Settings]:
    def convert(text: str) -> Settings:
        if not _NUMBER.fullmatch(text) or int(text) == 0:
            raise click.BadParameter(f"{text[:40]!r} is not a number of shares")
        return {"cpu_weight": str(min(10_000, max(1, int(text) * 100 // ordinary)))}

    return convert


def _percent(text: str) -> Settings:
    """vzctl's 0 is no limit, 100 one CPU."""
    number = text.removesuffix("%")
    return {"cpus": "unlimited" if number == "0" else f"{number}%"}


def _of_device(key: str) -> Callable[[str], Settings]:
    """Docker writes DEVICE:RATE; which device is found from what the container uses."""
    return lambda text: {key: text.rpartition(":")[2]}


def _kilobits(text: str) -> Settings:
    """vzctl writes DEVICE:CLASS:KILOBITS, for what the container sends."""
    number = text.rpartition(":")[2]
    return {"net_out": f"{number}kbit" if _NUMBER.fullmatch(number) else number}


# (option, metavar, what it becomes, for people, and in settings)
ALIASES: tuple[tuple[str, str, str, Callable[[str], Settings]], ...] = (
    ("--ram", "SIZE", "--memory", _same("memory")),
    ("--memsize", "SIZE", "--memory", _same("memory")),
    ("--cpulimit", "PERCENT", "--cpus, 100 is one CPU", _percent),
    ("--cpuunits", "NUMBER", "--cpu-weight, 1000 is 100", _weight(_OPENVZ_CPUUNITS)),
    ("--cpumask", "LIST", "--cpuset-cpus", _same("cpuset_cpus")),
    ("--diskspace", "SOFT:HARD", "--disk-soft and --disk", _soft_and_hard("disk_soft", "disk", "K")),
    ("--diskinodes", "SOFT:HARD", "--disk-inodes-soft and --disk-inodes",
     _soft_and_hard("disk_inodes_soft", "disk_inodes", "")),
    ("--iolimit", "RATE", "--io-read and --io-write", _both_ways("io_read", "io_write")),
    ("--iopslimit", "NUMBER", "--io-read-ops and --io-write-ops", _both_ways("io_read_ops", "io_write_ops")),
    ("--numproc", "NUMBER", "--pids-limit", _same("pids")),
    ("--rate", "DEVICE:CLASS:KBIT", "--net-out", _kilobits),
    ("--cpu-shares", "NUMBER", "--cpu-weight, 1024 is 100", _weight(_DOCKER_SHARES)),
    ("--blkio-weight", "NUMBER", "--io-weight", _same("io_weight")),
    ("--device-read-bps", "DEVICE:RATE", "--io-read", _of_device("io_read")),
    ("--device-write-bps", "DEVICE:RATE", "--io-write", _of_device("io_write")),
    ("--device-read-iops", "DEVICE:NUMBER", "--io-read-ops", _of_device("io_read_ops")),
    ("--device-write-iops", "DEVICE:NUMBER", "--io-write-ops", _of_device("io_write_ops")),
)  # fmt: skip


def alias_options(command: F) -> F:
    """Have a command understand the aliases; `given` returns what they said."""
    for flag, metavar, meaning, convert in reversed(ALIASES):

        def remember(ctx: click.Context, parameter: click.Parameter, value: str | None, to: Any = convert) -> None:
            if value is not None:
                ctx.meta.setdefault(_META, {}).update(to(value))

        words = f"Same as {meaning}."
        option = click.option(flag, metavar=metavar, help=words, hidden=True, expose_value=False, callback=remember)
        command = option(command)
    return command


def given() -> Settings:
    """Return the settings that aliases on this command line stand for."""
    return dict(click.get_current_context().meta.get(_META, {}))
