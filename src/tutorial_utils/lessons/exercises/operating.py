"""Exercises of 07_operating."""

from tutorial_utils.lessons.exercises.core import exercise

exercise(
    "07.in_share",
    [
        *(("caller 7", share / 10, "blue") for share in range(11)),
        *((f"caller {i}", 0.25, "blue") for i in range(12)),
        *((f"caller {i}", 0.25, "green") for i in range(12)),
        ("Zoë 🚲", 0.5, "blue"),
    ],
    "The place is int.from_bytes(the first 8 bytes of the digest) / 2**64, and the digest is that "
    'of f"{salt}\\0{caller}" in UTF-8. Callers below the share are in.',
)

exercise(
    "07.next_state",
    [
        ("closed", "failure", 1, 3),
        ("closed", "failure", 3, 3),
        ("closed", "success", 0, 3),
        ("closed", "cooldown over", 2, 3),
        ("open", "cooldown over", 0, 3),
        ("open", "success", 0, 3),
        ("open", "failure", 1, 3),
        ("half-open", "success", 0, 3),
        ("half-open", "failure", 1, 3),
        ("half-open", "cooldown over", 0, 3),
    ],
    "Three changes besides staying: closed opens at the limit, open becomes half-open when the "
    "cooldown is over, and half-open goes wherever its one probe says.",
)

exercise(
    "07.ks_statistic",
    [
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]),
        ([5.0, 6.0, 7.0], [1.0, 2.0]),
        ([4.0, 1.0, 3.0, 2.0], [2.5, 2.6, 0.5, 9.0, 2.7]),
        ([1.0, 1.0, 1.0, 2.0], [1.0, 2.0, 2.0, 2.0]),
    ],
    "At each value of either sample: the share of the first that does not exceed it, minus that of "
    "the second. The largest distance, without its sign, is the statistic.",
)
