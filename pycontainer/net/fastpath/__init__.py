"""Hand the packets of long connections to published ports over, past the host's IP stack, as a flowtable would.

    client ── uplink ─►┐                      the kernel's way: routing, connection tracking, translation, rules
                       ├─ program ─► known? ─ no ─► that way ─┬─► link of the instance
                       │               └ yes ─► translated ───┘
    instance ── link ─►┘  and the same from the instance to the client

Each connection begins, and ends, by the kernel's way: what the host decides of it is decided there, and also who it is
translated to. Of what goes on, one packet in 32 is shown to us (samples.py); its connection is looked up in the
kernel's table, and if it is what it must be, its two directions are put into a map that the program finds them in.

    program.py    what each packet of these two links is put to
    flows.py      the map, and the links that the program hangs at
    samples.py    packets that the firewall shows
    host.py       what a host may have that must not be passed by
    worker.py     FastPath: which connections are handed over, and until when

Nothing of it outlives its process: with the descriptors go programs and map, and packets take the kernel's way again.
"""
