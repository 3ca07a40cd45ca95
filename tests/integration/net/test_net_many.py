"""What holds for a few instances holds for hundreds: the firewall's look at itself."""

import sys

from tests.integration.net.conftest import Site

_LOOK = """
from pycontainer.net.firewall import Element, Firewall
firewall = Firewall("pct_many", "px-")
elements = {
    f"c{number}": [
        Element("own6", f'"px-v{number}" . fd00::{number + 2:x}'),
        Element("share", str(number + 1), statements="ct count over 100 counter"),
    ]
    for number in range(400)
}
firewall.add(elements)
print(repr(firewall.verify()))
firewall._run('delete element inet pct_many own6 { "px-v399" . fd00::191 }')
print(repr(firewall.verify()))
firewall.rebuild()
print(repr(firewall.verify()))
firewall.delete_table()
"""


def test_hundreds_of_elements_are_looked_for(site: Site) -> None:
    """One that is gone is missed, and nobody dies of the question."""
    lines = site.inside.run(sys.executable, "-c", _LOOK).splitlines()
    assert lines == ["''", "\"elements of 'inet pct_many own6' are gone\"", "''"]
