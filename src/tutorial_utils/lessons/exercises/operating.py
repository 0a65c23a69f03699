"""Exercises of 07_operating."""

from collections.abc import Callable, Sequence

import numpy as np

from tutorial_utils.lessons.exercises import solutions
from tutorial_utils.lessons.exercises.comparison import difference
from tutorial_utils.lessons.exercises.core import exercise

_CALLERS = [
    *(("caller 7", share / 10, "blue") for share in range(11)),
    *((f"caller {i}", 0.25, "blue") for i in range(12)),
    *((f"caller {i}", 0.25, "green") for i in range(12)),
    ("Zoë 🚲", 0.5, "blue"),
]


def _judge_in_share(answer: Callable) -> str | None:
    """Compare it with the reference, and name the mistakes that are made most."""
    right = solutions.function("07.in_share")
    given = [answer(*case) for case in _CALLERS]
    expected = [right(*case) for case in _CALLERS]
    wrong = [(c, difference(g, e)) for c, g, e in zip(_CALLERS, given, expected, strict=True)]
    first = next(((case, told) for case, told in wrong if told), None)
    if first is None:
        return None
    inside = [share > 0 for _, share, _ in _CALLERS]
    pythons = [hash(f"{salt}\0{c}") % 2**64 / 2**64 < share for c, share, salt in _CALLERS]
    mistakes = (
        (
            inside,
            "Every caller gets the canary: the place is next to 0. Take 8 "
            "bytes, which are 16 hex digits, before you divide by 2**64.",
        ),
        ([False] * len(inside), "No caller gets the canary: the place is not between 0 and 1."),
        (pythons, "It still uses Python's hash()."),
        ([not one for one in expected], "It takes exactly the callers that it should leave out."),
    )
    told = next((mistake for answers, mistake in mistakes if given == answers), None)
    return told or f"For {first[0]} it {first[1]}."


exercise(
    "07.in_share",
    (),
    "It takes two steps: a digest that is the same in every process, which Python's hash() is not, "
    "and a number between 0 and 1 from its first 8 bytes.",
    'hashlib.sha256(f"{salt}\\0{caller}".encode()).digest() gives 32 bytes. Turn the first 8 into '
    "a number with int.from_bytes.",
    "place = int.from_bytes(digest[:8]) / 2**64, and the answer is place < share.",
    judge=_judge_in_share,
)


def _scrape(counts: dict[tuple[str, str], int]) -> str:
    """/metrics of a service that has answered so many requests, by route and status."""
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

    registry = CollectorRegistry()
    requests = Counter(
        "requests", "Requests.", ("route", "status"), namespace="serve", registry=registry
    )
    seconds = Histogram("request_seconds", "Times.", namespace="serve", registry=registry)
    for labels, count in counts.items():
        requests.labels(*labels).inc(count)
        seconds.observe(0.01)
    return generate_latest(registry).decode()


_BEFORE = _scrape({("/predict", "200"): 1_000, ("/predict", "503"): 50, ("/metrics", "200"): 9})

exercise(
    "07.error_rate",
    [
        (_BEFORE, _scrape({("/predict", "200"): 1_090, ("/predict", "503"): 60})),
        (_BEFORE, _BEFORE),
        (_BEFORE, _scrape({("/predict", "200"): 30, ("/predict", "503"): 10})),  # restarted
        (_BEFORE, _scrape({("/predict", "200"): 1_060, ("/predict", "503"): 20})),  # one restarted
        (
            _BEFORE,
            _scrape(
                {
                    ("/predict", "200"): 1_060,
                    ("/predict", "429"): 20,  # the caller's turn to wait, and no error of ours
                    ("/predict", "500"): 15,  # a series that was not there before
                    ("/predict", "503"): 55,
                    ("/livez", "503"): 700,
                }
            ),
        ),
    ],
    "Look at each counter by itself. What is its increase if it is smaller than before?",
    "A counter that fell has restarted from 0, so its increase is its new value. One that was not "
    "there before has increased from 0.",
    "now - then if now >= then else now, where then is by_status(before).get(status, 0). Add up "
    'those whose status starts with "5", and divide by the sum of all, unless that is 0.',
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
    "Draw the three states as circles. Which events lead from each one to another? In all other "
    "cases the state stays as it is.",
    "There are four arrows: closed opens at the limit, open becomes half-open after the cooldown, "
    "and half-open goes to closed or to open, as its one probe says.",
    'Only "half-open" looks at the event alone: "success" closes, "failure" opens. A late '
    '"success" while open changes nothing.',
)

_LABELS = ("negative", "positive")
_TEXTS = ("a joy", "dull", "a bore", "fine")
_VERSIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # version → its labels in order, and what it says of the four texts
    "1": (_LABELS, ("positive", "negative", "negative", "positive")),
    "2": (_LABELS, ("positive", "negative", "positive", "positive")),
    "4": (_LABELS[::-1], ("negative", "positive", "positive", "negative")),
    "6": (_LABELS[::-1], ("positive", "negative", "negative", "positive")),  # another order only
}
_BROKEN = "5"  # answers no request


def _service():
    """An application that answers as the service does, with these versions."""
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    app = FastAPI()

    @app.post("/v2/models/sentiment/versions/{version}/infer")
    def infer(version: str, body: dict):
        (given,) = body["inputs"]
        if (given["name"], given["datatype"]) != ("text", "BYTES"):
            return JSONResponse({"error": "one input, text, of BYTES"}, 422)
        if given["shape"] != [len(given["data"])]:
            return JSONResponse({"error": "the shape must be [texts]"}, 400)
        if version == _BROKEN:
            return JSONResponse({"error": "no model can answer"}, 503)
        labels, said = _VERSIONS[version]
        told = [said[_TEXTS.index(text)] for text in given["data"]]
        rows = [[0.9 if label == name else 0.1 for label in labels] for name in told]
        shape = [len(told)]
        outputs = [
            {"name": "probabilities", "datatype": "FP32", "shape": [*shape, 2],
             "data": [p for row in rows for p in row]},
            {"name": "label", "datatype": "BYTES", "shape": shape, "data": told},
        ]  # fmt: skip
        return {"model_name": "sentiment", "model_version": version, "outputs": outputs}

    return app


def _apart_in_first_output(client, texts: Sequence[str], first: str, second: str) -> int | None:
    """What an answer gives that takes ``outputs[0]``, which has two numbers for each text."""
    asked = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    answers = [
        client.post(f"/v2/models/sentiment/versions/{v}/infer", json={"inputs": [asked]}).json()
        for v in (first, second)
    ]
    if not all("outputs" in answer for answer in answers):
        return None
    pairs = zip(*(answer["outputs"][0]["data"] for answer in answers), strict=True)
    return sum(a != b for a, b in pairs)


def _judge_differing(answer: Callable) -> str | None:
    """Ask an application with it, over HTTP."""
    from fastapi.testclient import TestClient

    whole, three = list(_TEXTS), list(_TEXTS[:3])
    cases = [
        ("1", "1", whole, 0, "the same version twice"),
        ("1", "2", whole, 1, "a version with another label for one text"),
        ("1", "4", whole, 4, "a version whose labels are swapped"),
        ("1", "6", whole, 0, "a version that lists its labels in another order"),
        ("1", "2", three[:2], 0, "two texts with the same labels"),
        ("1", _BROKEN, three, 3, "a candidate that answers 503: none of its texts has the label"),
    ]
    with TestClient(_service()) as client:
        for first, second, texts, expected, what in cases:
            found = answer(client, texts, first, second)
            if wrong := difference(found, expected):
                if found == _apart_in_first_output(client, texts, first, second):
                    return "It compares the first output. Take the output *named* `label`."
                return f"For {what} it {wrong}."
    return None


exercise(
    "07.differing",
    (),
    "Ask each version once with all texts. Compare labels by their names, text by text, and think "
    "of a version that does not answer.",
    "The answer's `outputs` come in no fixed order: take the one with the name `label`. Look at "
    "`status_code` before you read an answer.",
    "client.post(f'/v2/models/sentiment/versions/{version}/infer', json={'inputs': [{'name': "
    "'text', 'datatype': 'BYTES', 'shape': [len(texts)], 'data': texts}]}); if one of the two is "
    "not 200, return len(texts); else sum(a != b for a, b in zip(...)).",
    judge=_judge_differing,
)


def _samples(seed: int, moved: Sequence[str] = (), size: int = 250) -> dict[str, list[float]]:
    """Three features of some texts. moved: those that are not as usual."""
    random = np.random.default_rng(seed)
    found = {
        "length": random.poisson(20 + 8 * ("length" in moved), size),
        "unknown": random.beta(1, 30, size) + 0.05 * ("unknown" in moved),
        # Wider on both sides, with the same mean.
        "confidence": 0.5 + random.normal(0, 0.1 * (1 + ("confidence" in moved)), size),
    }
    return {name: values.round(4).tolist() for name, values in found.items()}


def _borderline() -> dict[str, list[float]]:
    """Features of which one has p = 0.03: below 0.05, and above a third of it."""
    from scipy import stats

    normal = _samples(0, size=1_000)
    for seed in range(1, 1_000):
        p = [stats.ks_2samp(normal[name], now).pvalue for name, now in _samples(seed).items()]
        if 0.02 < min(p) < 0.04:
            return _samples(seed)
    raise AssertionError("chance gives one in a few dozen")


def _judge_drifted(answer: Callable) -> str | None:
    normal = _samples(0, size=1_000)
    windows = {
        "texts as usual": (_samples(1), 1e-4),
        "longer texts": (_samples(2, ["length"]), 1e-4),
        "confidence that is spread more widely, with the same mean": (
            _samples(3, ["confidence"]),
            1e-4,
        ),
        "longer texts of unknown words": (_samples(4, ["length", "unknown"]), 1e-4),
        "one feature with p = 0.03, of three, at alpha = 0.05": (_borderline(), 0.05),
    }
    for what, (now, alpha) in windows.items():
        expected = solutions.function("07.drifted")(normal, now, alpha)
        if (found := answer(normal, now, alpha)) != expected:
            return f"For {what} it gives {found!r}, expected {expected!r}."
    return None


exercise(
    "07.drifted",
    (),
    "Test each feature by itself: how often would chance alone give two samples this different?",
    "scipy.stats.ks_2samp(normal[name], now[name]).pvalue answers that. Three tests have three "
    "chances of a false alarm, so each may use only its part of alpha.",
    "[name for name in normal if stats.ks_2samp(normal[name], now[name]).pvalue < "
    "alpha / len(normal)]",
    judge=_judge_drifted,
)


def _judge_patient(answer: Callable) -> str | None:
    """Play a service that answers as planned, and see what is asked and how long is waited."""
    import httpx

    body = {"texts": ["a joy"]}
    plans: list[tuple[str, list[tuple[int, str | None]], int, list[float], int]] = [
        # what, the answers in turn, tries → seconds waited, the status returned
        ("an answer at once", [(200, None)], 3, [], 200),
        ("one refusal, then an answer", [(429, "2"), (200, None)], 3, [2], 200),
        ("two refusals of two kinds", [(503, "1"), (429, "3"), (200, None)], 3, [1, 3], 200),
        ("a service that stays busy", [(429, "1")] * 5, 3, [1, 1], 429),
        ("a text that is too long (422)", [(422, None), (200, None)], 3, [], 422),
        ("a 503 without Retry-After", [(503, None), (200, None)], 3, [], 503),
    ]
    for what, plan, tries, waits, status in plans:
        asked: list[httpx.Request] = []
        slept: list[float] = []

        def reply(request: httpx.Request, plan=plan, asked=asked) -> httpx.Response:
            asked.append(request)
            code, wait = plan[len(asked) - 1]
            return httpx.Response(code, headers={"Retry-After": wait} if wait else {}, json={})

        transport = httpx.MockTransport(reply)
        with httpx.Client(base_url="http://service", transport=transport) as client:
            try:
                given = answer(client, body, tries, slept.append)
            except IndexError:
                return f"For {what} it asks {len(asked)} times, which is too often."
        if getattr(given, "status_code", None) != status:
            return f"For {what} it returns {given!r}, expected a response with status {status}."
        if any((r.method, r.url.path) != ("POST", "/predict") for r in asked):
            return f"For {what} it asks {asked[0].method} {asked[0].url.path}, not POST /predict."
        if len(asked) > tries:
            return f"For {what} it asks {len(asked)} times; `tries` is {tries}."
        if list(map(float, slept)) != waits:
            return f"For {what} it waits {slept} seconds, expected {waits}."
    return None


exercise(
    "07.patient",
    (),
    "A loop of at most `tries` rounds. When does it end early, and what comes after the last try?",
    'Return at once unless the status is 429 or 503 and "Retry-After" in response.headers. Do not '
    "sleep after the last try: nobody asks again.",
    "for left in reversed(range(tries)): response = client.post('/predict', json=body); if it is "
    "no refusal, or left is 0, return it; else sleep(float(response.headers['Retry-After'])).",
    judge=_judge_patient,
)
