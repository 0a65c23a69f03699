"""Sequential tests of a canary, with a bound on false alarms although we look at every answer.

A fixed limit that is checked again and again eventually fails even a good canary. Both tests here
roll back a canary that is good enough in at most ``ALPHA`` of trials, however long the trial lasts.
Both assume that texts are independent of each other.

Agreement: Wald's sequential probability ratio test (A. Wald, Ann. Math. Stat. 16, 1945) without
its lower boundary: no trial ends as good. Its ratio is a non-negative martingale when the
agreement is ``limit + margin``; the chance that it ever reaches 1 / ALPHA is at most ALPHA (Ville).

Errors: Fisher's exact test of two proportions at looks that double in size, each with its share of
ALPHA (O'Brien and Fleming, Biometrics 35, 1979; Lan and DeMets, Biometrika 70, 1983). The shares
sum to ALPHA, so the union bound holds whatever the error rate is. Most is spent after 200 answers.
Ten points more errors are found by then in at least 90 % of trials if the stable version fails at
most 5 % of its requests and answers as many as the canary. If it fails 10 %, in about 80 %. For
comparison: one look at 200 answers of each finds about 88 %, by the normal approximation.
"""

import math
from dataclasses import dataclass

ALPHA = 0.05  # share of trials in which a good canary is rolled back
MARGIN = 0.05  # a true agreement within this of the limit is left undecided
FIRST = 25  # answers of the canary at the first look; each later look is at twice as many
SPENT = (0.05, 0.05, 0.1, 0.65)  # of ALPHA at the first looks; each later one has half the rest


@dataclass(frozen=True)
class Counts:
    """Answers of a version, and how many of them were errors."""

    answers: int = 0
    errors: int = 0

    def plus(self, error: bool) -> "Counts":
        return Counts(self.answers + 1, self.errors + error)

    @property
    def rate(self) -> float:
        return self.errors / self.answers if self.answers else 0.0


def disagrees(agreeing: int, differing: int, limit: float) -> bool:
    """Is the true share of agreeing texts below ``limit``?

    True in at most ALPHA of trials when that share is ``limit + margin`` or more, and soon when it
    is ``limit - margin`` or less. margin: ``MARGIN``, less near 0 and 1; a limit of 0 is never
    missed.
    """
    return log_likelihood_ratio(agreeing, differing, limit) >= math.log(1 / ALPHA)


def log_likelihood_ratio(agreeing, differing, limit: float):
    """Log of how much more likely the counts are at ``limit - margin`` than at ``limit + margin``.

    The counts may be numpy arrays.
    """
    margin = min(MARGIN, limit / 2, (1 - limit) / 2)
    if margin == 0:
        return 0.0 * agreeing
    rest = 1 - limit  # 1 - (limit + margin) would be rounded to 0 next to a limit of 1
    agrees = math.log((limit - margin) / (limit + margin))
    return agreeing * agrees + differing * math.log((rest + margin) / (rest - margin))


def alpha_at(answers: int) -> float:
    """Significance level of the look after so many answers of the canary; 0 where there is none."""
    size, rest = divmod(answers, FIRST)
    look = size.bit_length() - 1
    if rest or size != 2**look:
        return 0.0
    if look < len(SPENT):
        return ALPHA * SPENT[look]
    return ALPHA * (1 - sum(SPENT)) * 0.5 ** (look - len(SPENT) + 1)


def p_value(canary: Counts, stable: Counts) -> float:
    """One-sided p-value of Fisher's exact test: as many errors of the canary's or more by chance.

    The tail of the hypergeometric distribution: all errors fall on answers at random.
    """
    answers, errors = canary.answers + stable.answers, canary.errors + stable.errors
    whole = _log_choose(answers, errors)
    tail = (
        math.exp(_log_choose(canary.answers, k) + _log_choose(stable.answers, errors - k) - whole)
        for k in range(max(canary.errors, errors - stable.answers), min(errors, canary.answers) + 1)
    )
    return min(1.0, math.fsum(tail))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
