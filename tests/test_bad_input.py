"""Any input gets a right answer or a clear 4xx, never a 5xx, and none of it is repeated."""

import gzip
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import httpx
import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_tasks import SERVED
from service import running

from tutorial_utils.serving.settings import Settings

SECRET = "zanzibar"
LEAKS = (SECRET, "Traceback", ".py", "site-packages", "tutorial_utils", "/tmp")


KINDS = ("mood", "entails", "vectors")  # single texts, pairs, and another route


@pytest.fixture(scope="module")
def registry_path(tmp_path_factory):
    registry_path = tmp_path_factory.mktemp("bad") / "registry"
    for kind in KINDS:
        SERVED[kind].publish(registry_path)
    return registry_path


@pytest.fixture(scope="module")
def clients(registry_path):
    with ExitStack() as stack:
        yield {kind: stack.enter_context(opened(registry_path, kind)) for kind in KINDS}


@contextmanager
def opened(registry_path, kind: str, **settings):
    with running(Settings(registry=registry_path, model=kind, watch=0, **settings)) as client:
        client.served = SERVED[kind]
        yield client


@pytest.fixture(scope="module")
def client(registry_path):
    """One that waits half a second for the bytes of a request."""
    with opened(registry_path, "mood", patience=0.5) as client:
        yield client


@pytest.fixture(params=KINDS)
def each(clients, request):
    """A client of each kind of model."""
    return clients[request.param]


JSON = {"content-type": "application/json"}


def predict(client, content: bytes, **headers):
    headers = JSON | headers
    return client.post(client.served.route, content=content, headers=headers)


def ask(client, *texts):
    answer = client.post(client.served.route, json={"texts": texts})
    assert answer.status_code == 200, answer.text
    return client.served.told(answer.json())


def is_a_clear_refusal(answer) -> bool:
    told = answer.json()["error"]
    return 400 <= answer.status_code < 500 and told and not any(x in answer.text for x in LEAKS)


DEEP = 100_000
REFUSED = {
    "empty": b"",
    "blank": b" \n",
    "a text that is blank": b'{"texts": ["\\t \\u2003"]}',
    "lone surrogates": b'{"texts": ["zanzibar \\udc00\\ud83d"]}',
    "a lone surrogate as key": b'{"zanzibar \\ud83d": 1}',
    "a word of a megabyte": b'{"texts": ["' + b"zanzibar" * 131_072 + b'"]}',
    "deep JSON": b'{"texts": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep and open": b'{"a":' * DEEP,
    "NaN": b'{"texts": NaN}',
    "infinities": b'{"texts": [Infinity, -Infinity]}',
    "a number without end": b'{"texts": [' + b"9" * 10_000 + b"]}",
    "a huge exponent": b'{"texts": [1e999999]}',
    "a number": b"7",
    "null": b"null",
    "an object as text": b'{"texts": [{"zanzibar": "zanzibar"}]}',
    "texts by number": b'{"texts": {"0": "zanzibar"}}',
    "no text": b'{"texts": []}',
    "33 texts": json.dumps({"texts": [SECRET] * 33}).encode(),
    "UTF-16": '{"texts": 1, "zanzibar?": 2}'.encode("utf-16"),
    "half UTF-8": b'{"texts": ["zanzibar \xc3"]}',
    "two objects": b'{"texts": 1}{"zanzibar": 1}',
    "made-up keys": b'{"texts": {"zanzibar": {"/tmp": "Traceback"}}}',
    "a form": b"texts=zanzibar",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_request_is_refused_clearly(each, name):
    assert is_a_clear_refusal(predict(each, REFUSED[name]))


WRONG_PAIRS = {
    "one text": ["zanzibar"],
    "three texts": ["zanzibar", "b", "c"],
    "none": [],
    "a blank second": ["zanzibar", " "],
    "a blank first": ["\u2003", "zanzibar"],
    "a number": ["zanzibar", 1],
    "null": ["zanzibar", None],
    "nested": [["zanzibar"], "b"],
    "an object": {"first": "zanzibar", "second": "b"},
    "a long second": ["a", "zanzibar" * 3_000],
    "lone surrogates": ["a", "zanzibar \ud83d"],
}


@pytest.mark.parametrize("name", WRONG_PAIRS)
def test_what_is_no_pair_is_refused_clearly_alone_and_among_others(each, name):
    good = each.served.as_read("fine")
    for texts in ([WRONG_PAIRS[name]], [*good, WRONG_PAIRS[name]]):
        answer = predict(each, json.dumps({"texts": texts}).encode())
        assert answer.status_code in (409, 422)
        assert is_a_clear_refusal(answer)


@pytest.mark.parametrize("path", ["/predict", "/embed"])
@pytest.mark.parametrize(
    ("field", "where"),
    [
        ('"text": ["zanzibar"]', "body.text"),
        ('"truncate": true', "body.truncate"),
        ('"Texts": []', "body.Texts"),
        ('"zanzibar is a text": 1', "body"),
        ('"": 1', "body"),
        (f'"{"zanzibar" * 6}": 1', "body"),
    ],
)
def test_an_unknown_field_is_refused_and_named_if_it_is_a_word(client, path, field, where):
    content = f'{{"texts": ["a"], {field}}}'.encode()
    answer = client.post(path, content=content, headers=JSON)
    told = {"where": where, "problem": "there is no such field; /docs lists all fields"}
    assert answer.status_code == 422
    assert answer.json()["problems"] == [told]
    assert SECRET not in answer.text


ANSWERED = {
    "NUL": "a\0b",
    "emoji with joiners": "👩‍👩‍👧‍👦 🏳️‍🌈",
    "right to left": "שלום \u202etxet",
    "special tokens": "[CLS] a [SEP] b [PAD] [MASK] </s>",
    "combining marks": "e" + "\u0301" * 500,
    "control characters": "".join(map(chr, range(1, 32))) + "a",
    "a long word": "w" * 20_000,
    "511 tokens": "a" * 509,
    "512 tokens": "a" * 510,
    "513 tokens": "a" * 511,
    "the last character": "\U0010ffff",
    "a byte order mark": "\ufeff",
}


@pytest.mark.parametrize("name", ANSWERED)
def test_an_odd_text_gets_the_right_answer_alone_and_among_others(each, name):
    odd, short, other = each.served.as_read(ANSWERED[name], "short", "another one")
    right = each.served.expected([short, odd, other])
    assert np.allclose(ask(each, odd), right[1:2], atol=1e-4)
    assert np.allclose(ask(each, short, odd, other), right, atol=1e-4)


def test_words_beyond_the_limit_do_not_change_the_answer(client):
    def probabilities(count):
        return ask(client, "b" * count + "a" * 600).tolist()

    assert probabilities(510) == probabilities(600)  # 512 tokens with both ends: no more is read
    assert probabilities(509) != probabilities(510)


@pytest.mark.parametrize("count", [1, 32])
def test_a_batch_at_its_limits_is_answered(each, count):
    texts = each.served.as_read(*(f"fine {i}" for i in range(count)))
    assert np.allclose(ask(each, *texts), each.served.expected(texts), atol=1e-5)


FORM = "application/x-www-form-urlencoded"  # what curl -d sends by default
SEND_JSON = {"error": "send the header content-type: application/json"}


@pytest.mark.parametrize("kind", [FORM, "text/plain", "text/json", "multipart/form-data", "", None])
def test_a_body_under_another_content_type_is_a_415_that_says_which(registry_path, each, kind):
    headers = {} if kind is None else {"content-type": kind}
    body = json.dumps({"texts": each.served.as_read(SECRET)}).encode()
    asks = [(each.served.route, body)]
    if kind:  # Triton's client sends none
        asks.append((f"/v2/models/{each.served.name}/infer", b'{"inputs": []}'))
    for path, content in asks:
        answer = each.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.json()) == (415, SEND_JSON)


def test_a_json_type_of_any_kind_is_read_and_no_body_is_not_about_the_type(each):
    body = json.dumps({"texts": each.served.as_read("fine")}).encode()
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.a+json"):
        assert predict(each, body, **{"content-type": kind}).status_code == 200
    empty = each.post(each.served.route)
    assert empty.json()["problems"] == [{"where": "body", "problem": "Field required"}]


def test_each_route_that_takes_a_body_describes_the_415(registry_path):
    with opened(registry_path, "mood", admin_token="key") as client:
        paths = client.get("/openapi.json").json()["paths"]
        takes = {p: o["post"]["responses"] for p, o in paths.items() if "post" in o}
        assert {"/predict", "/admin/switch", "/admin/candidate"} <= takes.keys()
        assert all("415" in responses for responses in takes.values())
        headers = {"content-type": FORM, "authorization": "Bearer key"}
        answer = client.post("/admin/switch", content=b'{"version": "1"}', headers=headers)
        assert (answer.status_code, answer.json()) == (415, SEND_JSON)
        assert client.post("/admin/switch", content=b"{}").status_code == 401
        assert client.post("/admin/promote", headers=headers).status_code == 409


EACH = "each must be a string, or a pair of strings [first, second]"


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ({"text": "zanzibar", "text_pair": "b"}, "body.texts.1", EACH),
        (7, "body.texts.1", EACH),
        (None, "body.texts.1", EACH),
        (["zanzibar"], "body.texts.1", EACH),
        (["zanzibar", "b", "c"], "body.texts.1", EACH),
        (["a", 1], "body.texts.1.1", "Input should be a valid string"),
        (" ", "body.texts.1", "Value error, the text is empty"),
        ("a" * 20_001, "body.texts.1", "String should have at most 20000 characters"),
    ],
)
def test_the_place_of_a_wrong_text_holds_only_names_of_the_request(each, text, where, problem):
    answer = predict(each, json.dumps({"texts": [*each.served.as_read("a"), text]}).encode())
    assert answer.status_code == 422
    assert answer.json()["problems"] == [{"where": where, "problem": problem}]


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "gzip, identity", SECRET])
def test_a_compressed_body_is_refused_without_unpacking_it(client, encoding):
    bomb = gzip.compress(b" " * 50_000_000)
    answer = predict(client, bomb, **{"content-encoding": encoding})
    assert answer.status_code == 415
    assert is_a_clear_refusal(answer)


def test_a_body_too_large_is_a_413_with_and_without_its_length(each):
    told = predict(each, b" " * 2_000_001)
    untold = each.post(each.served.route, content=(b" " * 100_000 for _ in range(30)), headers=JSON)
    for answer in (told, untold):
        assert answer.status_code == 413
        assert is_a_clear_refusal(answer)
        assert answer.headers["x-request-id"]


def raw(client, content: bytes, *more: bytes, pause: float = 0.2) -> bytes:
    """The answer to raw bytes, until the server closes the connection or is silent."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=5) as connection:
        connection.sendall(content)
        for part in more:
            time.sleep(pause)
            try:
                connection.sendall(part)
            except OSError:
                break
        connection.settimeout(3)
        found = b""
        try:
            while part := connection.recv(65_536):
                found += part
        except (TimeoutError, ConnectionResetError):
            pass
        return found


HEAD = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
BODY = b'{"texts": ["zanzibar"]}'


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (HEAD + b"content-length: 1000\r\n\r\n" + BODY, b"408"),
        (HEAD + b"content-length: 5\r\nconnection: close\r\n\r\n" + BODY, b"422"),
        (HEAD + b"content-length: 0\r\nconnection: close\r\n\r\n" + BODY, b"422"),
        (HEAD + b"content-length: zanzibar\r\n\r\n" + BODY, b"400"),
        (HEAD + b"content-length: -1\r\n\r\n" + BODY, b"400"),
        (HEAD + b"content-length: 23\r\ncontent-length: 24\r\n\r\n" + BODY, b"400"),
        (HEAD + b"content-length: " + b"9" * 19 + b"\r\n\r\n" + BODY, b"413"),
        (HEAD + b"content-length: " + b"9" * 9 + b"\r\n\r\n" + BODY, b"413"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n", b"400"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzanzibar\r\n", b"400"),
        (HEAD + b"zanzibar: " + b"z" * 1_000_000 + b"\r\n\r\n", b"400"),
        (b"zanzibar\r\n\r\n", b"400"),
        (b"GET /%ff%00zanzibar HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", b"404"),
    ],
    ids=[str(i) for i in range(13)],
)
def test_wrong_lengths_and_bytes_that_are_not_http(client, content, status):
    found = raw(client, content)
    assert found.split(b" ")[1] == status
    assert not any(leak.encode() in found for leak in LEAKS)
    assert client.get("/livez").status_code == 200


def test_slow_senders_are_disconnected_and_block_no_one(client):
    drops = [bytes([byte]) for byte in BODY]
    slow_body = raw(client, HEAD + b"content-length: 23\r\n\r\n", *drops)
    slow_head = raw(client, HEAD[:20], *[b"a"] * 20)
    assert slow_body.split(b" ")[1] == b"408"
    assert slow_head.split(b" ")[1] == b"400"
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as silent:
        assert silent.recv(1) == b"", "a silent connection is closed"
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere/zanzibar", 404), ("/../../etc/passwd", 404), ("/%2e%2e/zanzibar", 404),
     ("/predict", 405), ("/predict/", 404), ("/v2/models/zanzibar", 404), ("//", 404)],
)  # fmt: skip
def test_unknown_paths_are_refused_without_repeating_them(client, path, status):
    answer = client.get(path, follow_redirects=True)
    assert answer.status_code == status
    assert is_a_clear_refusal(answer)


@pytest.mark.parametrize("given", ["x" * 65, "a b", "<script>", "", "é", "../a"])
def test_an_invalid_request_id_is_replaced(client, given):
    answer = client.get("/livez", headers={"x-request-id": given.encode()})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32


def test_a_request_id_is_sent_back_with_answers_and_refusals(client):
    given = {"x-request-id": "Caller-7:a.b_c"}
    for answer in (client.get("/livez", headers=given), client.get("/nowhere", headers=given)):
        assert answer.headers["x-request-id"] == "Caller-7:a.b_c"
        assert float(answer.headers["x-total-time"]) > 0


# What any JSON may hold, and often what is nearly right.
ANYTHING = st.recursive(
    st.sampled_from(["a", " ", "zanzibar", "", None, True, 1, -1.5, "\0", "w" * 21_000])
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
WORDS = st.text(min_size=1, max_size=20)
ELEMENTS = WORDS | st.lists(WORDS, min_size=2, max_size=2) | ANYTHING
BODIES = (
    st.fixed_dictionaries(
        {"texts": st.lists(ELEMENTS, min_size=1, max_size=4) | ANYTHING},
        optional={"text": ANYTHING},
    )
    | ANYTHING
)


def status(served, body) -> int:
    """What the documentation promises, written down once more."""

    def is_text(value) -> bool:
        return isinstance(value, str) and bool(value.strip()) and len(value) <= 20_000

    def is_pair(value) -> bool:
        return isinstance(value, list) and len(value) == 2 and all(map(is_text, value))

    if not isinstance(body, dict) or body.keys() != {"texts"}:
        return 422
    texts = body["texts"]
    if not isinstance(texts, list) or not 1 <= len(texts) <= 32:
        return 422
    if not all(is_text(value) or is_pair(value) for value in texts):
        return 422
    right = is_pair if served.reads == "pair" else is_text
    return 200 if all(map(right, texts)) else 409


@given(body=BODIES)
@hypothesis.settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_any_json_gets_the_status_that_is_promised_and_right_answers(each, body):
    answer = predict(each, json.dumps(body).encode())
    assert answer.status_code == status(each.served, body), answer.text
    if answer.status_code == 200:
        right = each.served.expected(body["texts"])
        assert np.allclose(each.served.told(answer.json()), right, atol=1e-4)
    else:
        assert is_a_clear_refusal(answer)


@given(
    shape=st.lists(st.integers(0, 4) | st.just(2), max_size=3),
    data=st.lists(st.sampled_from("abc"), max_size=8),
    width=st.sampled_from([0, 1, 2, 3]),
)
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_any_shape_of_a_tensor_is_answered_right_or_refused(each, shape, data, width):
    """width: of the rows in which the texts are sent, the last may be shorter; 0: a flat list."""
    rows = [data[i : i + width] for i in range(0, len(data), width)] if width else data
    given_ = {"name": "text", "datatype": "BYTES", "shape": shape, "data": rows}
    served = each.served
    answer = each.post(f"/v2/models/{served.name}/infer", json={"inputs": [given_]})
    single, paired = shape in ([len(data)], [len(data), 1]), shape == [len(data) / 2, 2]
    fits = bool(data) and all(shape[1:] == [len(row)] for row in rows if width)
    if fits and (paired if served.reads == "pair" else single):
        texts = [[*pair] for pair in zip(data[::2], data[1::2], strict=True)] if paired else data
        numbers = answer.json()["outputs"][-1]
        found = np.array(numbers["data"]).reshape(numbers["shape"])
        assert np.allclose(found, served.expected(texts), atol=1e-5)
    else:
        assert answer.status_code in (400, 409, 422), answer.text
        assert answer.json()["error"]


def test_afterwards_nothing_waits_and_nothing_was_a_5xx(each, client):
    assert_well(each)
    assert_well(client)


def assert_well(client):
    lines = client.get("/metrics").text.splitlines()
    assert "serve_waiting_texts 0.0" in lines
    failed = [x for x in lines if x.startswith("serve_requests_total") and 'status="5' in x]
    assert [x for x in failed if not x.endswith(" 0.0")] == []
    assert SECRET not in "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_schemathesis_finds_no_fault_in_the_openapi_description(registry_path, tmp_path, kind):
    # OpenAPI cannot express that the shape must be that of the texts: there, 400 or 422 is right.
    (tmp_path / "schemathesis.toml").write_text(
        f'[parameters]\n"path.model" = "{kind}"\n"path.version" = "1"\n'
        '[[operations]]\ninclude-path-regex = "infer$"\n'
        "checks.positive_data_acceptance.expected-statuses = [200, 400, 422]\n"
    )
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file"]
    command += [str(tmp_path / "schemathesis.toml"), "run", "--checks=all", "--max-examples=12"]
    command += ["--seed=1", "--generation-database=none", "--suppress-health-check=all"]
    command += ["--phases=examples,coverage,fuzzing", "--no-color"]
    with running(Settings(registry=registry_path, model=kind, watch=0)) as client:
        url = f"http://127.0.0.1:{client.port}/openapi.json"
        done = subprocess.run(
            [*command, url], capture_output=True, text=True, timeout=120, cwd=tmp_path,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
        assert httpx.get(f"http://127.0.0.1:{client.port}/readyz").status_code == 200
