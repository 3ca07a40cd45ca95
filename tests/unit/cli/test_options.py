"""The options of `run` and `create`: the table against the spec's own, and what the supervisor is sent."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pycontainer.cli.options import FLAGS, LISTS, LIVE, VALUES, container_options, plain_spec
from pycontainer.errors import InvalidInput
from pycontainer.spec.fields import FIELDS, Shape
from pycontainer.spec.parse import parse_spec

OURS = {key: flags for key, flags, *_ in (*VALUES, *LISTS, *FLAGS)}
POSITIONAL = {"image", "command", "rootfs_writable"}


def test_every_setting_has_its_option() -> None:
    assert set(OURS) == {field.key for field in FIELDS} - POSITIONAL


@pytest.mark.parametrize(
    "field", [field for field in FIELDS if field.key not in POSITIONAL], ids=lambda field: field.key
)
def test_option_is_spelled_as_documented(field: Any) -> None:
    documented = {spelling for part in field.option.split(", ") for spelling in part.split("/")} - {"--env-file"}
    assert set(OURS[field.key]) == documented


def test_shape_agrees_with_the_spec() -> None:
    lists = {field.key for field in FIELDS if field.shape is not Shape.ONE and not field.program}
    assert {key for key, *_ in LISTS} == lists


def parsed(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    @click.command(context_settings={"allow_interspersed_args": False})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    @container_options
    def command(words: tuple[str, ...], **given: Any) -> None:
        found.update(plain_spec(words, given))

    result = CliRunner().invoke(command, arguments, catch_exceptions=False, env={"MINE": "own"}, standalone_mode=False)
    if result.exception:
        raise result.exception
    return found


def test_nothing_asked_nothing_sent() -> None:
    assert parsed("busybox") == {"image": "busybox"}


def test_everything_asked() -> None:
    options = """
        --name web -h host --domainname d -t -i --rm --init --restart no --stop-signal HUP --stop-timeout 3
        -m 200M --cpus 0.5 --cpuset-cpus 0-1 --pids-limit 100 --shm-size 1M --ulimit nofile=1:2 --network default
        --ip 10.88.0.9 --ip6 fd00::9 -p 8080:80 -p 53:53/udp --dns 9.9.9.9 --dns-search a.b --add-host db:10.0.0.7
        -v /a:/b:ro --mount type=tmpfs,target=/m --tmpfs /t --read-only --device /dev/fuse --cap-add NET_ADMIN
        --cap-drop ALL --privileged --profile system --security-opt no-new-privileges --sysctl net.core.somaxconn=9
        -e A=1 -e MINE -l tier=web -w /srv -u www-data --entrypoint /bin/sh image -c true -m
    """
    spec = parsed(*options.split())
    assert spec == {
        "image": "image", "command": ["-c", "true", "-m"], "entrypoint": ["/bin/sh"], "name": "web", "hostname": "host",
        "domainname": "d", "tty": True, "stdin_open": True, "auto_remove": True, "init": True, "restart": "no",
        "stop_signal": "HUP", "stop_timeout": "3", "memory": "200M", "cpus": "0.5", "cpuset_cpus": "0-1", "pids": "100",
        "shm_size": "1M", "ulimits": ["nofile=1:2"], "networks": ["default"], "ip": "10.88.0.9", "ip6": "fd00::9",
        "ports": ["8080:80", "53:53/udp"], "dns": ["9.9.9.9"], "dns_search": ["a.b"], "add_hosts": ["db:10.0.0.7"],
        "volumes": ["/a:/b:ro"], "mounts": ["type=tmpfs,target=/m"], "tmpfs": ["/t"], "read_only": True,
        "devices": ["/dev/fuse"], "cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"], "privileged": True, "profile": "system",
        "security_opt": ["no-new-privileges"], "sysctls": ["net.core.somaxconn=9"], "env": ["A=1", "MINE=own"],
        "labels": ["tier=web"], "workdir": "/srv", "user": "www-data",
    }  # fmt: skip
    assert parse_spec(spec).memory_bytes == 200 * 2**20  # and the supervisor understands it


def test_docker_s_and_podman_s_words_for_health() -> None:
    assert parsed("--no-healthcheck", "--health-on-failure", "stop", "busybox") == {
        "image": "busybox", "health_cmd": "none", "health_action": "stop",
    }  # fmt: skip


def test_rootfs_takes_no_image() -> None:
    assert parsed("--rootfs", "/srv/a", "sh", "-l") == {"rootfs": "/srv/a", "command": ["sh", "-l"]}
    assert parsed("--rootfs", "/srv/a:rw") == {"rootfs": "/srv/a", "rootfs_writable": True}
    assert parsed("--rootfs", "/srv/a:b") == {"rootfs": "/srv/a:b"}


def test_environment_comes_from_files_first(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# comment\nA=file\nMINE\nUNSET_HERE\n\nB=x=y\n")
    spec = parsed("--env-file", str(tmp_path / "env"), "-e", "A=option", "image")
    assert spec["env"] == ["A=file", "MINE=own", "B=x=y", "A=option"]


def test_wrong_environment_file_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\n=2\n")
    with pytest.raises(InvalidInput) as caught:
        parsed("--env-file", str(tmp_path / "env"), "image")
    assert caught.value.source == f"{tmp_path}/env:2"


def test_set_offers_what_is_live() -> None:
    assert set(LIVE) == {field.key for field in FIELDS if field.live}
