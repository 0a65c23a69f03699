"""Plausible wrong answers to the exercises of 00_start_here."""

WRONG = {
    "00.percentile": [
        lambda times, q: sum(times) / len(times),  # the mean
        lambda times, q: times[int(q / 100 * len(times)) - 1],  # not sorted
        lambda times, q: max(times),
    ],
    "00.throughput": [
        lambda seconds, batch: len(seconds) / sum(seconds),  # forgets the batch
        lambda seconds, batch: 1000 / (sum(seconds) / len(seconds)),
    ],
}
