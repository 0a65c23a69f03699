"""Compare the course's recipe with what users would choose instead.

``python -m benchmarks.peers [shapes] [roof] [texts] [growth]`` runs these stages, or all of them.
``report`` only draws the report again; ``--quick`` tests the code. Run it on a quiet machine.
"""

import sys

from benchmarks.peers.stages import main

if __name__ == "__main__":
    main(sys.argv[1:])
