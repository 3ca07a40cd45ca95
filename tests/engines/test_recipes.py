"""The files of examples/oci against the schemas of who reads them; the engines' tests install them as they are."""

import copy
import json
import os
import tomllib
from typing import Any

import hcl2
import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.engines.recipes import DIRECTORY, INSTALLED

HERE = os.path.dirname(os.path.abspath(__file__))
KUBERNETES = ("1.26", "1.37")  # what containerd 1.6 is for, and the newest whose schemas there are


def text_of(name: str) -> str:
    with open(f"{DIRECTORY}/{name}") as file:
        return file.read()


def nomad(name: str) -> dict[str, Any]:
    """Return a file of Nomad as plain data, each block an object: none of ours occurs twice in its place."""

    def plain(value: Any) -> Any:
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            return plain(value[0])
        if isinstance(value, dict):
            return {key.strip('"'): plain(item) for key, item in value.items() if not key.startswith("__")}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value.strip('"') if isinstance(value, str) else value

    return dict(plain(hcl2.loads(text_of(name))))


def schema() -> dict[str, Any]:
    with open(f"{HERE}/nomad.schema.json") as file:
        return dict(json.load(file))


@pytest.mark.parametrize("version", KUBERNETES)
def test_runtime_class(version: str) -> None:
    """The manifests are valid, strictly; the handler is the one of containerd's recipe, the pod asks for the class."""
    documents = list(yaml.safe_load_all(text_of("runtimeclass.yaml")))
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    runtime_class, pod = documents
    assert pod["spec"]["runtimeClassName"] == runtime_class["metadata"]["name"]
    configured = tomllib.loads(text_of("containerd.toml"))["plugins"]["io.containerd.grpc.v1.cri"]["containerd"][
        "runtimes"
    ]
    assert runtime_class["handler"] in configured and "runc" in configured  # the default, which must not go
    broken = {**runtime_class, "handlers": "pycontainer"}
    with pytest.raises(kubernetes_validate.ValidationError, match="handlers"):
        kubernetes_validate.validate(broken, version, strict=True)


@pytest.mark.parametrize("name", ["nomad-client.hcl", "nomad-job.hcl"])
def test_nomad(name: str) -> None:
    jsonschema.validate(nomad(name), schema())


def test_nomad_job_asks_for_what_the_client_allows() -> None:
    client, job = nomad("nomad-client.hcl"), nomad("nomad-job.hcl")
    task = job["job"]["web"]["group"]["web"]["task"]["web"]
    assert task["config"]["runtime"] in client["plugin"]["docker"]["config"]["allow_runtimes"]
    assert task["config"]["runtime"] in json.loads(text_of("daemon.json"))["runtimes"]
    broken = copy.deepcopy(job)
    broken["job"]["web"]["group"]["web"]["task"]["web"]["config"]["runtimes"] = "pycontainer"
    with pytest.raises(jsonschema.ValidationError, match="runtimes"):
        jsonschema.validate(broken, schema())


def test_one_place_of_the_program() -> None:
    runtimes = tomllib.loads(text_of("containerd.toml"))["plugins"]["io.containerd.grpc.v1.cri"]["containerd"][
        "runtimes"
    ]
    places = {
        "containers.conf": tomllib.loads(text_of("containers.conf"))["engine"]["runtimes"]["pycontainer"][0],
        "containerd.toml": runtimes["pycontainer"]["options"]["BinaryName"],
        "daemon.json": json.loads(text_of("daemon.json"))["runtimes"]["pycontainer"]["path"],
    }
    assert set(places.values()) == {INSTALLED}, places
