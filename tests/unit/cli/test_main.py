"""The command as a whole, against a fake supervisor: every verb has help with an example, errors end well."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pycontainer.cli import foreign
from pycontainer.cli.main import COMMANDS, cli
from pycontainer.errors import NotFound
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor, Verb, container_info

VERBS = [verb for section in COMMANDS.values() for verb in section]


def pycontainer(*arguments: str, root: str = "", stdin: bytes = b"") -> tuple[int, str, str]:
    """Run the command as a process of its own, in the world `root`."""
    env = {**os.environ, "PYCONTAINER_ROOT": root, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "pycontainer.cli.main", *arguments],
        input=stdin,
        capture_output=True,
        env=env,
        timeout=30,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def leaf_commands() -> list[tuple[str, click.Command]]:
    found = []
    context = click.Context(cli)
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None, verb
        if isinstance(command, click.Group):
            found += [(f"{verb} {name}", sub) for name, sub in command.commands.items()]
        else:
            found.append((verb, command))
    return found


@pytest.mark.parametrize(
    ("name", "command"), leaf_commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_help_says_what_and_shows_an_example(name: str, command: click.Command) -> None:
    assert command.help is not None
    assert name == "check" or f"\n  pycontainer {name}" in inspect.cleandoc(command.help)
    assert len(command.get_short_help_str(limit=66)) <= 66 and not command.get_short_help_str(limit=66).endswith("...")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or isinstance(parameter.type, click.Choice), parameter.name


def test_aliases() -> None:
    context = click.Context(cli)
    for alias, verb in cli.aliases.items():
        assert cli.get_command(context, alias) is cli.get_command(context, verb)


def found(path: str) -> click.Command | None:
    """Return the command of this name, or of the group and name."""
    context, (name, *rest) = click.Context(cli), path.split()
    command = cli.get_command(context, name)
    return command.get_command(context, rest[0]) if rest and isinstance(command, click.Group) else command


def test_what_others_have_is_somewhere() -> None:
    for words, meant in foreign.COMMANDS.items():
        assert meant == "--help" or found(meant) is not None, meant
        assert found(words) is None, f"'{words}' is a command here"
    for words in foreign.WITHOUT:
        assert found(words) is None, f"'{words}' is a command here"


def test_options_of_others_are_not_ours_and_those_they_are_told_of_are() -> None:
    ours = {word for _, command in leaf_commands() for option in command.params for word in option.opts}
    for commands, about in foreign.OPTIONS.items():
        for name in commands:
            command = found(name)
            assert command is not None
            for option, sentence in about.items():
                assert option not in {word for parameter in command.params for word in parameter.opts}, (name, option)
                assert set(re.findall(r"(?<!\S)'?(--?[a-z0-9-]+)", sentence)) <= ours, sentence
    for sentence in (
        *foreign.WITHOUT.values(),
        *(each for about in foreign.OPTIONS.values() for each in about.values()),
    ):
        for path in re.findall(r"'pycontainer ([a-z]+(?: [a-z]+)?)", sentence):
            assert found(path) is not None, sentence


@pytest.mark.parametrize("group", ["image", "volume", "network", "tenant"])
def test_aliases_in_a_group(group: str) -> None:
    command = cli.get_command(click.Context(cli), group)
    assert isinstance(command, click.Group)
    context = click.Context(command)
    for alias, verb in {"ls": "list", "remove": "rm", "delete": "rm"}.items():
        assert command.get_command(context, alias) is command.commands[verb]


@pytest.mark.parametrize(
    ("words", "guess", "group"),
    [
        (("rnu",), ", did you mean 'run'?", ""),
        (("rmi",), ", did you mean 'image rm'?", ""),
        (("xyzzy",), "", ""),
        (("network", "lst"), ", did you mean 'list'?", " network"),
        (("image", "prnue"), ", did you mean 'prune'?", " image"),
        (("resume",), ", did you mean 'unpause'?", ""),
        (("console",), ", did you mean 'attach'?", ""),
        (("network", "prune"), ", did you mean 'network rm'?", " network"),
        (("system", "info"), ", did you mean 'info'?", " system"),
        (("help",), ", did you mean '--help'?", ""),
    ],
)
def test_mistyped_command(words: tuple[str, ...], guess: str, group: str) -> None:
    assert pycontainer(*words) == (
        2, "", f"pycontainer: no such command '{words[-1]}'{guess}\nhint: see 'pycontainer{group} --help'\n",
    )  # fmt: skip


@pytest.mark.parametrize("command", ["run", "exec", "enter", "attach"])
def test_what_ends_as_its_workload_does_has_a_code_of_its_own_for_us(command: str) -> None:
    code, out, err = pycontainer(command, "--no-such-option", "x")
    assert (code, out) == (125, "")
    assert err.startswith("pycontainer: no such option") and err.endswith(f"hint: see 'pycontainer {command} --help'\n")


@pytest.mark.parametrize(
    ("words", "expected", "of"),
    [
        (("run", "-e"), 125, "run"),
        (("exec", "-e"), 125, "exec"),
        (("ps", "--filter"), 2, "ps"),
        (("volume", "create", "--size"), 2, "volume create"),
    ],
)
def test_an_option_without_its_value(words: tuple[str, ...], expected: int, of: str) -> None:
    code, out, err = pycontainer(*words)
    assert (code, out, err) == (
        expected, "", f"pycontainer: option '{words[-1]}' requires an argument\nhint: see 'pycontainer {of} --help'\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "option", "hint"),
    [
        (("run", "--gpus", "all", "x"), 125, "'--gpus'", "name the device nodes of a GPU with --device"),
        (("run", "-P", "x"), 125, "'-P'", "publish each port with -p, like -p 8080:80"),
        (("create", "--pid=host", "x"), 2, "'--pid'", "every container has its own, which none shares"),
        (
            ("update", "--cpu-quota", "5", "x"),
            2,
            "'--cpu-quota'",
            "--cpus caps CPU time, like --cpus 0.5 for half a CPU",
        ),
        (("volume", "create", "-o", "x"), 2, "'-o'", "--size and --inodes are what can be said"),
        (("run", "--mac-adress", "x"), 125, "'--mac-adress'", "see 'pycontainer run --help'"),
        (("run", "--memroy", "x"), 125, "'--memroy', did you mean '--memory'?", "see 'pycontainer run --help'"),
    ],
)
def test_options_of_others(words: tuple[str, ...], code: int, option: str, hint: str) -> None:
    assert pycontainer(*words) == (code, "", f"pycontainer: no such option {option}\nhint: {hint}\n")


def test_words_that_nothing_here_does() -> None:
    assert pycontainer("search", "nginx") == (
        2, "", f"pycontainer: no such command 'search'\nhint: {foreign.WITHOUT['search']}\n",
    )  # fmt: skip


def test_words_of_others_that_mean_the_same() -> None:
    spec = {"networks": ["a", "host"], "image": "busybox"}
    with FakeSupervisor({"list": lambda exchange: [], "run": lambda exchange: container_info()}) as fake:
        assert pycontainer("container", "ls", "-q", root=fake.root) == (0, "", "")
        assert pycontainer("run", "-d", "--net", "host", "--network", "a", "busybox", root=fake.root)[0] == 0
        assert fake.requests == [("list", {"all": False, "filters": {}}), ("run", {"spec": spec})]
    assert pycontainer("-v") == (0, "pycontainer 0.1.0\n", "")
    assert pycontainer("ps", "-h") == pycontainer("ps", "--help")


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("ps",), "ps --format json | jq -r '.[].name'"),
        (("image", "ls"), "image list --format json | jq -r '.[].name'"),
        (("stats",), "stats --no-stream --format json | jq -r '.[].cpu_percent'"),
        (("inspect", "web"), "inspect NAME | jq -r '.[].status'"),
        (("check",), "check --format json | jq -r '.'"),
    ],
)
def test_templates(words: tuple[str, ...], instead: str) -> None:
    code, out, err = pycontainer(*words, "--format", "{{.Names}}")
    assert (code, out) == (2, "")
    assert err.endswith(f"\nhint: there are no templates here; pick with jq: pycontainer {instead}\n")


def test_inspect_shows_what_there_is() -> None:
    def inspect(exchange: Exchange) -> object:
        if exchange.args["container"] == "gone":
            raise NotFound("no container 'gone'")
        return container_info()

    with FakeSupervisor({"inspect": inspect}) as fake:
        code, out, err = pycontainer("inspect", "-f", "json", "gone", "web", root=fake.root)
        assert (code, [each["name"] for each in json.loads(out)], err) == (
            3,
            ["web"],
            "pycontainer: no container 'gone'\n",
        )
        assert pycontainer("inspect", "gone", root=fake.root) == (3, "", "pycontainer: no container 'gone'\n")


def test_letters_that_people_are_used_to() -> None:
    pruned = {"containers": [], "images": [], "volumes": [], "leftovers": [], "removed": [], "freed_bytes": 0}
    verbs: dict[str, Verb] = {
        "list": lambda exchange: [],
        "system_prune": lambda exchange: pruned,
        "volume_prune": lambda exchange: pruned,
        "image_prune": lambda exchange: [],
    }
    with FakeSupervisor(verbs) as fake:
        assert pycontainer("ps", "-q", "-f", "name=web", root=fake.root) == (0, "", "")
        assert fake.requests == [("list", {"all": False, "filters": {"name": ["web"]}})]
        for words in (("system", "prune", "-f"), ("volume", "prune", "-f")):
            assert pycontainer(*words, root=fake.root) == (0, "freed: 0B\n", "")
        assert pycontainer("image", "prune", "-f", root=fake.root) == (0, "", "")


def test_what_is_not_in_our_environment_is_not_in_the_container() -> None:
    with FakeSupervisor({"run": lambda exchange: container_info()}) as fake:
        assert pycontainer("run", "-d", "-e", "PCT_NOT_SET", "busybox", root=fake.root)[0] == 0
        assert fake.requests == [("run", {"spec": {"image": "busybox"}})]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("stop", "-t", "abc", "web"),
         "invalid value for '-t' / '--time' / '--timeout': 'abc' is not a valid number of seconds",
         "see 'pycontainer stop --help'"),
        (("update", "web"), "there is nothing to change",
         "give a limit, like --memory 300M; 'pycontainer set --help' has them all"),
        (("tenant", "set", "acme"), "there is nothing to change",
         "give a limit, like --memory 300M; 'pycontainer tenant set --help' has them all"),
        (("port", "web", "x"), "'x' is not a port", "write a number, like 80, or 53/udp"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(words: tuple[str, ...], message: str, hint: str) -> None:
    assert pycontainer(*words) == (2, "", f"pycontainer: {message}\nhint: {hint}\n")


def test_a_group_alone_shows_what_is_in_it() -> None:
    code, out, err = pycontainer("volume")
    assert (code, out) == (2, "")
    assert err.startswith("Usage: pycontainer volume [OPTIONS] COMMAND") and "\n  create " in err


def test_mistyped_option() -> None:
    code, out, err = pycontainer("ps", "--al")
    assert (code, out) == (2, "")
    assert err.startswith("pycontainer: no such option") and "--al" in err
    assert err.endswith("hint: see 'pycontainer ps --help'\n")


def test_version_without_a_supervisor(tmp_path: object) -> None:
    assert pycontainer("version", root=f"{tmp_path}/w") == (0, "pycontainer 0.1.0\nsupervisor not running\n", "")
    assert not os.path.exists(f"{tmp_path}/w")


def test_ps() -> None:
    def listed(exchange: Exchange) -> object:
        return [
            container_info(
                ports=[{"host_ip": "", "host_port": 8080, "container_port": 80, "protocol": "tcp"}], health="unhealthy"
            ),
            container_info(
                id="ba9876543210",
                name="bad\x1b[2J",
                status="stopped",
                exit_code=137,
                finished=3.0,
                oom_killed=True,
                command=["a" * 30],
                networks={},
                loosened=["--cap-add NET_ADMIN"],
            ),  # fmt: skip
        ]

    with FakeSupervisor({"list": listed}) as fake:
        code, out, err = pycontainer("ps", "-a", "--filter", "label=a=b", "--filter", "label=c", root=fake.root)
        assert (code, err) == (0, "")
        assert fake.requests == [("list", {"all": True, "filters": {"label": ["a=b", "c"]}})]
        lines = out.split("\n")
        assert lines[0].split() == ["CONTAINER", "ID", "NAME", "IMAGE", "COMMAND", "STATUS", "PROFILE", "PORTS", "IP"]
        assert "   app       8080->80/tcp   10.88.0.2, fd00::2" in lines[1]
        assert " (unhealthy)   " in lines[1]
        assert "   app !" in lines[2]
        assert (
            "bad\\x1b[2J" in lines[2]
            and "Exited (137, out of memory)" in lines[2]
            and " " + "a" * 25 + "..." in lines[2]
        )
        assert pycontainer("ps", "-q", root=fake.root)[1] == "0123456789ab\nba9876543210\n"
        assert json.loads(pycontainer("ls", "--format", "json", root=fake.root)[1])[0]["name"] == "web"


def test_wrong_filter(tmp_path: object) -> None:
    code, _, err = pycontainer("ps", "--filter", "running", root=f"{tmp_path}/w")
    assert (code, err) == (
        2, "pycontainer: 'running' is no filter\nhint: write KEY=VALUE, like status=stopped\n",
    )  # fmt: skip


def test_run_reports_our_faults_as_125() -> None:
    def unknown(exchange: Exchange) -> object:
        raise NotFound("no image 'nginxx'", hint="see 'pycontainer image list'")

    with FakeSupervisor({"run": unknown}) as fake:
        code, out, err = pycontainer("run", "-d", "-m", "1G", "nginxx", "-x", root=fake.root)
    assert (code, out, err) == (125, "", "pycontainer: no image 'nginxx'\nhint: see 'pycontainer image list'\n")
    assert fake.requests == [("run", {"spec": {"memory": "1G", "image": "nginxx", "command": ["-x"]}})]


def test_run_detached_prints_the_id_and_warnings() -> None:
    with FakeSupervisor({"run": lambda exchange: container_info(warnings=["no swap limit"])}) as fake:
        assert pycontainer("run", "-d", "busybox", root=fake.root) == (
            0, "0123456789ab\n", "pycontainer: warning: no swap limit\n",
        )  # fmt: skip


def test_terminal_without_a_terminal() -> None:
    code, out, err = pycontainer("run", "-it", "busybox", root="/nonexistent")
    assert (code, out, err) == (125, "", "pycontainer: standard input is not a terminal\nhint: leave out -t\n")


def test_stop_goes_on_after_an_error() -> None:
    def inspect(exchange: Exchange) -> object:
        if exchange.args["container"] == "gone":
            raise NotFound("no container 'gone'")
        return container_info()

    with FakeSupervisor({"inspect": inspect, "stop": lambda exchange: container_info()}) as fake:
        assert pycontainer("stop", "-t", "3", "gone", "web", root=fake.root) == (
            3, "web\n", "pycontainer: no container 'gone'\n",
        )  # fmt: skip
        assert fake.requests[-1] == ("stop", {"container": "0123456789ab", "timeout_seconds": 3.0})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    code, out, err = pycontainer("completion", shell)
    assert (code, err) == (0, "")
    assert "_PYCONTAINER_COMPLETE" in out


def test_completion_offers_container_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PYCONTAINER_COMPLETE", "bash_complete")
    with FakeSupervisor({"list": lambda exchange: [container_info(), container_info(name="db")]}) as fake:
        monkeypatch.setenv("COMP_WORDS", "pycontainer stop w")
        monkeypatch.setenv("COMP_CWORD", "2")
        assert pycontainer(root=fake.root) == (0, "plain,web\n", "")


def test_completion_is_silent_after_what_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PYCONTAINER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "pycontainer search zz")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert pycontainer() == (0, "\n", "")


def test_completion_is_silent_without_a_supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("_PYCONTAINER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "pycontainer stop ")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert pycontainer(root=f"{tmp_path}/w") == (0, "\n", "")


def test_oci_is_the_other_program(tmp_path: Path) -> None:
    """Options are handed on as they are, `--help` too; a world of its own has its own containers."""
    assert pycontainer("oci", "list", "--format", "json", root=f"{tmp_path}/w") == (0, "null\n", "")
    code, out, err = pycontainer("oci", "--help")
    assert (code, err) == (0, "") and out.startswith("usage: pycontainer-oci [OPTIONS] COMMAND")
    claimed = tmp_path / "w/run/oci/web"
    claimed.mkdir(parents=True)
    assert pycontainer("oci", "state", "web", root=f"{tmp_path}/w") == (
        1, "", "pycontainer-oci: container does not exist\n",
    )  # fmt: skip
    assert pycontainer("oci", "delete", "web", root=f"{tmp_path}/w") == (0, "", "")
    assert not claimed.exists()
