"""Support package of the course: make transformers fast on ONNX Runtime.

Import this package before ``onnxruntime``: official ONNX Runtime builds report usage data unless
``ORT_DISABLE_TELEMETRY`` is set before the library is first loaded.
"""

import os
import warnings

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Notebooks here store no widgets, so the missing ones are no news.
warnings.filterwarnings("ignore", message="IProgress not found")

__version__ = "0.1.0"
