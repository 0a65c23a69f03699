"""Plausible wrong answers to the exercises of 05_serving."""

import math

WRONG = {
    "05.stable_softmax": [
        lambda logits: [math.exp(x) / sum(map(math.exp, logits)) for x in logits],  # overflows
        lambda logits: [
            math.exp(x - max(map(abs, logits)))
            / sum(math.exp(y - max(map(abs, logits))) for y in logits)
            for x in logits
        ],  # shifted by the largest |logit|: all exponentials are 0 if the logits are very negative
    ],
    "05.admit": [
        lambda waiting, texts, limit: 200 if waiting < limit else 429,  # ignores the new texts
        lambda waiting, texts, limit: 200 if waiting + texts < limit else 429,  # off by one
        lambda waiting, texts, limit: 503,
    ],
}
