"""How the processes are started that do one piece of work for another, and that they end with it.

python -I -m pycontainer.runtime.MODULE PARENT ARGUMENTS...        PARENT is the pid of who starts it
"""

import os
import signal
import sys

from pycontainer.linux.process import PR_SET_PDEATHSIG, prctl


def command(module: str, *arguments: str) -> list[str]:
    """Return the argv of the worker `module` of this package, as a child of this process."""
    return [sys.executable, "-I", "-m", f"pycontainer.runtime.{module}", str(os.getpid()), *arguments]


def end_with(parent_pid: int) -> None:
    """Have the kernel end this process when the one that started it ends; SystemExit if it has ended already.

    The number is the parent's own word: before an interpreter has come up, who asks for its parent may be told of the one
    that adopted it. A change of ids takes the signal away; then it is to be asked for again. prctl(2)
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(1)
