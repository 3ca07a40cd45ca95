"""Names of containers, networks, volumes and images, and container ids (spec/names.py)."""

from pycontainer.spec import names, values
from tests.fuzz.inputs import is_strict, parsed, value_of

SEEDS = (
    b"web-1.example_x",
    b"..",
    b"a/b",
    b"-x",
    b"0123456789ab",
    b"localhost:5000/a/b:tag",
    b"a@sha256:" + b"0" * 64,
    b"lost+found",
    b"%2e",
    b"web\n",
    "\uff41".encode(),
)
MAX_BYTES = 300


def try_one(data: bytes) -> None:
    value = value_of(data)
    for parse in (names.check_name, values.parse_name, values.parse_network):
        name = parsed(parse, value)
        if name is not None:
            assert isinstance(name, str) and is_strict(name) and 1 <= len(name) <= 63 and str(value) == name
            assert "/" not in name and name[0] not in ".-_" and names.is_name(name)
    image = parsed(names.check_image, value)
    if image is not None:
        assert image == value and is_strict(str(image)) and ".." not in str(image).split("/")
        assert not str(image).startswith(("/", "-", "."))
    if names.is_container_id(value):
        assert isinstance(value, str) and len(value) == 12 and int(value, 16) >= 0 and is_strict(value)
