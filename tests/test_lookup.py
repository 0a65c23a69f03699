"""Which model of a registry is meant, and what is said about one that is not there."""

import asyncio
import subprocess
import sys

import pytest
import tiny_models
from service import running

from tutorial_utils import cli, registry
from tutorial_utils.registry import BadModel
from tutorial_utils.serving.http import app
from tutorial_utils.serving.settings import Settings


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """As `optimize` leaves it: a folder with a registry that holds one model, called `model`."""
    out = tmp_path_factory.mktemp("lookup") / "out"
    tiny_models.add(out / "registry", tiny_models.classifier(), name="model")
    return out


@pytest.fixture
def two(tmp_path):
    for name in ("sentiment", "model"):
        tiny_models.add(tmp_path, tiny_models.classifier(), name=name)
    return tmp_path


def serve(*flags: object) -> tuple[int, str]:
    """Exit code and stderr of `serve`, for flags with which it cannot start."""
    command = [sys.executable, "-m", "tutorial_utils", "serve", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def test_without_a_name_the_only_model_is_served_under_its_own(out):
    with running(Settings(registry=out / "registry")) as client:
        assert client.get("/info").json()["model"] == "model"
        assert client.post("/predict", json={"texts": ["a"]}).json()["model"] == "model"
        assert client.get("/v2/models/model").json()["name"] == "model"
        assert client.get("/openapi.json").json()["info"]["title"] == "model"


def test_a_service_without_a_name_follows_its_model_when_others_come(tmp_path):
    tiny_models.add(tmp_path, tiny_models.classifier(), name="model")
    with running(Settings(registry=tmp_path, watch=0.05, admin_token="key")) as client:
        tiny_models.add(tmp_path, tiny_models.classifier(), name="another")
        tiny_models.add(tmp_path, tiny_models.classifier(), name="model")
        switched = client.post(
            "/admin/switch", json={"version": "2"}, headers={"authorization": "Bearer key"}
        )
        assert (switched.json()["model"], switched.json()["running"]) == ("model", {"2": "stable"})


def test_with_several_models_the_error_lists_them_and_a_variable_may_name_one(two, monkeypatch):
    several = r"holds several models: model, sentiment\. Name one with --model"
    with pytest.raises(BadModel, match=several):
        app.create(Settings(registry=two))
    monkeypatch.setenv("SERVE_MODEL", "sentiment")
    made = app.create(Settings(registry=two))
    assert made.deployment.model == "sentiment"
    asyncio.run(made.deployment.close())


def test_withdraw_and_triton_take_the_only_model_too(out, two, tmp_path, capsys):
    wanted = ["--registry", str(out / "registry")]
    assert cli.main(["withdraw", *wanted, "--version", "1"]) == 0
    assert registry.withdrawn(out / "registry", "model") == {"1": "by hand"}
    assert cli.main(["withdraw", *wanted, "--version", "1", "--undo"]) == 0, "it is still a model"
    assert cli.main(["triton", *wanted, "--out", str(tmp_path / "triton")]) == 0
    assert (tmp_path / "triton" / "model" / "1" / "model.onnx").is_file()
    capsys.readouterr()
    assert cli.main(["withdraw", "--registry", str(two), "--version", "1"]) == 2
    assert "several models: model, sentiment" in capsys.readouterr().err


@pytest.mark.parametrize("named", [["--model", "reranker"], []])
@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("nope", "does not exist"),
        (".", "holds no models"),
        ("registry/model", "holds no models"),
        ("registry/model/1", "holds no models"),
    ],
)
def test_a_folder_without_models_is_told_from_none_and_the_one_nearby_proposed(
    out, given, what, named
):
    code, told = serve("--registry", out / given, *named)
    assert code == 2
    assert told == (
        f"BadModel: The registry {str(out / given)!r} {what}. {str(out / 'registry')!r} holds "
        f"model: use --registry {out / 'registry'}.\n"
    )


def test_where_there_are_none_nearby_it_is_said_how_to_write_one(tmp_path):
    (tmp_path / "empty" / "registry" / "model" / "1").mkdir(parents=True)
    for folder, what in (("empty", "holds no models"), ("absent", "does not exist")):
        with pytest.raises(BadModel, match=f"{what}. Write a model with `optimize` or `publish`"):
            registry.load(tmp_path / folder, "reranker")


def test_only_folders_with_a_complete_version_and_a_usable_name_are_models(two):
    for name in ("a b", ".hidden"):
        (two / name).symlink_to(two / "model")
    (two / "unfinished" / ".incomplete-1").mkdir(parents=True)
    (two / "unfinished" / ".incomplete-1" / "manifest.json").write_text("{}")
    assert registry.models(two) == ["model", "sentiment"]
