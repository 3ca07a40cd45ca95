"""The command line: global options, a verb, its options and words, in the manner that engines know from runc.

    pycontainer-oci [GLOBAL OPTIONS] VERB [OPTIONS] ID [WORDS]

One dash is as good as two, a value follows after `=` or as the next word, whatever that begins with, and the last of
several wins. Options may stand behind the id as well, but for `exec` and `ps`, where all behind it belongs to the
command. `--` ends the options. A flag that is unknown is named: engines try out what a runtime can do.
"""

from __future__ import annotations

from pycontainer.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FLAG, TEXT, TEXTS, NUMBER, NUMBERS = range(5)
_TRUE = ("1", "t", "T", "true", "TRUE", "True")  # Go's strconv.ParseBool
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
MAX_NUMBER = 2**63 - 1


class Option:
    """One option: `--name`, `-short`, what kind of value it has, and how help speaks of it."""

    __slots__ = ("default", "help", "kind", "metavar", "name", "short")

    def __init__(
        self, name: str, kind: int, text: str, *, short: str = "", metavar: str = "", default: object = None
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.help = text
        self.metavar = metavar
        if default is None:
            default = {FLAG: False, TEXT: "", NUMBER: None}.get(kind)
        self.default = default

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")


class Verb:
    """What a verb is for, its options, and its words: how help writes them, and how few and how many there may be."""

    __slots__ = ("least", "most", "notes", "options", "stops_at_words", "summary", "words")

    def __init__(
        self,
        summary: str,
        options: tuple[Option, ...] = (),
        *,
        words: str = "ID",
        least: int = 1,
        most: int | None = 1,
        stops_at_words: bool = False,
        notes: str = "",
    ) -> None:
        self.summary = summary
        self.options = options
        self.words = words
        self.least = least
        self.most = most
        self.stops_at_words = stops_at_words
        self.notes = notes


class Options:
    """What the caller wrote; an option's attribute is its name with `_` for `-`, and exists for the verbs that have it.

    Text that was not given is "", a number None, a list []. `id` is the first word (but of `list`, `features` and
    `spec`, where there is none), `words` are the others: the signal of `kill`, the command of `exec`.
    """

    program: str  # the name we were called by
    verb: str
    help: bool
    version: bool
    id: str
    words: list[str]
    root: str
    log: str
    log_format: str
    debug: bool
    systemd_cgroup: bool
    rootless: str | bool  # global: true, false or auto; of `spec`: a flag
    bundle: str
    console_socket: str
    pid_file: str
    no_pivot: bool
    no_new_keyring: bool
    no_subreaper: bool
    keep: bool
    preserve_fds: int
    detach: bool
    process: str
    tty: bool
    cwd: str
    env: list[str]
    user: str
    additional_gids: list[int]
    cap: list[str]
    apparmor: str
    process_label: str
    no_new_privs: bool
    cgroup: list[str]
    ignore_paused: bool
    all: bool
    force: bool
    format: str
    quiet: bool
    stats: bool
    interval: str
    resources: str
    memory: str
    memory_reservation: str
    memory_swap: str
    cpu_quota: int | None
    cpu_period: int | None
    cpu_share: int | None
    cpu_burst: int | None
    cpu_idle: int | None
    cpu_rt_period: int | None
    cpu_rt_runtime: int | None
    cpuset_cpus: str
    cpuset_mems: str
    pids_limit: int | None
    blkio_weight: int | None


GLOBAL_OPTIONS = (
    Option("root", TEXT, "where containers are recorded; on a tmpfs", metavar="DIR"),
    Option("log", TEXT, "append errors to this file, besides standard error", metavar="FILE"),
    Option("log-format", TEXT, "text or json", metavar="FORMAT", default="text"),
    Option("debug", FLAG, "tell what is done; show tracebacks"),
    Option("systemd-cgroup", FLAG, "have systemd make the cgroups; cgroupsPath is SLICE:PREFIX:NAME"),
    Option("rootless", TEXT, "go on without cgroups that we may not make: true, false or auto", metavar="WHETHER",
           default="auto"),
    Option("help", FLAG, "show this", short="h"),
    Option("version", FLAG, "show the versions", short="v"),
)  # fmt: skip

_BUNDLE = Option("bundle", TEXT, "the bundle (default: the current directory)", short="b", metavar="DIR")
_CONSOLE = Option("console-socket", TEXT, "socket that gets the master of the terminal", metavar="SOCKET")
_PID_FILE = Option("pid-file", TEXT, "write the host's pid of the process here", metavar="FILE")
_PRESERVE = Option("preserve-fds", NUMBER, "hand on N descriptors from 3 on", metavar="N", default=0)
_DETACH = Option("detach", FLAG, "do not wait for the process", short="d")
_CREATE = (
    _BUNDLE,
    _CONSOLE,
    _PID_FILE,
    Option("no-pivot", FLAG, "move the root instead of pivot_root, for a root file system in memory (unsafe)"),
    Option("no-new-keyring", FLAG, "keep the session keyring of the caller"),
    _PRESERVE,
)
_FORMAT = Option("format", TEXT, "table or json", short="f", metavar="FORMAT", default="table")
_UNSUPPORTED = "This version can neither checkpoint nor restore: the command ends with an error."

VERBS: dict[str, Verb] = {
    "create": Verb("create a container, and leave its process waiting for 'start'", _CREATE),
    "start": Verb("let the process of a created container begin"),
    "run": Verb(
        "create a container, start it, and wait for its end",
        (
            *_CREATE,
            _DETACH,
            Option("keep", FLAG, "do not delete the container when its process ends"),
            Option("no-subreaper", FLAG, "do not adopt orphans of the container"),
        ),
    ),
    "state": Verb("show the state of a container as JSON"),
    "kill": Verb(
        "send a signal to a container's first process (default: TERM)",
        (Option("all", FLAG, "to all of its processes, also when the first has ended", short="a"),),
        words="ID [SIGNAL]",
        most=2,
    ),
    "delete": Verb(
        "remove what a stopped container holds",
        (Option("force", FLAG, "kill it first; that there is none is fine", short="f"),),
    ),
    "list": Verb(
        "list the containers beneath the root directory",
        (_FORMAT, Option("quiet", FLAG, "ids alone", short="q")),
        words="",
        least=0,
        most=0,
    ),
    "ps": Verb(
        "list a container's processes, by the host's pids",
        (_FORMAT,),
        words="ID [OPTIONS OF PS]",
        most=None,
        stops_at_words=True,
    ),
    "exec": Verb(
        "run another process in a container",
        (
            _CONSOLE,
            Option("cwd", TEXT, "where it starts", metavar="DIR"),
            Option("env", TEXTS, "NAME=VALUE, beside the container's", short="e", metavar="NAME=VALUE"),
            Option("tty", FLAG, "with a terminal of its own", short="t"),
            Option("user", TEXT, "user and group, as numbers", short="u", metavar="UID[:GID]"),
            Option("additional-gids", NUMBERS, "a further group", short="g", metavar="GID"),
            Option("process", TEXT, "all of it from this file", short="p", metavar="FILE"),
            _DETACH,
            _PID_FILE,
            Option("process-label", TEXT, "SELinux label", metavar="LABEL"),
            Option("apparmor", TEXT, "AppArmor profile", metavar="PROFILE"),
            Option("no-new-privs", FLAG, "gain nothing from setuid programs"),
            Option("cap", TEXTS, "a further capability", short="c", metavar="CAPABILITY"),
            _PRESERVE,
            Option("cgroup", TEXTS, "a cgroup below the container's", metavar="[CONTROLLER:]PATH"),
            Option("ignore-paused", FLAG, "also in a paused container; begins when that is resumed"),
        ),
        words="ID COMMAND [ARGUMENTS] | --process FILE ID",
        most=None,
        stops_at_words=True,
    ),
    "pause": Verb("freeze all processes of a container"),
    "resume": Verb("let the processes of a paused container go on"),
    "update": Verb(
        "change the limits of a container while it runs",
        (
            Option("resources", TEXT, "`linux.resources` as JSON; '-' is standard input; no other option counts then",
                   short="r", metavar="FILE"),
            Option("memory", TEXT, "bytes, or with k, m, g", metavar="SIZE"),
            Option("memory-reservation", TEXT, "kept under pressure", metavar="SIZE"),
            Option("memory-swap", TEXT, "memory and swap together; -1: unlimited", metavar="SIZE"),
            Option("cpu-quota", NUMBER, "microseconds for each period", metavar="USEC"),
            Option("cpu-period", NUMBER, "microseconds", metavar="USEC"),
            Option("cpu-share", NUMBER, "relative weight, 1024 being the usual", metavar="N"),
            Option("cpu-burst", NUMBER, "microseconds of quota that may be saved up", metavar="USEC"),
            Option("cpu-idle", NUMBER, "1: only what nobody else wants", metavar="N"),
            Option("cpu-rt-period", NUMBER, "of real-time processes, microseconds", metavar="USEC"),
            Option("cpu-rt-runtime", NUMBER, "of real-time processes, microseconds", metavar="USEC"),
            Option("cpuset-cpus", TEXT, "such as 0-3,8", metavar="LIST"),
            Option("cpuset-mems", TEXT, "memory nodes", metavar="LIST"),
            Option("pids-limit", NUMBER, "processes and threads; -1: unlimited", metavar="N"),
            Option("blkio-weight", NUMBER, "10 to 1000", metavar="N"),
        ),
    ),
    "events": Verb(
        "print the use of resources, and each kill for want of memory, one JSON object a line",
        (
            Option("interval", TEXT, "how often, such as 500ms, 5s, 1m", metavar="DURATION", default="5s"),
            Option("stats", FLAG, "once, and end"),
        ),
    ),
    "features": Verb("show what this runtime can do, as JSON", words="", least=0, most=0),
    "spec": Verb(
        "write a config.json to begin with",
        (_BUNDLE, Option("rootless", FLAG, "for a user without rights")),
        words="",
        least=0,
        most=0,
    ),
    "checkpoint": Verb(
        "unsupported: save the processes of a container",
        (
            Option("image-path", TEXT, "where to", metavar="DIR"),
            Option("work-path", TEXT, "for logs", metavar="DIR"),
            Option("parent-path", TEXT, "of the dump before", metavar="DIR"),
            Option("leave-running", FLAG, "go on afterwards"),
            Option("tcp-established", FLAG, "with open connections"),
            Option("ext-unix-sk", FLAG, "with sockets to the outside"),
            Option("shell-job", FLAG, "with a terminal of the caller"),
            Option("lazy-pages", FLAG, "memory on demand"),
            Option("file-locks", FLAG, "with locks of files"),
            Option("pre-dump", FLAG, "memory alone"),
            Option("manage-cgroups-mode", TEXT, "soft, full or strict", metavar="MODE"),
        ),
        notes=_UNSUPPORTED,
    ),
    "restore": Verb(
        "unsupported: go on from a checkpoint",
        (
            *_CREATE,
            _DETACH,
            Option("image-path", TEXT, "where from", metavar="DIR"),
            Option("work-path", TEXT, "for logs", metavar="DIR"),
            Option("tcp-established", FLAG, "with open connections"),
            Option("ext-unix-sk", FLAG, "with sockets to the outside"),
            Option("shell-job", FLAG, "with a terminal of the caller"),
            Option("file-locks", FLAG, "with locks of files"),
            Option("no-subreaper", FLAG, "do not adopt orphans of the container"),
            Option("manage-cgroups-mode", TEXT, "soft, full or strict", metavar="MODE"),
        ),
        notes=_UNSUPPORTED,
    ),
}  # fmt: skip


def parse(words: list[str], program: str) -> Options:
    """Return what `words` (without the program's name) ask for; InvalidInput names what is wrong.

    `verb` is empty if none was given; with `help`, the verb's words were not checked.
    """
    options = Options()
    options.program = program
    options.verb = ""
    options.help = False
    _defaults(options, GLOBAL_OPTIONS)
    rest = _take(options, words, GLOBAL_OPTIONS, program, stops_at_words=True)
    if rest and rest[0] in ("help", "h"):
        options.help = True
        rest = rest[1:2]
    if not rest:
        return options
    verb = VERBS.get(rest[0])
    if verb is None:
        raise InvalidInput(f"unknown command '{rest[0]}'", hint=f"see '{program} --help'")
    options.verb = rest[0]
    _defaults(options, verb.options)
    context = f"{program} {options.verb}"
    options.words = _take(
        options, rest[1:], (*verb.options, GLOBAL_OPTIONS[-2]), context, stops_at_words=verb.stops_at_words
    )
    if not options.help:
        _check_count(options, verb, context)
    options.id = options.words.pop(0) if verb.least and options.words else ""
    if options.log_format not in ("text", "json"):
        raise InvalidInput(f"invalid log-format: {options.log_format}", hint="write text or json")
    return options


def _defaults(options: Options, known: tuple[Option, ...]) -> None:
    for option in known:
        setattr(options, option.attribute, [] if option.kind in (TEXTS, NUMBERS) else option.default)


def _take(
    options: Options, words: list[str], known: tuple[Option, ...], context: str, *, stops_at_words: bool
) -> list[str]:
    """Set what the options among `words` say, and return the words that are none."""
    left: list[str] = []
    waiting: Iterator[str] = iter(words)
    for word in waiting:
        if word == "--":
            return [*left, *waiting]
        if len(word) < 2 or word[0] != "-":
            left.append(word)
            if stops_at_words:
                return [*left, *waiting]
            continue
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        option = _find(known, name)
        if option is None:
            raise InvalidInput(f"unknown flag '{word.partition('=')[0]}'", hint=f"see '{context} --help'")
        if not equals and option.kind != FLAG:
            following = next(waiting, None)
            if following is None:
                raise InvalidInput(f"flag '{word}' needs a value", hint=f"see '{context} --help'")
            value = following
        _set(options, option, value if equals or option.kind != FLAG else "true")
    return left


def _find(known: tuple[Option, ...], name: str) -> Option | None:
    for option in known:
        if name and name in (option.name, option.short):
            return option
    return None


def _set(options: Options, option: Option, value: str) -> None:
    if option.kind == TEXT:
        setattr(options, option.attribute, value)
    elif option.kind == TEXTS:
        getattr(options, option.attribute).append(value)
    elif option.kind == NUMBER:
        setattr(options, option.attribute, _number(option, value))
    elif option.kind == NUMBERS:
        getattr(options, option.attribute).append(_number(option, value))
    elif value in _TRUE or value in _FALSE:
        setattr(options, option.attribute, value in _TRUE)
    else:
        raise InvalidInput(f"flag '--{option.name}' is true or false, not '{value}'")


def _number(option: Option, value: str) -> int:
    digits = value[1:] if value.startswith("-") else value
    # int() would take blanks, underscores and digits of other scripts
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19 or int(digits) > MAX_NUMBER:
        raise InvalidInput(f"flag '--{option.name}' is a whole number, not '{value}'")
    return int(value)


def _check_count(options: Options, verb: Verb, context: str) -> None:
    hint = f"see '{context} --help'"
    if len(options.words) < verb.least:
        raise InvalidInput(f"'{options.verb}' needs a container id", hint=hint)
    if verb.most is not None and len(options.words) > verb.most:
        raise InvalidInput(f"'{options.verb}' has no use for '{options.words[verb.most]}'", hint=hint)


def help_text(program: str, verb_name: str) -> str:
    """Return the help of the program, or of one verb."""
    if not verb_name:
        width = max(len(name) for name in VERBS)
        rows = "".join(f"  {name:{width}}  {verb.summary}\n" for name, verb in VERBS.items())
        return (
            f"usage: {program} [OPTIONS] COMMAND [...]\n\nAn OCI runtime: what container engines call, one short-lived "
            f"process for each command.\n\nCommands:\n{rows}\nOptions:\n{_option_rows(GLOBAL_OPTIONS)}\n"
            f"'{program} COMMAND --help' tells more.\n"
        )
    verb = VERBS[verb_name]
    words = f" {verb.words}" if verb.words else ""
    notes = f"\n{verb.notes}\n" if verb.notes else ""
    rows = _option_rows((*verb.options, GLOBAL_OPTIONS[-2]))
    return f"usage: {program} {verb_name} [OPTIONS]{words}\n\n{verb.summary}\n{notes}\nOptions:\n{rows}"


def _option_rows(options: tuple[Option, ...]) -> str:
    spelled = []
    for option in options:
        short = f", -{option.short}" if option.short else ""
        spelled.append(f"--{option.name}{short}{f' {option.metavar}' if option.metavar else ''}")
    width = max(map(len, spelled))
    return "".join(f"  {left:{width}}  {option.help}\n" for left, option in zip(spelled, options, strict=True))
