"""Plausible wrong answers to the exercises of 07_operating."""

import hashlib
import random

from prometheus_client.parser import text_string_to_metric_families
from scipy import stats


def _place(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def _hex_place(caller, salt, digits):
    return int(hashlib.sha256(f"{salt}\0{caller}".encode()).hexdigest()[:digits], 16) / 2**64


def _counts(text, route="/predict"):
    return {
        sample.labels["status"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "serve_requests_total" and route in (None, sample.labels["route"])
    }


def _share(counts, first="5"):
    errors = sum(n for status, n in counts.items() if status.startswith(first))
    return errors / sum(counts.values()) if any(counts.values()) else 0.0


def _increase(before, after, fell=lambda now, then: now, route="/predict"):
    then = _counts(before, route)
    return {
        status: n - then.get(status, 0) if n >= then.get(status, 0) else fell(n, then[status])
        for status, n in _counts(after, route).items()
    }


def _asked(client, texts, version):
    asked = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    url = f"/v2/models/sentiment/versions/{version}/infer"
    return client.post(url, json={"inputs": [asked]})


def _outputs(client, texts, version):
    return {o["name"]: o["data"] for o in _asked(client, texts, version).json().get("outputs", ())}


def _positions(client, texts, version):
    rows = _outputs(client, texts, version).get("probabilities", [0.0] * 2 * len(texts))
    return [a > b for a, b in zip(rows[::2], rows[1::2], strict=True)]


def _apart(first, second):
    return sum(a != b for a, b in zip(first, second, strict=False))


def _retry(client, body, tries, sleep, statuses=(429, 503), wait=None, last=True):
    for left in reversed(range(tries)):
        response = client.post("/predict", json=body)
        if response.status_code not in statuses or (left == 0 and last):
            return response
        sleep(wait or float(response.headers.get("Retry-After", 1)))
    return response


WRONG = {
    "07.in_share": [
        lambda caller, share, salt: random.Random(caller + salt).random() < share,  # another hash
        lambda caller, share, salt: _place(caller) < share,  # no salt: the same callers each time
        lambda caller, share, salt: _place(f"{salt}\0{caller}") > share,  # the other callers
        lambda caller, share, salt: _place(salt + caller) < share,  # salt and name run together
        lambda caller, share, salt: _hex_place(caller, salt, 8) < share,  # 8 hex digits are 4 bytes
        lambda caller, share, salt: _hex_place(caller, salt, 64) < share,  # not between 0 and 1
    ],
    "07.error_rate": [
        lambda before, after: _share(_counts(after)),  # since the start, not between the two
        lambda before, after: _share(  # negative after a restart
            {s: n - _counts(before).get(s, 0) for s, n in _counts(after).items()}
        ),
        lambda before, after: _share(_increase(before, after, lambda now, then: 0)),
        lambda before, after: _share(_increase(before, after), ("4", "5")),  # 429 is no failure
        lambda before, after: _share(_increase(before, after, route=None)),  # of all routes
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
    "07.differing": [
        lambda client, texts, first, second: _apart(  # positions: swapped labels look alike
            _positions(client, texts, first), _positions(client, texts, second)
        ),
        lambda client, texts, first, second: _apart(  # a failed answer counts as none
            _outputs(client, texts, first).get("label", ()),
            _outputs(client, texts, second).get("label", ()),
        ),
        lambda client, texts, first, second: _apart(  # the first output is not the labels
            *(_asked(client, texts, v).json()["outputs"][0]["data"] for v in (first, second))
        ),
        lambda client, texts, first, second: (
            (  # of statuses, which are all 200
                _asked(client, texts, first).status_code
                != _asked(client, texts, second).status_code
            )
            * len(texts)
        ),
    ],
    "07.drifted": [
        lambda normal, now, alpha: [  # three tests, three chances of a false alarm
            n for n in normal if stats.ks_2samp(normal[n], now[n]).pvalue < alpha
        ],
        lambda normal, now, alpha: [  # means only
            n for n in normal if stats.ttest_ind(normal[n], now[n]).pvalue < alpha / len(normal)
        ],
        lambda normal, now, alpha: [  # the distance is not the p-value
            n for n in normal if stats.ks_2samp(normal[n], now[n]).statistic > alpha
        ],
        lambda normal, now, alpha: any(  # which one?
            stats.ks_2samp(normal[n], now[n]).pvalue < alpha / len(normal) for n in normal
        ),
    ],
    "07.patient": [
        lambda *given: _retry(*given, wait=1),  # as long as it likes
        lambda *given: _retry(*given, last=False),  # sleeps once more than needed
        lambda *given: _retry(*given, statuses=(422, 429, 500, 503)),  # a bad text stays bad
        lambda *given: _retry(*given),  # retries although nobody asked for it
        lambda client, body, tries, sleep: client.post("/predict", json=body),  # gives up at once
    ],
}
