"""How an answer differs from the reference, in words."""

from typing import Any

import numpy as np


def brief(value: object) -> str:
    """A value in at most 60 characters; of an ONNX model, the types of its nodes."""
    graph = getattr(value, "graph", None)  # of an ONNX model
    text = " → ".join(n.op_type for n in graph.node) if graph else repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "…"


def difference(given: Any, expected: Any) -> str | None:
    """How an answer differs from the reference, or None when it does not.

    Numbers, arrays and lists of them may differ by rounding; other values must be equal.
    """
    if given is None and expected is not None:  # numpy would turn it into NaN
        return "gives None: does the function return its result?"
    if isinstance(expected, bool) and isinstance(given, bool | np.bool_):
        return None if given == expected else f"gives {given}, expected {expected}"
    try:
        wanted = np.asarray(expected, dtype=float)
        found = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        if given == expected:
            return None
        return f"gives {brief(given)}, expected {brief(expected)}"
    if found.shape != wanted.shape:
        return f"gives shape {found.shape}, expected {wanted.shape}"
    if getattr(expected, "dtype", None) == np.float16 != np.asarray(given).dtype:
        return f"gives {np.asarray(given).dtype}, expected float16"
    if np.allclose(found, wanted, rtol=1e-3, atol=1e-6, equal_nan=True):
        return None
    if wanted.ndim == 0:
        off = abs(float(found) - float(wanted))
        return f"gives {float(found):.4g}, expected {float(wanted):.4g} (off by {off:.2g})"
    return f"is off by up to {np.nanmax(np.abs(found - wanted)):.2g}"
