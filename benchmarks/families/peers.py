"""Each family at base size beside other tools: time at two shapes, agreement and F1.

``python -m benchmarks.families.peers [FAMILY …]`` needs the environment of ``make peers``. It makes
the checkpoints (see ``checkpoints``), builds our file for each provider, and compares them with
PyTorch and OpenVINO. ``report`` only draws the page again; ``--quick`` tests the code with two
layers. Run it on a quiet machine.
"""

import sys

if __name__ == "__main__":
    # Here, because every process of a candidate imports this file, and few need PyTorch.
    from benchmarks.families.comparison import main

    main(sys.argv[1:])
