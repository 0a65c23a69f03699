"""Each task as its callers see it: a server process, Triton's client, plain HTTP."""

import os
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from served_tasks import SERVED, Served

from benchmarks.servers import free_port
from tutorial_utils.tasks import TASKS


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    """Name of a model → address of the process that serves it."""
    registry = tmp_path_factory.mktemp("clients")
    ports, processes = {}, []
    command = [sys.executable, "-m", "tutorial_utils", "serve", "--registry", str(registry)]
    for name, served in SERVED.items():
        served.publish(registry)
        ports[name] = free_port()
        more = ["--model", name, "--port", str(ports[name]), "--watch", "0"]
        processes.append(
            subprocess.Popen([*command, *more], stderr=subprocess.DEVNULL, env=os.environ)
        )
    try:
        for port, process in zip(ports.values(), processes, strict=True):
            while not ready(port):
                assert process.poll() is None, "it ended"
                time.sleep(0.05)
        yield {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait(30)


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(params=SERVED)
def served(request) -> Served:
    return SERVED[request.param]


@pytest.fixture
def client(urls, served):
    with httpx.Client(base_url=f"http://{urls[served.name]}", timeout=60) as opened:
        yield opened


@pytest.fixture
def speaker(urls, served):
    with triton.InferenceServerClient(urls[served.name], network_timeout=60) as opened:
        yield opened


def tensor(texts, *shape: int) -> triton.InferInput:
    array = np.array(texts, dtype=object)
    made = triton.InferInput("text", list(shape or array.shape), "BYTES")
    return made.set_data_from_numpy(array.reshape(shape or array.shape), binary_data=False)


def test_plain_http_gets_the_right_answers(client, served):
    answer = client.post(served.route, json={"texts": served.texts})
    assert answer.status_code == 200, answer.text
    assert np.allclose(served.told(answer.json()), served.expected(served.texts), atol=1e-5)
    if served.task in ("single_label", "multi_label", "score"):
        for one, row in zip(
            answer.json()["predictions"], served.expected(served.texts), strict=True
        ):
            assert one["label"] == served.labels[row.argmax()]
            assert one["probability"] == pytest.approx(row.max(), abs=1e-5)


def test_tritons_client_finds_the_model_as_it_is(speaker, served):
    assert speaker.is_server_live()
    assert speaker.is_server_ready()
    assert speaker.is_model_ready(served.name)
    assert speaker.is_model_ready(served.name, "1")
    assert not speaker.is_model_ready("another")
    told = speaker.get_model_metadata(served.name)
    assert (told["name"], told["versions"]) == (served.name, ["1"])
    shape = [-1, 2] if served.reads == "pair" else [-1]
    assert told["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": shape}]
    width = served.expected(served.texts).shape[1]
    kinds = {
        "regression": {"values": ("FP32", [-1, width])},
        "embedding": {"embedding": ("FP32", [-1, width])},
    }
    classes = {"label": ("BYTES", [-1]), "probabilities": ("FP32", [-1, width])}
    found = {o["name"]: (o["datatype"], o["shape"]) for o in told["outputs"]}
    assert found == kinds.get(served.task, classes)
    names = [o["parameters"]["labels"] for o in told["outputs"] if "parameters" in o]
    assert names == ([",".join(served.labels)] if served.labels else [])


def test_tritons_client_gets_what_plain_http_gets(client, speaker, served):
    plain = served.told(client.post(served.route, json={"texts": served.texts}).json())
    answer = speaker.infer(served.name, [tensor(served.texts)], request_id="mine")
    assert (answer.get_response()["id"], answer.get_response()["model_version"]) == ("mine", "1")
    numbers = {"regression": "values", "embedding": "embedding"}.get(served.task, "probabilities")
    found = answer.as_numpy(numbers)
    assert found.dtype == np.float32
    assert np.allclose(found, plain, atol=1e-6)
    assert np.allclose(found, served.expected(served.texts), atol=1e-5)
    if numbers == "probabilities":
        likeliest = served.expected(served.texts).argmax(axis=1)
        assert answer.as_numpy("label").tolist() == [served.labels[i] for i in likeliest]
    only = [triton.InferRequestedOutput(numbers, binary_data=False)]
    chosen = speaker.infer(served.name, [tensor(served.texts)], outputs=only).get_response()
    assert [output["name"] for output in chosen["outputs"]] == [numbers]


def test_tritons_client_is_told_what_is_wrong_with_a_tensor(speaker, served):
    pair = served.reads == "pair"
    wrong = {
        "the other kind": (tensor(["a", "b"]) if pair else tensor([["a", "b"]]), "reads"),
        "rows of one": (tensor([["a"], ["b"]]), "reads pairs" if pair else None),
        "rows of three": (tensor([["a", "b", "c"]]), "the shape must be"),
        "three axes": (tensor([[["a", "b"]]]), "the shape must be"),
        "no text": (tensor([]), "invalid request"),
        "too many": (tensor([["a", "b"]] * 33 if pair else ["a"] * 33), "invalid request"),
        "a blank text": (tensor([["a", " "]] if pair else [" "]), "invalid request"),
    }
    for kind, (given, told) in wrong.items():
        if told is None:  # a column of single texts is the same as a list of them
            assert len(speaker.infer(served.name, [given]).get_response()["outputs"]) > 0
            continue
        with pytest.raises(triton.InferenceServerException, match=told) as refusal:
            speaker.infer(served.name, [given])
        assert refusal.value.status() in ("400", "409", "422"), kind
    missing = [triton.InferRequestedOutput("logits", binary_data=False)]
    with pytest.raises(triton.InferenceServerException, match="has only"):
        speaker.infer(served.name, [tensor(served.texts)], outputs=missing)
    with pytest.raises(triton.InferenceServerException, match="no such version"):
        speaker.infer(served.name, [tensor(served.texts)], model_version="2")


def test_info_says_what_the_model_does_and_reads(client, served):
    told = client.get("/info").json()
    assert (told["model"], told["task"], told["reads"]) == (served.name, served.task, served.reads)
    assert told["labels"] == list(served.labels)
    assert (told["watched"], told["withdrawn"]) == ([], [])


def test_openapi_describes_the_route_of_the_task_and_the_texts_it_reads(client, served):
    told = client.get("/openapi.json").json()
    assert told["info"]["title"] == served.name
    assert {"/predict", "/embed"} & told["paths"].keys() == {served.route}
    asked = told["components"]["schemas"]["Texts"]
    assert asked["additionalProperties"] is False
    texts = asked["properties"]["texts"]
    assert texts["items"]["type"] == ("array" if served.reads == "pair" else "string")
    assert client.post(served.route, json={"texts": texts["examples"][0]}).status_code == 200
    assert "Sentiment" not in client.get("/docs").text


def test_the_other_route_and_the_other_kind_are_refused_with_the_right_one(client, served):
    other = "/embed" if served.route == "/predict" else "/predict"
    answer = client.post(other, json={"texts": served.texts})
    assert answer.status_code == 409
    assert answer.json() == {"error": f"this model answers at {served.route}, not at {other}"}
    wrong, told = (["a"], "pairs: send each as [first, second]")
    if served.reads == "text":
        wrong, told = ([["a", "b"]], "single texts")
    answer = client.post(served.route, json={"texts": wrong})
    assert (answer.status_code, answer.json()["error"]) == (409, f"this model reads {told}")


def test_requests_and_texts_count_under_their_route_and_model(client, served):
    def value(line: str) -> float:
        (found,) = (x for x in client.get("/metrics").text.splitlines() if x.startswith(line))
        return float(found.split()[-1])

    route = f'serve_requests_total{{route="{served.route}",status='
    texts = f'serve_texts_total{{model="{served.name}",version="1"}}'
    counted = {status: value(f'{route}"{status}"}}') for status in (200, 422, 503)}
    before = value(texts)
    client.post(served.route, json={"texts": served.texts})
    client.post(served.route, json={"texts": []})
    assert value(f'{route}"200"}}') == counted[200] + 1
    assert value(f'{route}"422"}}') == counted[422] + 1
    assert counted[503] == 0, "a counter exists before it counts"
    assert value(texts) == before + 3
    assert value("serve_waiting_texts") == 0


def test_each_task_is_served():
    assert {served.task for served in SERVED.values()} == TASKS.keys()
