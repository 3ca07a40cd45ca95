"""What is asked of nftables, and what happens when it refuses."""

from collections.abc import Sequence

import pytest

from pycontainer.errors import Unsupported
from pycontainer.net.elements import Element
from pycontainer.net.firewall import Firewall
from pycontainer.net.nft import Nft

OWN = Element("own4", '"pc-v1" . 10.0.0.2')
PORT = Element("pub4", "tcp . 8080", "10.0.0.2 . 80")


class FakeNft:
    """Records the commands that change something; refuses those that hold `refused`. A listing shows `listed`."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.direct = 0  # how many of them were for the kernel itself
        self.refused = ""
        self.listed = "rules"

    def run(self, commands: str, *, flags: int = 0) -> str:
        if not commands.startswith(("list ", "get ")):
            self.commands.append(commands)
        if self.refused and self.refused in commands:
            raise OSError(5, "nftables: no")
        return self.listed

    def close(self) -> None:
        self.commands.append("close")


class FakeElements:
    """Says to `nft` in its words what it would tell the kernel."""

    def __init__(self, nft: FakeNft) -> None:
        self._nft = nft

    def change(self, old: Sequence[Element], new: Sequence[Element]) -> None:
        self._nft.direct += 1
        words = [("delete", each.where, each.text(is_complete=False)) for each in old]
        words += [("add", each.where, each.text()) for each in new]
        self._nft.run("".join(f"{verb} element inet pycontainer {where} {{ {text} }}\n" for verb, where, text in words))


@pytest.fixture
def nft() -> FakeNft:
    return FakeNft()


@pytest.fixture
def firewall(nft: FakeNft) -> Firewall:
    made = Firewall("pycontainer", "pc-")
    made._nft = nft  # type: ignore[assignment]
    made._direct = FakeElements(nft)  # type: ignore[assignment]
    return made


def test_first_element_brings_the_table(firewall: Firewall, nft: FakeNft) -> None:
    firewall.add({"a": [OWN]})
    (command,) = nft.commands
    assert command.startswith("add table inet pycontainer\ndelete table inet pycontainer\ntable inet pycontainer {")
    assert 'iifname "pc-*" jump from_instance' in command
    assert command.endswith('add element inet pycontainer own4 { "pc-v1" . 10.0.0.2 }\n')


def test_later_ones_are_one_command_in_and_one_out(firewall: Firewall, nft: FakeNft) -> None:
    firewall.add({})
    del nft.commands[:]
    firewall.add({"a": [OWN], "a:ports": [PORT]})
    firewall.remove("a", "a:ports", "unknown")
    firewall.remove("a")
    own, port = 'own4 { "pc-v1" . 10.0.0.2 }', "pub4 { tcp . 8080 : 10.0.0.2 . 80 }"
    assert nft.direct == 2
    assert nft.commands == [
        f"add element inet pycontainer {own}\nadd element inet pycontainer {port}\n",
        f"delete element inet pycontainer {own}\ndelete element inet pycontainer pub4 {{ tcp . 8080 }}\n",
    ]


def test_what_a_packet_is_put_to_is_for_nft(firewall: Firewall, nft: FakeNft) -> None:
    firewall.add({"a": [OWN]})
    firewall.add({"a:guard": [Element("guard", '"pc-v1"', statements="limit rate over 9/second counter")]})
    firewall.remove("a:guard")
    assert nft.direct == 0
    assert nft.commands[1:] == [
        'add element inet pycontainer guard { "pc-v1" limit rate over 9/second counter }\n',
        'delete element inet pycontainer guard { "pc-v1" }\n',
    ]


def test_refused_change_ends_in_the_whole_table(firewall: Firewall, nft: FakeNft) -> None:
    firewall.add({"a": [OWN]})
    nft.refused = "delete element"
    firewall.remove("a")
    assert "own4 {" in nft.commands[-1].split("chain first")[0]
    assert "add element" not in nft.commands[-1]
    nft.refused = "add element inet pycontainer pub4 { tcp . 8080 : 10.0.0.2 . 80 }\n"
    with pytest.raises(OSError, match="nftables: no"):
        firewall.add({"b": [PORT]})
    assert not firewall.has("b")


def test_second_wish_is_one_transaction_that_leaves_the_rest_alone(firewall: Firewall, nft: FakeNft) -> None:
    """A rebuild would begin every instance's count of connections anew."""
    firewall.add({"a": [OWN], "b": [PORT]})
    del nft.commands[:]
    firewall.add({"a": [PORT._replace(key="tcp . 81")]})
    assert nft.commands == [
        'delete element inet pycontainer own4 { "pc-v1" . 10.0.0.2 }\n'
        "add element inet pycontainer pub4 { tcp . 81 : 10.0.0.2 . 80 }\n"
    ]


def test_bridge_table_comes_with_the_first_port_and_goes_with_the_last(firewall: Firewall, nft: FakeNft) -> None:
    firewall.add({"a": [OWN]})
    assert "bridge pycontainer" not in nft.commands[-1]
    firewall.add({"b": [Element("port4", '"pc-v2" . 10.1.0.2')]})
    assert nft.commands[-1].startswith(
        "add table bridge pycontainer\ndelete table bridge pycontainer\ntable bridge pycontainer {"
    )
    assert nft.commands[-1].endswith('add element bridge pycontainer port4 { "pc-v2" . 10.1.0.2 }\n')
    firewall.remove("b")
    assert nft.commands[-1] == (
        'delete element bridge pycontainer port4 { "pc-v2" . 10.1.0.2 }\ndelete table bridge pycontainer\n'
    )


def test_kernel_that_cannot_filter_bridges(firewall: Firewall, nft: FakeNft) -> None:
    nft.refused = "add table bridge"
    with pytest.raises(Unsupported) as caught:
        firewall.require_bridge()
    assert caught.value.message == (
        "cannot make a bridge network safe: this kernel has no nftables for bridges (nftables: no)"
    )
    assert caught.value.feature == "nf_tables_bridge"


def test_verify_says_what_is_missing(firewall: Firewall, nft: FakeNft) -> None:
    firewall.add({"a": [OWN]})
    assert firewall.verify() == ""
    nft.listed = "other rules"
    assert firewall.verify() == "rules of table 'inet pycontainer' were changed"
    nft.refused = "list table inet"
    assert firewall.verify() == "table 'inet pycontainer' is gone"
    nft.listed, nft.refused = "rules", "get element inet pycontainer own4"
    assert firewall.verify() == "elements of 'inet pycontainer own4' are gone"


def test_number_of_rules_does_not_depend_on_the_instances(firewall: Firewall, nft: FakeNft) -> None:
    firewall.add({})
    empty = nft.commands[-1].count("\n")
    firewall.adopt({str(i): [Element("own4", f'"pc-v{i}" . 10.0.0.{i}')] for i in range(2, 200)})
    assert nft.commands[-1].count("\n") == empty + 1


def test_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", refuse)
    with pytest.raises(Unsupported) as caught:
        Nft()
    assert (caught.value.feature, caught.value.hint) == ("libnftables", "install it: apt-get install libnftables1")
