"""Plausible wrong answers to the exercises of 03_quantization."""

WRONG = {
    "03.asymmetric": [
        # Forgets that 0 must be in the range.
        lambda values: (
            (max(values) - min(values)) / 255,
            round(-min(values) * 255 / (max(values) - min(values))),
        ),
        # The symmetric scheme, as for weights.
        lambda values: (max(abs(v) for v in values) / 127, 0),
        # 256 steps instead of 255.
        lambda values: (
            (max(*values, 0.0) - min(*values, 0.0)) / 256,
            round(-min(*values, 0.0) * 256 / (max(*values, 0.0) - min(*values, 0.0))),
        ),
    ],
    "03.megabytes": [
        # A quarter of everything.
        lambda weights, quantized: sum(weights.values()) / 1e6,
        # Drops what is not quantized.
        lambda weights, quantized: sum(weights.get(op, 0) for op in quantized) / 1e6,
        # Bytes, not megabytes.
        lambda weights, quantized: sum(
            count * (1 if op in quantized else 4) for op, count in weights.items()
        ),
    ],
    "03.pareto": [
        # In any order.
        lambda points: [
            name
            for name, (x, y) in points.items()
            if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())
        ],
        # Equal points beat each other.
        lambda points: sorted(
            name
            for name, (x, y) in points.items()
            if not any(a <= x and b <= y for n, (a, b) in points.items() if n != name)
        ),
        # Only the fastest.
        lambda points: [min(points, key=points.get)],
        # Everything.
        lambda points: sorted(points),
        # Only the best in each number.
        lambda points: sorted(
            {min(points, key=lambda n: points[n]), min(points, key=lambda n: points[n][::-1])}
        ),
    ],
}
