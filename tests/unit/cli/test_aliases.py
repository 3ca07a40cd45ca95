"""Options of OpenVZ and Docker become settings of ours, and are documented."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pycontainer.cli.aliases import ALIASES
from pycontainer.cli.options import changes, live_options

DOCS = Path(__file__).parents[3] / "docs" / "cgroups.md"


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("--ram 200M", {"memory": "200M"}),
        ("--memsize unlimited", {"memory": "unlimited"}),
        ("--cpulimit 50", {"cpus": "50%"}),
        ("--cpulimit 25%", {"cpus": "25%"}),
        ("--cpulimit 0", {"cpus": "unlimited"}),
        ("--cpuunits 2000", {"cpu_weight": "200"}),
        ("--diskspace 1048576:2097152", {"disk_soft": "1048576K", "disk": "2097152K"}),
        ("--diskspace 8G:10G", {"disk_soft": "8G", "disk": "10G"}),
        ("--diskspace 10G", {"disk_soft": "10G", "disk": "10G"}),
        ("--diskinodes 100:200", {"disk_inodes_soft": "100", "disk_inodes": "200"}),
        ("--iolimit 10M", {"io_read": "10M", "io_write": "10M"}),
        ("--iopslimit 0", {"io_read_ops": "unlimited", "io_write_ops": "unlimited"}),
        ("--numproc 100", {"pids": "100"}),
        ("--rate eth0:1:1024", {"net_out": "1024kbit"}),
        ("--cpu-shares 512", {"cpu_weight": "50"}),
        ("--blkio-weight 300", {"io_weight": "300"}),
        ("--device-read-bps /dev/sda:1m --device-write-iops /dev/sda:50", {"io_read": "1m", "io_write_ops": "50"}),
        ("--ram 100M --memory 200M", {"memory": "200M"}),
    ],
)
def test_what_they_become(line: str, settings: dict[str, str]) -> None:
    seen: dict[str, Any] = {}

    @click.command
    @live_options
    def command(**options: Any) -> None:
        seen.update(changes(options))

    result = CliRunner().invoke(command, line.split())
    assert (result.exit_code, seen) == (0, settings), result.output


@pytest.mark.parametrize("value", ["many", "\u00b2", "\u0665", "0", "9" * 5000])
def test_nonsense_is_refused(value: str) -> None:
    """VAL-02: digits of other scripts, some of which int() does not take, are no numbers."""

    @click.command
    @live_options
    def command(**options: Any) -> None:
        pass

    result = CliRunner().invoke(command, ["--cpu-shares", value])
    assert result.exit_code == 2
    assert f"{value[:40]!r} is not a number of shares" in result.output


def test_all_are_documented() -> None:
    text = DOCS.read_text()
    for flag, _, meaning, _ in ALIASES:
        assert f"| `{flag}` | {meaning} |" in text, f"docs/cgroups.md lacks {flag}"
