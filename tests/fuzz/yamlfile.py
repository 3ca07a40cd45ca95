"""YAML files (spec/yamlfile.py), down to the spec of each container."""

from pycontainer.errors import InvalidInput
from pycontainer.spec.parse import check_spec
from pycontainer.spec.yamlfile import load_text
from tests.fuzz.inputs import check_message

SEEDS = (
    b"name: web\nimage: a\nmemory: 200M\nports:\n  8080: 80\nenv: {A: on, B: 010}\ncommand: [sleep, 10]\n",
    b"containers:\n  web: {image: a}\n  5:\n    rootfs: ./x\n    volumes: [./w:/w]\n",
    b"image: a\nmounts:\n  - type: bind\n    source: data\n    target: /data\n",
    b"a: &a [x, x]\nb: &b [*a, *a]\n<<: *b\n",
    b"image: !!python/object/apply:os.system [true]\n",
    b"image: a\n---\nimage: b\n...\n",
    b"image: a\nenv:\n\tA: 1\n",
    b"? [a]\n: b\n",
    b"image: |\n  a\n'x': >-\n  b\n\"\\u263a\": 1\n",
    b"%YAML 1.1\n---\n{}\n",
)
MAX_BYTES = 1500


def try_one(data: bytes) -> None:
    try:
        documents = load_text(data, source="web.yaml", base_dir="/base")
    except InvalidInput as error:
        check_message(error)
        assert error.message.startswith("web.yaml")
        return
    assert documents
    for document in documents:
        assert check_spec(document.plain)[1] == []
        assert all(1 <= line <= data.count(b"\n") + data.count(b"\r") + 1 for line in document.lines.values())
