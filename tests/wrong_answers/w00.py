"""Plausible wrong answers to the exercises of 00_start_here."""

import statistics

PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm")


def _share(events, time, products=PRODUCTS, scale=100):
    total = sum(getattr(e, time) for e in events)
    return scale * sum(getattr(e, time) for e in events if e.key in products) / total


def _padding(tokenizer, texts, width, cut=True, scale=100):
    counts = [len(e.ids) for e in tokenizer.encode_batch(texts)]
    tokens = sum(min(count, width) if cut else count for count in counts)
    return scale * (1 - tokens / (width * len(texts)))


WRONG = {
    "00.pad_share": [
        _padding,  # what the tokenizer padded counts as tokens
        lambda *given: _padding(*given, cut=False),  # a long text takes more than its positions
        lambda *given: _padding(*given, scale=1),  # no percent
        lambda tokenizer, texts, width: 100 * sum(len(t.split()) for t in texts) / width,  # words
    ],
    "00.product_share": [
        lambda events: _share(events, "cpu_time_total"),  # nested operators count twice
        lambda events: _share(events, "self_cpu_time_total", PRODUCTS[:1]),  # addmm only
        lambda events: _share(events, "self_cpu_time_total", scale=1),  # no percent
        lambda events: _share(events, "count"),  # of calls, not of time
    ],
    "00.percentile": [
        lambda times, q: sum(times) / len(times),  # the mean
        lambda times, q: times[int(q / 100 * len(times)) - 1],  # not sorted
        lambda times, q: max(times),
    ],
    "00.throughput": [
        lambda seconds, batch: len(seconds) / sum(seconds),  # forgets the batch
        lambda seconds, batch: 1000 / (sum(seconds) / len(seconds)),
        lambda seconds, batch: batch / statistics.median(seconds),  # leaves slow calls out
    ],
}
