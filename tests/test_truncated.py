"""An answer says which of its texts the model did not read to their end."""

import pytest
import service
from served_tasks import SERVED
from service import running

from tutorial_utils import registry
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.serving.settings import Settings

LONGEST = 512 - 2  # bytes of a text between [CLS] and [SEP]; a pair has one more [SEP]


@pytest.mark.parametrize("kind", ["mood", "stars", "entails", "vectors"])
def test_each_route_names_the_positions_of_the_texts_that_were_cut(tmp_path, kind):
    served = SERVED[kind]
    served.publish(tmp_path)
    fits = "a" * (LONGEST - (2 if served.reads == "pair" else 0))  # `as_read` puts "b" before it
    texts = served.as_read(fits + "a", "short", fits, "word " * 3_000)
    with running(Settings(registry=tmp_path, watch=0)) as client:
        body = client.post(served.route, json={"texts": texts}).json()
        assert body["truncated"] == [0, 3]
        assert served.told(body) == pytest.approx(served.expected(texts), abs=1e-5)
        assert client.post(served.route, json={"texts": texts[1:3]}).json()["truncated"] == []
        infer, shape = f"/v2/models/{kind}/infer", [4, 2] if served.reads == "pair" else [4]
        tensor = {"name": "text", "datatype": "BYTES", "shape": shape, "data": texts}
        answer = client.post(infer, json={"inputs": [tensor]}).json()
        assert answer["parameters"] == {"truncated": "0,3"}
        tensor |= {"shape": [2, *shape[1:]], "data": texts[1:3]}
        assert "parameters" not in client.post(infer, json={"inputs": [tensor]}).json()
        counted = f'serve_truncated_texts_total{{model="{kind}",version="1"}} 4.0'
        assert counted in client.get("/metrics").text.splitlines()


@pytest.mark.parametrize(("first", "second", "cut"), [(8, 64, []), (64, 8, [1])])
def test_with_a_fallback_it_is_what_the_fallback_read(tmp_path, monkeypatch, first, second, cut):
    for length in (second, first):  # version 1 is the fallback
        service.publish(tmp_path, made=Recipe(max_length=length))
    load = registry.load

    def broken(*wanted, **given):
        model = load(*wanted, **given)
        if model.manifest.version == "2":
            object.__setattr__(model, "session", None)
        return model

    monkeypatch.setattr(registry, "load", broken)
    with running(Settings(registry=tmp_path, fallback="1", watch=0)) as client:
        body = client.post("/predict", json={"texts": ["short", "longer than six"]}).json()
        assert (body["version"], body["fallback"], body["truncated"]) == ("1", True, cut)
