"""YAML files: the small, safe part, and every problem with its line (VAL-04)."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.spec import yamlfile

GOOD = """\
# the web server
name: web
image: debian-nginx
memory: 200M
cpus: 0.5
restart: no
user: 0o17
ports:
  8080: 80
  127.0.0.1:5353: 53/udp
env:
  ON: on
  TIME: 1:30
  DATE: 2026-11-23
  OCTAL: 010
  HEX: 0x10
  FLOAT: 1.50
  UNDERSCORES: 1_000
  BIG: 99999999999999999999
  QUOTED: "true"
  EMPTY: ""
  NUMBER: -5
command: [sleep, 10]
tty: true
volumes: [./www:/var/www]
mounts:
  - type: bind
    source: data
    target: /data
"""


def load(text: str | bytes) -> list[yamlfile.Document]:
    return yamlfile.load_text(text, source="web.yaml", base_dir="/base")


def expand(plain: dict[str, object]) -> dict[str, object]:
    """Do what plans do: "small" is 64M and 5 processes, another one is unknown."""
    name = plain.pop("plan", None) if (plain := dict(plain)) else None
    if name not in (None, "small"):
        raise NotFound(f"no plan {name!r}", hint="there is small")
    return {**({"memory": "64M", "pids": 5} if name else {}), **plain}


def test_a_plan_is_checked_and_returned_as_written() -> None:
    (document,) = yamlfile.load_text("image: a\nplan: small\npids: 6\n", source="w", base_dir="/", expand=expand)
    assert document.plain == {"image": "a", "plan": "small", "pids": 6}
    with pytest.raises(InvalidInput) as caught:
        yamlfile.load_text("image: a\nmemory_high: 90M\nplan: small\n", source="w", base_dir="/", expand=expand)
    assert caught.value.message == "w:2: memory_high: 90MiB is more than the 64MiB of memory"


def test_an_unknown_plan_hides_no_other_problem() -> None:
    text = "containers:\n  x: {image: a, plan: big}\n  y:\n    image: a\n    pids: 0\n    plan: 7\n"
    with pytest.raises(InvalidInput) as caught:
        yamlfile.load_text(text, source="w", base_dir="/", expand=expand)
    assert caught.value.message.split("\n") == [
        "w:2: plan: no plan 'big'",
        "w:5: pids: 0 is out of range",
        "w:6: plan: no plan 7",
    ]
    assert "unknown key 'plan'" in refusal("image: a\nplan: small\n").message


def refusal(text: str | bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        load(text)
    return caught.value


def test_a_container_with_types_as_written() -> None:
    (document,) = load(GOOD.replace("user: 0o17", "user: 33"))
    assert document.plain == {
        "name": "web",
        "image": "debian-nginx",
        "memory": "200M",
        "cpus": "0.5",
        "restart": "no",
        "user": 33,
        "ports": {8080: 80, "127.0.0.1:5353": "53/udp"},
        "env": {
            "ON": "on",
            "TIME": "1:30",
            "DATE": "2026-11-23",
            "OCTAL": "010",
            "HEX": "0x10",
            "FLOAT": "1.50",
            "UNDERSCORES": "1_000",
            "BIG": "99999999999999999999",
            "QUOTED": "true",
            "EMPTY": "",
            "NUMBER": -5,
        },
        "command": ["sleep", 10],
        "tty": True,
        "volumes": ["/base/www:/var/www"],
        "mounts": [{"type": "bind", "source": "/base/data", "target": "/data"}],
    }
    lines = document.lines
    assert (lines["name"], lines["ports.8080"], lines["env.HEX"], lines["command[1]"], lines["mounts[0].target"]) == (
        2,
        9,
        16,
        23,
        29,
    )


def test_a_word_where_a_number_looks_octal() -> None:
    assert refusal(GOOD).message == "web.yaml:7: user: '0o17' is not a user"


def test_several_containers() -> None:
    web, cache = load("containers:\n  web: {image: a}\n  5:\n    image: b\n    networks: none\n")
    assert web.plain == {"name": "web", "image": "a"}
    assert cache.plain == {"name": 5, "image": "b", "networks": "none"}
    assert (web.lines, cache.lines) == ({"image": 2}, {"image": 4, "networks": 5})


def test_all_problems_with_their_lines_in_order() -> None:
    error = refusal(
        "image: a\nmemroy: 200M\nmemory:\nports:\n  - 80\n  - x\ntty: yes\nrestart: always\nauto_remove: true\n"
    )
    assert error.message.split("\n") == [
        "web.yaml:2: unknown key 'memroy', did you mean 'memory'?",
        "web.yaml:3: memory: there is no value",
        "web.yaml:6: ports[1]: 'x' is not a port",
        "web.yaml:7: tty: 'yes' is not true or false",
        "web.yaml:9: auto_remove: auto_remove and restart policy 'always' exclude each other",
    ]
    assert (error.source, error.field) == ("web.yaml:2", "memroy")


def test_all_problems_of_several_containers() -> None:
    error = refusal(
        "containers:\n  web:\n    image: a\n    cpus: x\n"
        "  x y: {image: b}\n  z: 3\n  n:\n    name: n\n  e: {}\nfoo: 1\n"
    )
    assert error.message.split("\n") == [
        "web.yaml:4: cpus: 'x' is not a number of CPUs",
        "web.yaml:5: name: 'x y' is not a container name",
        "web.yaml:6: containers.z: 3 is not a mapping of settings",
        "web.yaml:8: containers.n.name: the container has its name above already",
        "web.yaml:9: image: there is nothing to start from",
        "web.yaml:10: key 'foo' stands beside 'containers'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "web.yaml:1: the file holds no settings"),
        ("# only\n", "web.yaml:1: the file holds no settings"),
        ("- a\n", "web.yaml:1: the file holds no settings"),
        ("just words", "web.yaml:1: the file holds no settings"),
        ("{}", "web.yaml:1: the file holds no settings"),
        ("containers:\n", "web.yaml:1: containers: there is no mapping of names to containers"),
        ("containers: []", "web.yaml:1: containers: there is no mapping of names to containers"),
        ("image: a\nimage: b\n", "web.yaml:2: key 'image' is given twice"),
        ("image: a\nlabels:\n  5: a\n  '5': b\n", "web.yaml:4: key '5' is given twice"),
        ("image: &x a\n", "web.yaml:1: anchor '&x' is not supported"),
        ("image: a\nmemory: *x\n", "web.yaml:2: alias '*x' is not supported"),
        ("image: a\ncommand: [*x]\n", "web.yaml:2: alias '*x' is not supported"),
        ("image: a\n<<: *x\n", "web.yaml:2: alias '*x' is not supported"),
        ("image: a\n<<: {memory: 1G}\n", "web.yaml:2: unknown key '<<'"),
        ("image: !!str a\n", "web.yaml:1: tag 'tag:yaml.org,2002:str' is not supported"),
        ("image: ! a\n", "web.yaml:1: tag '!' is not supported"),
        (
            "image: a\nuser: !!python/object/apply:os.system [true]\n",
            "web.yaml:2: tag 'tag:yaml.org,2002:python/object/apply:os.system' is not supported\n"
            "web.yaml:2: user: [True] is not text",
        ),
        ("image: a\n---\nimage: b\n", "web.yaml:2: a second document begins"),
        ("image: a\nenv:\n\tA: 1\n", "web.yaml:3: a tab stands in the indentation"),
        ("[a]: b\n", "web.yaml:1: a list or mapping stands where a key is wanted"),
        ("? {a: b}\n: c\n", "web.yaml:1: a list or mapping stands where a key is wanted"),
        ("[" * 11, "web.yaml:1: more than 10 levels deep"),
        ("image: a\nenv: " + "[" * 100_000, "web.yaml:2: more than 10 levels deep"),
        ("image: ä\nname: \x82\n", "web.yaml:2: not YAML: '\\x82': control characters are not allowed"),
        ("a: b: c\n", "web.yaml:1: not YAML: mapping values are not allowed in this context"),
        ("image: a\nname: 'x\n", "web.yaml:3: not YAML: found unexpected end of stream"),
        ("image: a\0", "web.yaml:1: control character '\\x00'"),
        ('image: a\nenv: {A: "\\0"}\n', "web.yaml:2: env.A: '\\x00' holds a NUL byte"),
        (b"image: a\nname: \xff\n", "web.yaml:2: the file is not UTF-8"),
        ("image: a\n".encode("utf-16"), "web.yaml:1: the file is not UTF-8"),
        ("image: a\n".encode("utf-32-be"), "web.yaml:1: control character '\\x00'"),
        ("image: \ud800", "web.yaml:1: the file is not UTF-8"),
        ("image: a\nname: ~\n", "web.yaml:2: name: there is no value"),
        ("image: a\nname: null\n", "web.yaml:2: name: there is no value"),
        ("image: true\n", "web.yaml:1: image: True is not an image name"),
        ("image: a\nread_only: on\n", "web.yaml:2: read_only: 'on' is not true or false"),
        ("image: a\nenv: {A: true}\n", "web.yaml:2: env.A: true is true or false where text is wanted"),
        ("image: a\nrootfs: x\n", "web.yaml:2: rootfs: image and rootfs exclude each other"),
        ("name: web\n", "web.yaml: image: there is nothing to start from"),
        ('image: a\nenv: {"\\e[2J": ~}\n', "web.yaml:2: env.\\x1b[2J: there is no value"),
        (f"image: a\nenv: {{{'A' * 500}: ~}}\n", f"web.yaml:2: env.{'A' * 71}...: there is no value"),
        (" " * (1024 * 1024 + 1), "web.yaml: the file is larger than 1024 KiB"),
    ],
)
def test_refusals(text: str | bytes, message: str) -> None:
    assert refusal(text).message == message


def test_hints_say_what_to_do() -> None:
    assert refusal("image: a\nimage: b\n").hint == "the first is in line 1"
    assert refusal("image: a\nenv:\n\tA: 1\n").hint == "indent with spaces"
    assert refusal("image: a\n---\nimage: b\n").hint == "write several containers under containers:"


def test_a_byte_order_mark_is_skipped() -> None:
    assert load(b"\xef\xbb\xbfimage: a\r\n")[0].plain == {"image": "a"}


def test_an_alias_bomb_is_refused_unexpanded() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    message = refusal("\n".join(lines)).message.split("\n")
    assert message[0] == "web.yaml:1: anchor '&a' is not supported"
    assert len(message) == 51 and message[-1] == "and 41 more problems"


def test_a_flood_of_keys_is_one_problem() -> None:
    message = refusal("image: a\n" + "".join(f"key{number}: {number}\n" for number in range(50_000))).message
    assert message == "web.yaml: 50001 settings are more than there can be"


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    path.write_text("rootfs: root\n")
    (document,) = yamlfile.load(str(path))
    assert document.plain == {"rootfs": f"{tmp_path}/root"}
    path.write_text("rootfs: root\nmemory: 200Q\n")
    with pytest.raises(InvalidInput) as caught:
        yamlfile.load(str(path))
    assert caught.value.message == f"{path}:2: memory: '200Q' is not a size"


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True), WORDS | st.integers(-(10**18), 10**18), max_size=5
    )
)
def test_what_a_yaml_writer_writes_is_read_as_it_was(env: dict[str, object]) -> None:
    text = yaml.safe_dump({"image": "a", "env": env, "labels": {"x": "y"}}, allow_unicode=True)
    assert load(text)[0].plain["env"] == env


@given(st.text(st.sampled_from("abimage:-[]{}&*!|>'\"#%@`, \n\t0?<"), max_size=40))
def test_any_text_is_documents_or_invalid_input(text: str) -> None:
    try:
        load(text)
    except InvalidInput as error:
        assert error.message.startswith("web.yaml")
