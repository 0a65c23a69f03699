"""Plausible wrong answers to the exercises in 02_fusion."""

WRONG = {
    "02.traffic": [
        lambda elements, operators: 4 * elements * operators / 1e6,  # writes only
        lambda elements, operators: 2 * elements * operators / 1e6,  # elements, not bytes
        lambda elements, operators: 4 * elements * (operators + 1) / 1e6,  # as if it stayed cached
    ],
    "02.missing": [
        lambda expected, found: {  # misses operators that were never found
            op: n - found[op] for op, n in expected.items() if op in found and found[op] < n
        },
        lambda expected, found: {op: n - found.get(op, 0) for op, n in expected.items()},
        lambda expected, found: {op: n for op, n in expected.items() if found.get(op, 0) < n},
    ],
}
