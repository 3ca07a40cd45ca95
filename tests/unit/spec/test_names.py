"""Names: one pattern, matched in full, ASCII only (VAL-01)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput
from pycontainer.spec import names


@pytest.mark.parametrize("name", ["a", "web", "Web-1.example_x", "0", "9web", "a" * 63, "con..tainer", "A", "images"])
def test_names(name: str) -> None:
    assert names.is_name(name)
    assert names.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/a",
        "-a",
        "_a",
        ".a",
        "a" * 64,
        "a" * 256,
        "web\n",
        "\nweb",
        "we\nb",
        "a\0",
        "%2e",
        "a b",
        " a",
        "lost+found",
        "we\u0432",
        "\uff41",
        "\u00e9",
        "a\u0301",
        "\u0661",
        "a:b",
        "a@b",
        "a\\b",
        "~",
        "*",
        None,
        1,
        True,
        b"web",
    ],
)
def test_what_is_no_name(name: object) -> None:
    assert not names.is_name(name)
    with pytest.raises(InvalidInput) as caught:
        names.check_name(name, "network")
    assert caught.value.message.endswith(" is not a network name")
    assert caught.value.hint == "use up to 63 letters, digits, '_', '.' and '-', beginning with a letter or digit"


def test_the_refusal_escapes_what_does_not_print() -> None:
    with pytest.raises(InvalidInput, match=r"^'web\\n' is not a container name$"):
        names.check_name("web\n")


@given(st.text(max_size=80))
def test_a_name_is_safe_as_a_file_name_and_an_argument(text: str) -> None:
    if names.is_name(text):
        assert text.isascii() and text.isprintable() and 1 <= len(text) <= 63
        assert "/" not in text and " " not in text and text[0] not in ".-_"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0123456789ab", True),
        ("0123456789AB", False),
        ("0123456789a", False),
        ("0123456789abc", False),
        ("0123456789ab\n", False),
        ("\u0660123456789ab", False),
        (123456789012, False),
    ],
)
def test_container_ids(value: object, expected: bool) -> None:
    assert names.is_container_id(value) is expected


@pytest.mark.parametrize(
    "image",
    [
        "debian-nginx",
        "debian-nginx:12",
        "docker.io/library/nginx:1.25",
        "localhost:5000/a/b",
        "localhost:5000/a/b:tag",
        "a@sha256:" + "0" * 64,
        "registry:5000",
        "Web_1.x",
    ],
)
def test_images(image: str) -> None:
    assert names.check_image(image) == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        "a:",
        ":tag",
        "a:b:c",
        "a b",
        "a\n",
        "-a",
        "a@sha256:12",
        "a" * 256,
        "\u0430",
        5,
    ],
)
def test_what_is_no_image(image: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        names.check_image(image)
    assert caught.value.message.endswith(" is not an image name")
    assert caught.value.hint == "write a name such as debian-nginx or registry/path:tag"
