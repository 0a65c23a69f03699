"""Plausible wrong answers to the exercises of 06_continuous_optimization."""

import math

WRONG = {
    "06.score_missed": [
        lambda difference, low, tolerance, certain: difference < -tolerance,  # never certain
        lambda difference, low, tolerance, certain: low < -tolerance,  # always certain
        lambda difference, low, tolerance, certain: (low if certain else difference) < tolerance,
        lambda difference, low, tolerance, certain: (  # inverted: says whether it passes
            (low if certain else difference) >= -tolerance
        ),
    ],
    "06.texts_needed": [
        lambda texts, half_width, wanted: math.ceil(texts * half_width / wanted),  # no square
        lambda texts, half_width, wanted: math.ceil(texts * math.sqrt(half_width / wanted)),
        lambda texts, half_width, wanted: math.ceil(texts * (wanted / half_width) ** 2),  # inverted
    ],
}
