"""JSON of the OCI front door: what is refused, and where a message says that it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from pycontainer.errors import InvalidInput
from pycontainer.oci import text
from tests.support.jsonvalues import JSON

ROOT = Path(text.__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1, column 1: Expecting value"),
        (b"{\n  'a': 1\n}", "line 2, column 3: Expecting property name enclosed in double quotes"),
        (b'{\n  "a": 1,\n  "b": tru\n}', "line 3, column 8: Expecting value"),
        ('{"ü": nul}'.encode(), "line 1, column 7: Expecting value"),
        (b'{"a": 1}\n\n]', "line 3, column 1: Extra data"),
        (b'{"a": "b', "line 1, column 7: Unterminated string starting at"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b"\xef\xbb\xbf{}", "line 1, column 1: Expecting value"),
        (b'{"process": {"user": {"uid": 1, "gid": 2, "uid": 0}}}', "process.user: a key is given twice"),
        (b'{"a": 1, "a": 2}', "a key is given twice"),
        (b'{"a": [1, {"b": [{"c": 1, "c": 2}]}], "d": {"e": 1, "e": 2}}', "a[1].b[0]: a key is given twice"),
        (b'{"process": {"args": ["a", NaN]}}', "process.args[1]: NaN is not JSON"),
        (b'{"a": {"b": 1e999}}', "a.b: a number that is too large or too long"),
        (b'{"a": [' + b"9" * 1000 + b"]}", "a[0]: a number of 1000 digits"),
        (b"[" * 65 + b"]" * 65, "more than 64 levels deep"),
        (b"[" * 10**6, "more than 64 levels deep"),
        (b'{"a": ["' + b"[" * 10**5 + b'", ' + b"[" * 64, "more than 64 levels deep"),
        (b" " * (text.MAX_BYTES + 1), f"more than {text.MAX_BYTES} bytes"),
    ],
)
def test_what_is_refused_and_where(data: bytes, message: str) -> None:
    """OCI-04"""
    with pytest.raises(InvalidInput) as caught:
        text.loads(data, "config.json")
    assert caught.value.message == f"config.json: {message}"


def test_depth_and_size_that_a_bundle_may_have() -> None:
    deepest = b"[" * 64 + b"]" * 64
    assert text.loads(deepest, "x") == json.loads(deepest)
    many = json.dumps({"process": {"args": ["a" * 1024] * 2048, "env": ["b" * 1024] * 4096}}).encode()
    assert text.loads(many, "x") == json.loads(many)


@settings(deadline=None)
@given(JSON)
def test_what_is_written_is_what_json_writes(value: object) -> None:
    assert text.dumps(value) == json.dumps(value, separators=(",", ":"))
    assert text.dumps(value, 2) == json.dumps(value, indent=2)
    assert text.loads(text.dumps(value, 1).encode(), "x") == value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), TypeError),
        ({"a": b"bytes"}, TypeError),
        ([float("nan")], ValueError),
        ({"a": float("inf")}, ValueError),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_what_json_cannot_say(value: object, error: type[Exception], indent: int | None) -> None:
    with pytest.raises(error):
        text.dumps(value, indent)


def test_names_that_are_no_text_are_written_all_the_same() -> None:
    assert text.dumps({"path": b"/\xff".decode(errors="surrogateescape")}) == '{"path":"/\\udcff"}'


@pytest.mark.parametrize("missing", ["", "make_encoder"])
def test_without_the_c_half(missing: str) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        + ("import _json; del _json.make_encoder\n" if missing else "sys.modules['_json'] = None\n")
        + "from pycontainer.oci import text\n"
        'value = text.loads(b\'{"a": [1, "\\\\u00fc"], "b": {}}\', \'x\')\n'
        "print(text.dumps(value), 'json' in sys.modules)\n"
        "print(text.dumps(value, 1))\n"
        "for bad in ([float('nan')], object()):\n"
        "    try: text.dumps(bad)\n"
        "    except (ValueError, TypeError) as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        '{"a":[1,"\\u00fc"],"b":{}} True',
        *json.dumps({"a": [1, "ü"], "b": {}}, indent=1).splitlines(),
        "ValueError",
        "TypeError",
    ]
