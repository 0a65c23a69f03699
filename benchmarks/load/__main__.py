"""How much load the service takes, what it does beyond that, and how other servers compare.

``python -m benchmarks.load [overload] [batching] [idle] [http] [age] [endpoints]`` runs these
stages, or all of them; ``report`` draws again what was measured, ``--quick`` tries the code. Run
it on a quiet machine.
"""

import sys

from benchmarks.load.stages import main

if __name__ == "__main__":
    main(sys.argv[1:])
