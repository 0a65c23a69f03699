"""Solutions to the exercises of 07_operating."""

import hashlib

from prometheus_client.parser import text_string_to_metric_families
from scipy import stats


def in_share(caller, share, salt):
    """The place is a hash of salt and name, so it needs no table and never changes."""
    digest = hashlib.sha256(f"{salt}\0{caller}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    return place < share


def by_status(text):
    """status → requests to /predict so far, from the text of /metrics."""
    return {
        sample.labels["status"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "serve_requests_total" and sample.labels["route"] == "/predict"
    }


def error_rate(before, after):
    """Each counter's increase is counted from 0 if it has restarted, as `rate()` does."""
    then = by_status(before)
    increase = {}
    for status, now in by_status(after).items():
        had = then.get(status, 0)
        increase[status] = now - had if now >= had else now
    errors = sum(count for status, count in increase.items() if status.startswith("5"))
    total = sum(increase.values())
    return errors / total if total else 0.0


def next_state(state, event, failed, limit):
    """Closed opens at the limit; open waits for the cooldown; half-open decides after one probe."""
    if state == "closed" and event == "failure" and failed >= limit:
        return "open"
    if state == "open" and event == "cooldown over":
        return "half-open"
    if state == "half-open" and event == "success":
        return "closed"
    if state == "half-open" and event == "failure":
        return "open"
    return state


def differing(client, texts, first, second):
    """Labels are compared by name. A failed answer has no label, so all its texts differ."""
    asked = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    labels = []
    for version in (first, second):
        url = f"/v2/models/sentiment/versions/{version}/infer"
        response = client.post(url, json={"inputs": [asked]})
        if response.status_code != 200:
            return len(texts)
        outputs = response.json()["outputs"]
        labels.append(next(output["data"] for output in outputs if output["name"] == "label"))
    return sum(a != b for a, b in zip(*labels, strict=True))


def drifted(normal, now, alpha):
    """Bonferroni: several tests together raise a false alarm in at most alpha of the windows."""
    return [
        name
        for name in normal
        if stats.ks_2samp(normal[name], now[name]).pvalue < alpha / len(normal)
    ]


def patient(client, body, tries, sleep):
    """Waits only where the service asks for it, and never after the last try."""
    for left in reversed(range(tries)):
        response = client.post("/predict", json=body)
        refused = response.status_code in (429, 503) and "Retry-After" in response.headers
        if not refused or left == 0:
            return response
        sleep(float(response.headers["Retry-After"]))
