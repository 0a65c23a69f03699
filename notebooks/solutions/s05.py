"""Solutions to the exercises of 05_serving."""

import math


def stable_softmax(logits):
    """Shift by the largest logit: the largest power is then exp(0) = 1, and none overflows."""
    top = max(logits)
    total = sum(math.exp(x - top) for x in logits)
    return [math.exp(x - top) / total for x in logits]


def admit(waiting, texts, limit):
    """Refuse a request that does not fit into the queue as a whole."""
    if waiting + texts > limit:
        return 429
    return 200
