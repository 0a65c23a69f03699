"""Solutions to the exercises of 03_quantization."""


def asymmetric(values):
    """Scale and zero point of unsigned 8-bit levels for `values`, as for activations."""
    lowest = min(0.0, min(values))  # 0 must be exact: padding and ReLU produce many zeros
    highest = max(0.0, max(values))
    scale = (highest - lowest) / 255  # 256 levels, so 255 steps
    zero_point = round((0.0 - lowest) / scale)
    return scale, zero_point


def megabytes(weights, quantized):
    """Size in MB of a file with weights[op] weights for each operator."""
    total = 0
    for op, count in weights.items():
        bytes_each = 1 if op in quantized else 4
        total += bytes_each * count
    return total / 1e6


def pareto(points):
    """Sorted names of the points that no other point beats; less is better in both numbers."""
    kept = []
    for name, (x, y) in points.items():
        others = [point for other, point in points.items() if other != name]
        no_worse = [(a, b) for a, b in others if a <= x and b <= y]
        if all(point == (x, y) for point in no_worse):
            kept.append(name)
    return sorted(kept)
