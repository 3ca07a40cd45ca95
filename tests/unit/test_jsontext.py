"""JSON, strictly: what json.loads is lenient about, and its bounds (API-04)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer import jsontext
from tests.support.jsonvalues import JSON

ROOT = Path(jsontext.__file__).parent.parent


def loads(data: bytes | str) -> object:
    return jsontext.loads(data, max_bytes=1 << 24)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON at character 0: Expecting value"),
        (b"{", "not JSON at character 1: Expecting property name enclosed in double quotes"),
        (b"[1,]", "not JSON at character 3: Expecting value"),
        (b"1 2", "not JSON at character 2: Extra data"),
        (b"'a'", "not JSON at character 0: Expecting value"),
        (b'"\n"', "not JSON at character 1: Invalid control character at"),
        (b'"\\x"', "not JSON at character 1: Invalid \\escape"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),  # half of a surrogate pair
        (b"\xef\xbb\xbf{}", "not JSON at character 0: Expecting value"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 at byte 0"),
        ('{"a": 1}'.encode("utf-32-le"), "not JSON at character 1: Expecting property name enclosed in double quotes"),
        (b'{"a": 1, "a": 2}', "a key is given twice"),
        (b'[{"a": {"b": 1, "\\u0062": 1}}]', "a key is given twice"),
        (b"NaN", "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"1e999", "a number that is too large or too long"),
        (b"-1e999", "a number that is too large or too long"),
        (b"0." + b"1" * 100, "a number that is too large or too long"),
        (b"9" * 65, "a number of 65 digits"),
        (b"9" * 10**6, "a number of 1000000 digits"),
        (b"01", "not JSON at character 1: Extra data"),
        (b"+1", "not JSON at character 0: Expecting value"),
        ("\u0661", "not JSON at character 0: Expecting value"),
        (b"[" * 33, "more than 32 levels deep"),
        (b"[" * 10**6, "more than 32 levels deep"),
        (b'{"a":' * 10**5, "more than 32 levels deep"),
        (b"[" + b"[]," * 40 + b"[" * 32, "more than 32 levels deep"),
        (b'["[[[",' * 33, "more than 32 levels deep"),
        (b'["\\\\",' * 33, "more than 32 levels deep"),
        (b'["\\"]",' * 33, "more than 32 levels deep"),
        (b'"' * 10**6, "not JSON at character 2: Extra data"),
        (b"[" * 33 + b'"\\', "more than 32 levels deep"),
        (b"[" + b"1," * (1 << 20) + b"1]", "more than 1048576 values"),
        (b" " * ((1 << 24) + 1), "more than 16777216 bytes"),
    ],
)
def test_what_is_no_json(data: bytes | str, message: str) -> None:
    with pytest.raises(ValueError, match="^") as caught:
        loads(data)
    assert str(caught.value).partition(" (char")[0] == message
    assert not isinstance(caught.value, json.JSONDecodeError)


def test_where_it_is_no_json() -> None:
    with pytest.raises(jsontext.Malformed) as caught:
        loads('{"ü": tru}')
    assert (caught.value.position, caught.value.why) == (6, "Expecting value")


@pytest.mark.parametrize("missing", ["", "make_scanner"])
def test_without_the_c_half(missing: str) -> None:
    """`_json` promises nothing: without it, or without what we use of it, all is read as before."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        + ("import _json; del _json.make_scanner\n" if missing else "sys.modules['_json'] = None\n")
        + "from pycontainer import jsontext\n"
        "print(jsontext.loads(' {\"a\": [1, 2.5, null]} ', max_bytes=99), 'json' in sys.modules)\n"
        "for bad in ('', '{\"a\":1,\"a\":2}', '[1,]', 'NaN', '1e999'):\n"
        "    try: jsontext.loads(bad, max_bytes=99)\n"
        "    except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "{'a': [1, 2.5, None]} True",
        "not JSON at character 0: Expecting value",
        "a key is given twice",
        "not JSON at character 3: Expecting value",
        "NaN is not JSON",
        "a number that is too large or too long",
    ]


def test_depth_counts_brackets_that_are_none_in_text() -> None:
    deepest = b"[" * 32 + b"]" * 32
    assert loads(deepest) == json.loads(deepest)
    text = '"\\\\' + '[{\\"' * 50
    assert loads(f'[{text}"]') == [json.loads(f'{text}"')]
    assert loads(b"[" + b"[]," * 100 + b"1]") == [[]] * 100 + [1]


@settings(deadline=None)
@given(JSON)
def test_what_json_writes_is_read_as_it_was(value: object) -> None:
    assert loads(json.dumps(value)) == value
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text('[]{}",:\\ue019.-+aNnI \n', max_size=40))
def test_what_is_read_is_what_json_reads(data: bytes | str) -> None:
    try:
        value = loads(data)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert value == json.loads(data)
