"""Solutions to the exercises of 00_start_here."""

import math
from collections.abc import Sequence

from tokenizers import Tokenizer
from torch.autograd.profiler_util import EventList

PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm")


def pad_share(tokenizer: Tokenizer, texts: Sequence[str], width: int) -> float:
    """Percent of all positions that are padding, when each text has `width` of them."""
    encoded = tokenizer.encode_batch(list(texts))
    tokens = sum(min(sum(one.attention_mask), width) for one in encoded)
    return 100 * (1 - tokens / (width * len(texts)))


def product_share(events: EventList) -> float:
    """Percent of the time of all operators that matrix products take."""
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS)
    return 100 * products / total


def percentile(times, q):
    """Nearest rank: the smallest value that at least q percent of all do not exceed."""
    rank = math.ceil(len(times) * q / 100)
    return sorted(times)[rank - 1]


def throughput(seconds, batch):
    """Items handled in all, by time spent in all."""
    return len(seconds) * batch / sum(seconds)
