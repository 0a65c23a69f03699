"""The recipe of the series beside everything a user would take instead.

``python -m benchmarks.peers [shapes] [roof] [texts] [growth]`` runs these stages, or all of them;
``report`` draws again what was measured, ``--quick`` tries the code. Run it on a quiet machine.
"""

import sys

from benchmarks.peers.stages import main

if __name__ == "__main__":
    main(sys.argv[1:])
