"""The service's capacity, its behaviour under overload, and a comparison with other servers.

``python -m benchmarks.load [overload] [batching] [idle] [http] [age] [endpoints]`` runs these
stages, or all of them. ``report`` only draws the report again; ``--quick`` tests the code. Run it
on a quiet machine.
"""

import sys

from benchmarks.load.stages import main

if __name__ == "__main__":
    main(sys.argv[1:])
