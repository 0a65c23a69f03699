"""The project's measurements: each sub-package is a run, ``python -m benchmarks.NAME``.

A run writes only to ``artifacts/results/<machine>/``. ``python -m benchmarks.store`` (``make
results``) copies the results to ``benchmarks/results/<machine>/`` and updates README and docs.
"""
