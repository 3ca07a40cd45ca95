"""The module that stands for `encodings` in the interpreter of a call: UTF-8 as ever, all else from the package."""

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.oci import launcher, utf8


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an interpreter with the module."""
    directory = str(tmp_path_factory.mktemp("interpreter"))
    python = launcher.write_interpreter(os.path.realpath(sys.executable), directory)
    assert python == f"{directory}/python"
    return python


def told(python: str, program: str, given: bytes = b"", locale: str = "C.UTF-8") -> str:
    environment = {"LC_ALL": locale, "PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent"}
    command = [python, "-IS", "-c", program]
    done = subprocess.run(command, input=given, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_what_is_loaded_at_the_start(python: str) -> None:
    program = "import sys; print('codecs' in sys.modules, 'encodings.aliases' in sys.modules, sys.flags.isolated)"
    assert told(python, program) == "False False 1\n"
    assert told(os.path.realpath(sys.executable), program) == "True True 1\n"  # what it is for


def test_modules_are_looked_for_where_they_were(python: str) -> None:
    program = "import sys; print([each for each in sys.path if each.startswith(sys.prefix) == ({})])"
    bare = told(os.path.realpath(sys.executable), "import os, sys; print([*filter(os.path.exists, sys.path)])")
    assert told(python, program.format("False")) == bare
    assert told(python, program.format("True")) == f"{[str(Path(python).parent)]}\n"


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "nonexistent", ""])
def test_standard_streams(python: str, locale: str) -> None:
    program = (
        "import sys; print(sys.getfilesystemencoding(), sys.stdin.encoding, sys.stdin.read() == 'h\\xe4\\u20ac\\n')"
    )
    assert told(python, program, "hä€\n".encode(), locale) == "utf-8 utf-8 True\n"


def test_names_that_are_no_utf_8(python: str) -> None:
    program = "import os, sys; print(os.fsencode(sys.argv[1]))"
    done = subprocess.run([python, "-IS", "-c", program, b"a\xff"], capture_output=True)
    assert done.stdout == b"b'a\\xff'\n"


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("print(ascii(b'\\xa4'.decode('iso8859-15')))", "'\\u20ac'\n"),
        ("print('a'.encode('utf-16-le'), '\\xe4.de'.encode('idna'))", "b'a\\x00' b'xn--4ca.de'\n"),
        ("import encodings.idna; print(encodings.idna.ToASCII('\\xe4'))", "b'xn--4ca'\n"),
        ("import encodings; print(encodings.normalize_encoding('UTF 8'))", "UTF_8\n"),
        ("from encodings import aliases; print(aliases.aliases['u8'])", "utf_8\n"),
        ("import codecs; print(type(codecs.lookup('u8')).__name__)", "CodecInfo\n"),
        ("import codecs, sys; print(ascii(codecs.getreader('utf-8')(sys.stdin.buffer).read()))", "'\\xe4'\n"),
        ("import encodings; print(hasattr(encodings, 'none'), hasattr(encodings, '__none__'))", "False False\n"),
        ("\ntry: 'a'.encode('nonexistent')\nexcept LookupError as error: print(error)", "unknown encoding: nonexistent\n"),
    ],
)  # fmt: skip
def test_all_else_comes_from_the_package(python: str, program: str, output: str) -> None:
    assert told(python, program, "ä".encode()) == output


@pytest.mark.parametrize("errors", ["strict", "replace", "surrogateescape"])
def test_pieces_are_decoded_as_the_library_does(errors: str) -> None:
    for data in ("hä€𐍈".encode(), b"\xff\xe2\x82", b""):
        for size in (1, 2, 3):
            ours, theirs = (each.incrementaldecoder(errors) for each in (utf8._info, codecs.lookup("utf-8")))
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            for piece in pieces:
                assert tried(ours.decode, piece) == tried(theirs.decode, piece)
                assert ours.getstate() == theirs.getstate()
            ours.setstate(theirs.getstate())
            assert tried(ours.decode, b"", True) == tried(theirs.decode, b"", True)
            ours.reset()
            assert ours.getstate() == (b"", 0)


def tried(decode: object, *arguments: object) -> object:
    try:
        return decode(*arguments)  # type: ignore[operator]
    except UnicodeDecodeError as error:
        return str(error)


def test_text_is_encoded_as_the_library_does() -> None:
    for errors, text in (("strict", "hä€"), ("surrogateescape", "a\udcff"), ("replace", "a\udcff")):
        encoder = utf8._info.incrementalencoder(errors)
        assert encoder.encode(text, True) == codecs.lookup("utf-8").incrementalencoder(errors).encode(text, True)
    encoder.reset()
    encoder.setstate(0)
    assert encoder.getstate() == 0
