"""Plausible wrong answers to the exercises of 07_operating."""

import hashlib
import random


def _place(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


WRONG = {
    "07.in_share": [
        lambda caller, share, salt: random.Random(caller + salt).random() < share,  # another hash
        lambda caller, share, salt: _place(caller) < share,  # no salt: the same callers each time
        lambda caller, share, salt: _place(f"{salt}\0{caller}") > share,  # the other callers
        lambda caller, share, salt: share > 0.5,
    ],
    "07.next_state": [
        lambda state, event, failed, limit: "open" if event == "failure" else "closed",  # at once
        lambda state, event, failed, limit: (  # a late answer closes
            "closed"
            if event == "success"
            else "half-open"
            if event == "cooldown over" and state == "open"
            else "open"
            if event == "failure" and (state != "closed" or failed >= limit)
            else state
        ),
        lambda state, event, failed, limit: (  # half-open needs three failures again
            "open"
            if event == "failure" and failed >= limit
            else "half-open"
            if event == "cooldown over" and state == "open"
            else "closed"
            if event == "success" and state == "half-open"
            else state
        ),
    ],
    "07.ks_statistic": [
        lambda first, second: abs(sum(first) / len(first) - sum(second) / len(second)),  # of means
        lambda first, second: max(  # without the absolute value
            sum(a <= x for a in first) / len(first) - sum(b <= x for b in second) / len(second)
            for x in (*first, *second)
        ),
        lambda first, second: max(  # counts instead of shares
            abs(sum(a <= x for a in first) - sum(b <= x for b in second)) for x in (*first, *second)
        ),
    ],
}
