"""What the launcher of `pycontainer` executes where it has no dump to go on in, see startup/.

python -P program.py DUMP NAME ARGUMENTS...     NAME and ARGUMENTS as the launcher got them
"""

import os
import sys

dump_path = sys.argv[1]
mounts = os.stat("/proc/self/ns/mnt").st_ino if os.path.exists("/proc/self/ns/mnt") else 0
del sys.argv[:2]

from pycontainer.cli.entry import run  # noqa: E402

code = run()

from pycontainer.startup import renewal  # noqa: E402

renewal.begin("pycontainer", dump_path, mounts)
os._exit(code)
