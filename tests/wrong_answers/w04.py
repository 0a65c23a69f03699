"""Plausible wrong answers to the exercises in 04_runtime_tuning."""

WRONG = {
    "04.best_batch": [
        lambda p95_ms, limit_ms: max(  # the largest allowed, even if throughput falls
            (b for b, ms in p95_ms.items() if ms <= limit_ms), default=None
        ),
        lambda p95_ms, limit_ms: max(p95_ms, key=lambda b: b / p95_ms[b]),  # no limit
        lambda p95_ms, limit_ms: min(p95_ms, key=p95_ms.get),  # the lowest latency: always 1
    ],
    "04.padding": [
        lambda lengths, batches: (  # as if every batch were as wide as the longest of all
            1 - sum(lengths) / (len(lengths) * max(lengths))
        ),
        lambda lengths, batches: (  # a mean of shares that ignores the sizes of the batches
            sum(
                1 - sum(lengths[i] for i in batch) / (len(batch) * max(lengths[i] for i in batch))
                for batch in batches
            )
            / len(batches)
        ),
        lambda lengths, batches: (  # padding relative to the real tokens
            sum(len(b) * max(lengths[i] for i in b) for b in batches) / sum(lengths) - 1
        ),
    ],
    "04.restore": [
        lambda batches, answers: [a for batch in answers for a in batch],  # left sorted by length
        lambda batches, answers: [  # the permutation applied the wrong way round
            [a for batch in answers for a in batch][i] for batch in batches for i in batch
        ],
    ],
}
