"""What the launcher of `pycontainer` executes where it has no dump to go on in, see startup/.

python -P program.py DUMP NAME ARGUMENTS...     NAME and ARGUMENTS as the launcher got them
"""

import os
import sys

dump_path = sys.argv[1]
del sys.argv[:2]

from pycontainer.cli.entry import run  # noqa: E402

code = run()

from pycontainer.startup import renewal  # noqa: E402

renewal.begin("pycontainer", dump_path)
os._exit(code)
