"""Words that people bring from Docker, Podman, LXC, OpenVZ and systemd, and what to type, or to know, here.

What means the same is taken as it is: `aliases` of group.py, aliases.py. Here are the rest: a word, and the answer to it.
"""

from collections.abc import Iterable

from pycontainer.errors import did_you_mean

_NEAR = 0.65  # `rnu` is near to `run`, `--mac-address` not to `--cpu-shares`

# what was typed: the command that does it here
COMMANDS = {
    "images": "image list", "rmi": "image rm", "pull": "image pull", "push": "image push", "load": "image load",
    "save": "image save", "tag": "image tag", "build": "image build-from", "login": "image pull --username",
    "history": "image inspect", "image history": "image inspect", "image build": "image build-from",
    "image get": "image pull", "image export": "image save", "volumes": "volume list", "networks": "network list",
    "network prune": "network rm", "containers": "ps", "status": "ps", "vzlist": "list",
    "show": "inspect", "system info": "info", "system events": "events", "gc": "system prune",
    "df": "system df", "compose": "up", "launch": "run", "new": "create", "exec2": "exec", "runscript": "exec",
    "shell": "enter", "bash": "enter", "sh": "enter", "console": "attach", "resume": "unpause", "unfreeze": "unpause",
    "thaw": "unpause", "freeze": "pause", "suspend": "pause", "reboot": "restart", "poweroff": "stop", "shutdown": "stop",
    "terminate": "kill", "destroy": "rm", "restore": "snapshot restore", "snapshot-switch": "snapshot restore",
    "snapshot-list": "snapshot list", "snapshot-delete": "snapshot rm", "snapshot switch": "snapshot restore",
    "snapshot revert": "snapshot restore", "copy": "cp", "config": "set", "move": "rename",
    "backup": "export", "publish": "commit", "help": "--help",
}  # fmt: skip

# what was typed and nothing here does: what there is to know
WITHOUT = {
    "search": "registries are not searched; 'pycontainer image pull' fetches an image by its name",
    "logout": "logins are not kept here: 'pycontainer image pull' reads yours, or takes --username",
    "checkpoint": "processes are not kept; 'pycontainer snapshot create' keeps files, 'pycontainer pause' holds processes",
    "prune": "'pycontainer system prune' deletes stopped containers, and unused images and leftovers with them",
    "container": "commands for containers need no word before them: 'pycontainer ps', 'pycontainer rm'",
    "init": "a container needs no such step: 'pycontainer create', then 'pycontainer start'",
}

_OWN = "every container has its own, which none shares"
_CPUS = "--cpus caps CPU time, like --cpus 0.5 for half a CPU"
_LOGS = "what a container writes is kept in files, which 'pycontainer logs' reads"
_MEMORY_SWAP = "--memory-swap caps memory and swap together"
_ALL = "'ps -a' shows all"
_SIZES = "'pycontainer system df -v' shows sizes"
_STOP_SIGNAL = "the signal is said when it is made: 'run --stop-signal'"
_VOLUME = "--size and --inodes are what can be said"
_LIMITS = {
    "--cpu-quota": _CPUS,
    "--cpu-period": _CPUS,
    "--storage-opt": "--disk caps what it writes, like --disk 10G",
    "--physpages": "--memory caps memory, like --memory 200M",
    "--swappages": _MEMORY_SWAP,
    "--swap": _MEMORY_SWAP,
    "--memory-swappiness": _MEMORY_SWAP,
    "--applyconfig": "'pycontainer plan apply' gives the limits of a plan",
}
_CONTAINER = _LIMITS | {
    "--gpus": "name the device nodes of a GPU with --device",
    "--devnodes": "name device nodes with --device",
    "--device-cgroup-rule": "--device HOST:INSIDE:rwm says what may be done with a device",
    "--pid": _OWN,
    "--ipc": _OWN,
    "--uts": _OWN,
    "--userns": _OWN,
    "--cgroupns": _OWN,
    "--cgroup-parent": "containers share limits in a tenant: --tenant",
    "--mac-address": "the MAC address follows from the IP address, which --ip gives",
    "--link": "containers on one network know each other by name",
    "--network-alias": "neighbours know a container by --name and --hostname",
    "--volumes-from": "name the volumes again, with -v",
    "--log-driver": _LOGS,
    "--log-opt": _LOGS,
    "-P": "publish each port with -p, like -p 8080:80",
    "--publish-all": "publish each port with -p, like -p 8080:80",
    "--expose": "neighbours reach every port; -p publishes one on the host",
    "--cidfile": "'run -d' and 'create' print the id",
    "--pull": "no image is fetched by itself; 'pycontainer image pull' does",
    "--group-add": "groups are those that the user has in the image's /etc/group",
    "--replace": "delete the other one before: 'pycontainer rm -f NAME'",
    "--systemd": "--profile system is for what boots with its own init",
    "--annotation": "--label says something about a container",
    "--dns-opt": "of resolv.conf, --dns and --dns-search can be said",
    "--dns-option": "of resolv.conf, --dns and --dns-search can be said",
    "--ipadd": "--ip and --ip6 give addresses",
    "--nameserver": "--dns names a name server",
    "--searchdomain": "--dns-search names a search domain",
    "--capability": "--cap-add and --cap-drop say what root inside may do",
    "--config": "--plan names a plan, whose limits it gets",
    "--ostemplate": "the image is the first word that is no option",
}

# the commands: {option that was typed: what there is to know}
OPTIONS: dict[tuple[str, ...], dict[str, str]] = {
    ("run", "create"): _CONTAINER,
    ("run",): {"-a": "without -d all output is shown", "--attach": "without -d all output is shown"},
    ("set",): _LIMITS | {"--save": "a change is kept, unless --transient is given"},
    ("ps",): {"-n": _ALL, "--last": _ALL, "-l": _ALL, "--latest": _ALL, "-s": _SIZES, "--size": _SIZES},
    ("stop", "restart"): {"-s": _STOP_SIGNAL, "--signal": _STOP_SIGNAL},
    ("volume create",): {"-o": _VOLUME, "--opt": _VOLUME},
}  # fmt: skip

# a command whose output people bring templates of Go's for: where in its JSON is what they mostly want, for jq
_PICKS = {
    "ps": ".[].name", "stats --no-stream": ".[].cpu_percent", "image list": ".[].name", "volume list": ".[].name",
    "network list": ".[].name", "info": ".kernel", "version": ".client", "events": ".type", "inspect NAME": ".[].status",
    "image inspect NAME": ".[].id", "volume inspect NAME": ".[].size_bytes", "network inspect NAME": ".[].subnet",
    "top NAME": ".[].command",
}  # fmt: skip


def command_of(*words: str) -> str:
    """Return the command that does here what these words do elsewhere, or nothing."""
    return COMMANDS.get(" ".join(words), "")


def about_option(command: str, option: str) -> str:
    """Return what there is to know about an option that `command` does not have, or nothing."""
    return next((about[option] for commands, about in OPTIONS.items() if command in commands and option in about), "")


def instead_of_template(command: str) -> str:
    """Return what does with the output of `command` (`ps`) what a template would have done."""
    words = next((words for words in _PICKS if words.startswith(command)), command)
    form = "" if "inspect" in words else " --format json"
    return f"there are no templates here; pick with jq: pycontainer {words}{form} | jq -r '{_PICKS.get(words, '.')}'"


def near(word: str, choices: Iterable[str], *, prefix: str = "") -> str:
    """Return `, did you mean 'list'?` for what is nearly the same, or nothing."""
    return did_you_mean(word, choices, prefix=prefix, cutoff=_NEAR)
