"""``python -m benchmarks.scale``: see ``benchmarks.scale.plan``."""

from benchmarks.scale.plan import main

main()
