"""Environment files (spec/envfile.py and spec/textfile.py)."""

from pycontainer.errors import InvalidInput
from pycontainer.spec.envfile import parse_env_text
from pycontainer.spec.textfile import decode_text
from tests.fuzz.inputs import check_message

SEEDS = (
    b"# comment\n\nA=1\r\nB=\nHOME\n  C=x y",
    b"\xef\xbb\xbfA=\xc3\xa9",
    b"=x\nB C=1\nexport D=1",
    b"A=\0",
    b"\xff=1",
)
MAX_BYTES = 2000


def try_one(data: bytes) -> None:
    try:
        variables = parse_env_text(decode_text(data, "web.env"), {"HOME": "/root"}, source="web.env")
    except InvalidInput as error:
        check_message(error)
        assert error.message.startswith("web.env:")
        return
    for variable in variables:
        name, separator, value = variable.partition("=")
        assert name and separator and not any(character.isspace() for character in name)
        assert "\0" not in variable and "\n" not in value
    assert len(variables) <= data.count(b"\n") + 1
