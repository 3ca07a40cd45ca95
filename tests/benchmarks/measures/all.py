"""All measures, in the order of the document: a name, and the module that is loaded when it is asked for."""

_NAMES = (
    "start_to_exit", "start_to_exec", "verbs", "first_byte", "parallel_exec", "memory", "fleet", "port", "shaping", "root_io",
    "image_load",
)  # fmt: skip

MEASURES = {name.replace("_", "-"): f"tests.benchmarks.measures.{name}" for name in _NAMES}
