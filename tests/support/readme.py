"""The code blocks of README.md, so that tests can run what it shows."""

import re

from tests.support.images import CHECKOUT


def blocks(language: str) -> list[str]:
    """Return the texts of all fenced blocks of `language`, in order."""
    with open(f"{CHECKOUT}/README.md") as file:
        return re.findall(rf"^```{language}\n(.*?)^```$", file.read(), re.DOTALL | re.MULTILINE)


def console_steps() -> list[tuple[str, str]]:
    """Return (command, output shown) of every console block, in order."""
    steps: list[tuple[str, str]] = []
    for line in "".join(blocks("console")).splitlines(keepends=True):
        if line.startswith("# "):
            steps.append((line[2:].strip(), ""))
        else:
            command, output = steps.pop()
            steps.append((command, output + line))
    return steps
