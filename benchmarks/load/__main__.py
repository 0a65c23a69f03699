"""How much the service takes, what it does beyond that, and what it costs; beside other servers.

``python benchmarks/load.py [overload] [batching] [idle] [http] [age] [endpoints]``; all when none
is named, and ``report`` to draw again what was measured. ``--quick`` tries everything with little
effort. Run it on a quiet machine: ``make load``. Each stage keeps what it measured in
``results/load.json`` when it ends, so a later one that fails costs nothing.
"""

import sys

if __name__ == "__main__":
    # Processes that are spawned read this file again; what they need not load stays inside.
    from load_stages import main

    main(sys.argv[1:])
