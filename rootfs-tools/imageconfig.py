"""How containers of an image start, as `pycontainer image import --config` takes it, from what others say of it.

    python3 imageconfig.py oci          <OCI image config      >OUT.json
    python3 imageconfig.py container    <pycontainer inspect   >OUT.json

Standard library only; run by from-oci and from-container.
"""

import json
import sys
from typing import Any


def of_oci(image: dict[str, Any]) -> dict[str, Any]:
    """Return what the config of an OCI or Docker image says. Source: OCI image-spec, config.md, Properties."""
    config = image.get("config") or {}
    return {
        "entrypoint": config.get("Entrypoint"),
        "cmd": config.get("Cmd"),
        "env": config.get("Env"),
        "user": config.get("User"),
        "workdir": config.get("WorkingDir"),
        "exposed_ports": sorted(config.get("ExposedPorts") or {}),
        "volumes": sorted(config.get("Volumes") or {}),
        "stop_signal": config.get("StopSignal"),
        "labels": config.get("Labels"),
        "healthcheck": _health(config.get("Healthcheck") or {}),
    }


def _health(check: dict[str, Any]) -> dict[str, Any]:
    """Docker counts in nanoseconds. Source: moby, image-spec v1.2, Healthcheck."""
    found = {"test": check.get("Test"), "retries": check.get("Retries")}
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        key = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]
        found[f"{key}_seconds"] = (check.get(name) or 0) / 1e9
    return {key: value for key, value in found.items() if value}


def of_container(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a container was started with; of its environment only what is its image's, as the rest may be secret."""
    image, spec = record["image_config"], record["spec"]
    return {
        **image,
        "entrypoint": None,
        "cmd": record["command"],
        "user": spec.get("user") or image.get("user"),
        "workdir": spec.get("workdir") or image.get("workdir"),
        "stop_signal": spec.get("stop_signal") or image.get("stop_signal"),
    }


def main() -> None:
    said = json.load(sys.stdin)
    if isinstance(said, list):  # `inspect` of one container
        (said,) = said
    config = of_oci(said) if sys.argv[1] == "oci" else of_container(said)
    json.dump({key: value for key, value in config.items() if value}, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
