"""How well a colour can be told from another without seeing colours."""

import numpy as np


def luminance(rgb):
    """Relative luminance (WCAG 2.2) of colours between 0 and 1, in the last dimension."""
    rgb = np.asarray(rgb)[..., :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(one, other):
    lighter, darker = np.maximum(one, other), np.minimum(one, other)
    return (lighter + 0.05) / (darker + 0.05)
