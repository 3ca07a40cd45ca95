"""`list`: all containers of a root directory, as a table, as JSON, or their ids alone."""

from __future__ import annotations

from pycontainer.errors import InvalidInput, NotFound, PycontainerError
from pycontainer.oci import log, output, text
from pycontainer.oci.state import State, ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options

COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_LEAST_WIDTH, _GAP = 12, 3  # as runc's table


def run(options: Options) -> None:
    """Print the list; a container whose record is damaged is reported on standard error, and left out."""
    if options.format not in ("table", "json"):
        raise InvalidInput(f"invalid format option '{options.format}'", hint="write table or json")
    found = []
    for container_id in ids(options.root):
        try:
            state = State.load(options.root, container_id)
            found.append(state.describe(state.status()))
        except NotFound:  # it goes, or is only coming
            continue
        except (PycontainerError, OSError) as error:
            log.error(f"container '{container_id}' is left out: {error}")
    if options.quiet:
        output.write("".join(f"{entry['id']}\n" for entry in found))
    elif options.format == "json":
        output.write(f"{text.dumps(found) if found else 'null'}\n")  # what Go makes of a list that has nothing
    else:
        output.write(table([[str(entry[column.lower()]) for column in COLUMNS] for entry in found]))


def table(rows: list[list[str]]) -> str:
    """Return rows of text below the names of the columns; the last column is not filled up."""
    rows = [list(COLUMNS), *rows]
    widths = [max(_LEAST_WIDTH, _GAP + max(len(row[column]) for row in rows)) for column in range(len(COLUMNS) - 1)]
    filled = [[cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + row[-1:] for row in rows]
    return "".join("".join(row) + "\n" for row in filled)
