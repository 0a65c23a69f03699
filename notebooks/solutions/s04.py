"""Solutions to the exercises of 04_runtime_tuning."""


def best_batch(p95_ms: dict[int, float], limit_ms: float) -> int | None:
    """Batch size with the most texts per second whose p95 stays within the limit, or None."""
    best, most = None, 0.0
    for batch, ms in p95_ms.items():
        texts_per_s = 1000 * batch / ms
        if ms <= limit_ms and texts_per_s > most:
            best, most = batch, texts_per_s
    return best


def padding(lengths: list[int], batches: list[list[int]]) -> float:
    """Share of the computed token positions that are padding, between 0 and 1."""
    computed = padded = 0
    for batch in batches:
        width = max(lengths[i] for i in batch)
        for i in batch:
            computed += width
            padded += width - lengths[i]
    return padded / computed


def restore(batches: list[list[int]], answers: list[list[float]]) -> list[float]:
    """Put the answers, given batch by batch, in the original order of the sentences."""
    by_sentence = {}
    for batch, given in zip(batches, answers, strict=True):
        by_sentence.update(zip(batch, given, strict=True))
    return [by_sentence[i] for i in sorted(by_sentence)]
