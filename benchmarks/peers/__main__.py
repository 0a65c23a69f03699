"""Ours beside everything a user would take instead, in one run.

``python benchmarks/peers.py [shapes] [roof] [texts] [growth]``; all when none is named, and
``report`` to draw again what was measured. ``--quick`` tries everything with little effort, for
development. Run it on a quiet machine: ``make peers``. Each stage keeps what it measured in
``results/peers.json`` when it ends, so a later one that fails costs nothing.
"""

import sys

if __name__ == "__main__":
    # Every candidate's process reads this file again; what it need not load stays inside.
    from peer_stages import main

    main(sys.argv[1:])
