"""The Open Inference Protocol over real HTTP: Triton's client, plain requests, bad input."""

import gzip

import httpx
import numpy as np
import pytest
import tiny_models
import tritonclient.http as triton
from test_serving import running

from tutorial_utils.serving.settings import Settings

SECRET = "zanzibar"
INFER = "/v2/models/sentiment/infer"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    for number in (1, 2):
        tiny_models.add(folder, tiny_models.classifier(weights=(0, number)))
    with running(Settings(registry=folder)) as opened:
        yield opened


def tensor(*texts: str, **changes) -> dict:
    made = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return {"inputs": [made | changes]}


def test_a_triton_client_finds_the_model_and_is_answered(client):
    url = f"{client.base_url.host}:{client.base_url.port}"
    with triton.InferenceServerClient(url) as speaker:
        assert speaker.is_server_live()
        assert speaker.is_server_ready()
        assert speaker.is_model_ready("sentiment")
        assert not speaker.is_model_ready("sentiment", "7")
        assert speaker.get_model_metadata("sentiment")["inputs"][0]["datatype"] == "BYTES"
        assert speaker.get_server_metadata()["extensions"] == []
        asked = triton.InferInput("text", [2], "BYTES")
        texts = np.array(["warm", "cold 👩"], dtype=object)
        asked.set_data_from_numpy(texts)
        with pytest.raises(triton.InferenceServerException, match="binary_data=False"):
            speaker.infer("sentiment", [asked])
        asked.set_data_from_numpy(texts, binary_data=False)
        answer = speaker.infer("sentiment", [asked], request_id="mine")
        assert answer.get_response()["id"] == "mine"
        assert answer.get_response()["model_version"] == "2"
        assert answer.as_numpy("label").tolist() == ["positive", "positive"]
        expected = 1 / (1 + np.exp(-2))
        found = answer.as_numpy("probabilities")
        assert found.shape == (2, 2)
        assert found.dtype == np.float32
        assert np.allclose(found[:, 1], expected, atol=1e-5)
        with pytest.raises(triton.InferenceServerException, match="no such version"):
            speaker.infer("sentiment", [asked], model_version="7")


def test_infer_gives_the_same_answer_as_predict(client):
    body = tensor("warm") | {"id": "a-1"}
    answer = client.post(INFER, json=body)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["id"], told["model_name"], told["model_version"]) == ("a-1", "sentiment", "2")
    label, probabilities = told["outputs"]
    assert label["data"] == ["positive"]
    (same,) = client.post("/predict", json={"texts": ["warm"]}).json()["predictions"]
    assert probabilities["data"][1] == pytest.approx(same["probability"])
    assert float(answer.headers["x-inference-time"]) > 0
    assert "id" not in client.post(INFER, json=tensor("warm")).json()
    versioned = client.post("/v2/models/sentiment/versions/2/infer", json=body)
    assert versioned.json()["model_version"] == "2"


@pytest.mark.parametrize(
    ("path", "body", "statuses"),
    [
        ("/v2/models/topic/infer", tensor(SECRET), {404}),
        ("/v2/models/sentiment/versions/7/infer", tensor(SECRET), {404}),
        ("/v2/models/sentiment/versions/1/infer", tensor(SECRET), {404}),  # it does not run
        ("/v2/models/sentiment/versions/..%2F1/infer", tensor(SECRET), {404}),
        ("/v2/models/..%2F..%2Fetc/infer", tensor(SECRET), {404}),
        (INFER, tensor(), {400, 422}),
        (INFER, tensor(*["a"] * 33), {400, 422}),
        (INFER, tensor(" "), {422}),
        (INFER, tensor(SECRET, shape=[2]), {400}),
        (INFER, tensor(SECRET, shape=[-1]), {422}),
        (INFER, tensor(SECRET, shape=[1, 7]), {400}),
        (INFER, tensor(SECRET, name=SECRET), {422}),
        (INFER, tensor(SECRET, datatype="FP32"), {422}),
        (INFER, tensor(SECRET, data=[3]), {422}),
        (INFER, tensor(SECRET, data=[[SECRET], 3]), {422}),
        (INFER, tensor(SECRET) | {"outputs": [{"name": SECRET}]}, {422}),
        (INFER, {"inputs": []}, {422}),
        (INFER, {SECRET: 1}, {422}),
        (INFER, [], {422}),
    ],
)
def test_an_impossible_request_is_a_clear_4xx_in_the_form_of_the_protocol(
    client, path, body, statuses
):
    answer = client.post(path, json=body)
    assert answer.status_code in statuses, answer.text
    assert answer.json()["error"]
    for leak in (SECRET, "Traceback", ".py", "/etc"):
        assert leak not in answer.text


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff", b"[" * 100_000,
        b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["\\ud800"]}]}',
        b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[NaN],"data":["a"]}]}',
    ],
)  # fmt: skip
def test_a_malformed_body_is_a_4xx(client, content):
    headers = {"content-type": "application/json"}
    assert client.post(INFER, content=content, headers=headers).status_code in (400, 422)


def test_the_rows_of_a_tensor_may_be_lists(client):
    answer = client.post(
        INFER, json=tensor("warm", "cold", shape=[2, 1], data=[["warm"], ["cold"]])
    )
    assert answer.json()["outputs"][0]["shape"] == [2]


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ([2, 2], [["a"], ["b", "c", "d"]]),
        ([2, 2], [["a", "b", "c"], ["d"]]),
        ([2, 1], [["a", "b"]]),
        ([2], [["a", "b"]]),
        ([1, 2], [["a"], ["b"]]),
    ],
)
def test_rows_that_are_not_those_of_the_shape_are_refused(client, shape, rows):
    answer = client.post(INFER, json=tensor(shape=shape, data=rows))
    assert answer.status_code == 422
    assert "its rows are not as long as the shape says" in answer.text


@pytest.mark.parametrize("path", ["/predict", INFER])
def test_a_compressed_body_is_a_415_and_not_unpacked(client, path):
    bomb = gzip.compress(b"0" * 50_000_000)
    answer = client.post(path, content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 415
    assert answer.json()["error"]


@pytest.mark.parametrize("words", [509, 510, 511, 512, 513, 2_000])
def test_texts_around_the_longest_length_are_answered(client, words):
    answer = client.post("/predict", json={"texts": ["warm " * words]})
    assert answer.json()["predictions"][0]["label"] == "positive"


def test_a_million_letters_are_refused_and_thirty_two_texts_accepted(client):
    word = SECRET * 125_000
    refused = client.post("/predict", json={"texts": [word]})
    assert refused.status_code == 422
    assert SECRET not in refused.text
    assert client.post(INFER, json=tensor(word)).status_code == 422
    assert client.post(INFER, json=tensor(*["a"] * 32)).status_code == 200


def test_each_route_counts_under_its_whole_pattern(client):
    for path in ("", "/ready", "/versions/2", "/versions/2/ready"):
        assert client.get(f"/v2/models/sentiment{path}").status_code == 200
        pattern = f"/v2/models/{{model}}{path.replace('2', '{version}')}"
        metrics = client.get("/metrics").text
        assert f'serve_requests_total{{route="{pattern}",status="200"}}' in metrics
    client.post(INFER, json=tensor("a joy"))
    assert 'route="/v2/models/{model}/infer"' in client.get("/metrics").text
    assert 'route=""' not in client.get("/metrics").text


def test_health_and_metadata(client):
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/sentiment/versions/2/ready").status_code == 200
    assert client.get("/v2/models/sentiment/versions/7/ready").status_code == 404
    assert client.get("/v2/models/sentiment").json()["versions"] == ["2"]
    assert httpx.URL(INFER).path in client.get("/openapi.json").text.replace("{model}", "sentiment")
