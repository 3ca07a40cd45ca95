"""The command line as engines write it (shared notes, "Command lines seen"), and what is wrong with others."""

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.oci.arguments import FLAG, GLOBAL_OPTIONS, NUMBERS, TEXTS, VERBS, Options, help_text, parse


def parsed(*words: str) -> Options:
    return parse(list(words), "pycontainer-oci")


def refused(*words: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        parsed(*words)
    return caught.value.message


def test_containerd_creates() -> None:
    options = parsed(
        "--root", "/run/r", "--log", "/b/log.json", "--log-format", "json", "--systemd-cgroup",
        "create", "--bundle", "/b", "--pid-file", "/b/init.pid", "--console-socket", "/tmp/s", "web",
    )  # fmt: skip
    assert (options.root, options.log, options.log_format, options.systemd_cgroup) == (
        "/run/r", "/b/log.json", "json", True,
    )  # fmt: skip
    assert (options.verb, options.id, options.words) == ("create", "web", [])
    assert (options.bundle, options.pid_file, options.console_socket) == ("/b", "/b/init.pid", "/tmp/s")
    assert (options.no_pivot, options.no_new_keyring, options.preserve_fds) == (False, False, 0)


@pytest.mark.parametrize(
    ("words", "verb", "expected"),
    [
        (("kill", "web", "15"), "kill", {"id": "web", "words": ["15"], "all": False}),
        (("kill", "--all", "web", "9"), "kill", {"id": "web", "words": ["9"], "all": True}),
        (("kill", "web", "--all"), "kill", {"words": [], "all": True}),
        (("kill", "web", "9", "-a"), "kill", {"words": ["9"], "all": True}),
        (("delete", "--force", "web"), "delete", {"force": True}),
        (("delete", "-force", "web"), "delete", {"force": True}),
        (("delete", "--force=false", "web"), "delete", {"force": False}),
        (("update", "--resources", "-", "web"), "update", {"resources": "-", "id": "web"}),
        (("update", "--resources=/f", "web"), "update", {"resources": "/f"}),
        (("update", "-r", "-", "web"), "update", {"resources": "-"}),
        (("update", "--memory-swap", "-1", "web"), "update", {"memory_swap": "-1", "cpu_quota": None}),
        (("update", "web", "--pids-limit", "-1"), "update", {"pids_limit": -1}),
        (("ps", "--format", "json", "web"), "ps", {"format": "json", "words": []}),
        (("ps", "web", "-o", "pid,comm"), "ps", {"words": ["-o", "pid,comm"], "format": "table"}),
        (("list", "-q", "-f", "json"), "list", {"quiet": True, "format": "json", "id": ""}),
        (("run", "-d", "-b", "/b", "--keep", "web"), "run", {"detach": True, "bundle": "/b", "keep": True}),
        (("events", "--interval", "1s", "--stats", "web"), "events", {"interval": "1s", "stats": True}),
        (("state", "--", "-web"), "state", {"id": "-web"}),
        (("state", "a", "--root", "/x"), "state", None),
        (("checkpoint", "--image-path", "/i", "--work-path", "/w", "web"), "checkpoint", {"image_path": "/i"}),
        (("--rootless=true", "state", "web"), "state", {"rootless": "true"}),
        (("--root", "/a", "--root", "/b", "state", "web"), "state", {"root": "/b"}),
    ],
)
def test_a_command_line(words: tuple[str, ...], verb: str, expected: dict[str, object] | None) -> None:
    if expected is None:  # global options stand before the verb alone
        assert refused(*words) == "unknown flag '--root'"
        return
    options = parsed(*words)
    assert options.verb == verb
    assert {name: getattr(options, name) for name in expected} == expected


def test_exec_takes_all_behind_the_id_for_the_command() -> None:
    options = parsed(
        "exec", "-t", "-e", "A=1", "--env=B=2", "-g", "5", "-g", "6", "-c", "CAP_KILL", "web", "ls", "-d", "--"
    )
    assert (options.id, options.words) == ("web", ["ls", "-d", "--"])
    assert (options.tty, options.detach) == (True, False)
    assert (options.env, options.additional_gids, options.cap) == (["A=1", "B=2"], [5, 6], ["CAP_KILL"])


def test_podman_executes() -> None:
    options = parsed(
        "exec", "--pid-file", "/p", "--process", "/j", "--detach", "--tty", "--console-socket", "/s", "web"
    )
    assert (options.process, options.detach, options.tty, options.words) == ("/j", True, True, [])


def test_lists_are_not_shared() -> None:
    """Two command lines in one process, as in tests, do not add up."""
    assert parsed("exec", "-e", "A=1", "web").env == ["A=1"]
    assert parsed("exec", "-e", "B=1", "web").env == ["B=1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bogus", "state", "web"), "unknown flag '--bogus'"),
        (("--bogus=1", "state", "web"), "unknown flag '--bogus'"),
        (("state", "--bogus", "web"), "unknown flag '--bogus'"),
        (("state", "web", "--bogus"), "unknown flag '--bogus'"),
        (("kill", "web", "-9"), "unknown flag '-9'"),
        (("state", "-", "web"), "'state' has no use for 'web'"),
        (("state",), "'state' needs a container id"),
        (("list", "web"), "'list' has no use for 'web'"),
        (("kill", "a", "b", "c"), "'kill' has no use for 'c'"),
        (("create", "web", "--bundle"), "flag '--bundle' needs a value"),
        (("create", "--preserve-fds", "x", "web"), "flag '--preserve-fds' is a whole number, not 'x'"),
        (("create", "--preserve-fds", "1_0", "web"), "flag '--preserve-fds' is a whole number, not '1_0'"),
        (("create", "--preserve-fds", "\u0661", "web"), "flag '--preserve-fds' is a whole number, not '\u0661'"),
        (("create", "--preserve-fds=", "web"), "flag '--preserve-fds' is a whole number, not ''"),
        (("update", "--cpu-quota", "9" * 19, "web"), f"flag '--cpu-quota' is a whole number, not '{'9' * 19}'"),
        (("delete", "--force=maybe", "web"), "flag '--force' is true or false, not 'maybe'"),
        (("rnu", "web"), "unknown command 'rnu'"),
        (("--log-format", "yaml", "list"), "invalid log-format: yaml"),
        (("--=x", "list"), "unknown flag '--'"),
    ],
)
def test_a_wrong_command_line(words: tuple[str, ...], message: str) -> None:
    assert refused(*words) == message


@pytest.mark.parametrize(
    ("words", "verb"),
    [(("--help",), ""), (("-h",), ""), (("help",), ""), (("help", "run"), "run"), (("checkpoint", "--help"), "checkpoint"),
     (("create", "-h"), "create"), (("create", "web", "--help"), "create")],
)  # fmt: skip
def test_help_is_asked_for(words: tuple[str, ...], verb: str) -> None:
    options = parsed(*words)
    assert (options.help, options.verb) == (True, verb)


def test_nothing_asked_for() -> None:
    assert (parsed().verb, parsed().help, parsed("-v").version) == ("", False, True)


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_is_whole(verb: str) -> None:
    """Every option has an attribute that type checkers know, one name, and help; none has that of a global one's value."""
    options = VERBS[verb].options
    names = [name for option in (*options, GLOBAL_OPTIONS[-2]) for name in (option.name, option.short) if name]
    assert len(names) == len(set(names))
    for option in options:
        assert option.help and (option.kind == FLAG) != bool(option.metavar)
        known = "list" if option.kind in (TEXTS, NUMBERS) else ""
        if verb not in ("checkpoint", "restore"):  # nobody reads theirs
            assert known in str(Options.__annotations__[option.attribute])
    assert f"usage: pycontainer-oci {verb} [OPTIONS]" in help_text("pycontainer-oci", verb)


def test_checkpoint_says_that_it_is_unsupported() -> None:
    assert "This version can neither checkpoint nor restore" in help_text("x", "checkpoint")
    assert "unsupported" in help_text("x", "")
