"""pycontainer: isolated, capped instances on mainline Linux, from Python.

`from pycontainer import Client` is the way in; it and the exceptions load on first use, so that the monitor and the init
stage, which import this package too, pay nothing for the client.
"""

import time

BEGAN = (time.monotonic_ns(), time.process_time_ns())  # the first moment that a command remembers, for its trace

TYPE_CHECKING = False  # known to type checkers by this name; `typing` itself costs 8 ms
if TYPE_CHECKING:
    from pycontainer.client.client import Client as Client
    from pycontainer.errors import (
        AlreadyExists,
        Busy,
        InvalidInput,
        InvalidState,
        NotFound,
        NotPermitted,
        PycontainerError,
        StartFailed,
        SupervisorUnavailable,
        Unsupported,
    )

__all__ = [
    "AlreadyExists",
    "Busy",
    "Client",
    "InvalidInput",
    "InvalidState",
    "NotFound",
    "NotPermitted",
    "PycontainerError",
    "StartFailed",
    "SupervisorUnavailable",
    "Unsupported",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in __all__:  # also asked for the name of a module that was not loaded yet
        raise AttributeError(f"module 'pycontainer' has no attribute {name!r}")
    import importlib

    module = "pycontainer.client.client" if name == "Client" else "pycontainer.errors"
    return getattr(importlib.import_module(module), name)
