"""What is written for clusters: manifests that fit the service, and the arithmetic of its size."""

import asyncio
from pathlib import Path

import pytest
import yaml
from service import publish

from benchmarks.common import Folder
from benchmarks.scale import plan as scale
from tutorial_utils.core import machine
from tutorial_utils.lessons import claims
from tutorial_utils.serving import settings
from tutorial_utils.serving.http import app
from tutorial_utils.serving.process import server

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def predictor() -> dict:
    text = (ROOT / "deploy" / "kserve" / "sentiment.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["spec"]["predictor"]


def test_the_pod_is_given_the_time_that_the_service_takes_to_leave(predictor):
    (container,) = predictor["containers"]
    told = settings.parse(["--registry", "/registry", *container["args"]])
    longest = told.grace + server.HANDSHAKE + server.LINGER + told.drain + server.MARGIN
    assert predictor["terminationGracePeriodSeconds"] > longest
    ready = container["readinessProbe"]
    assert told.grace > ready["periodSeconds"] * ready["failureThreshold"]


def test_the_pods_probes_are_routes_of_the_service_and_its_volume_is_the_registry(
    predictor, tmp_path
):
    publish(tmp_path)
    made = app.create(settings.Settings(registry=tmp_path))
    asyncio.run(made.deployment.close())
    (container,) = predictor["containers"]
    paths = {p: container[p]["httpGet"]["path"] for p in container if p.endswith("Probe")}
    assert set(paths.values()) <= set(made.openapi()["paths"])
    assert paths["livenessProbe"] == "/livez"
    (port,) = container["ports"]
    assert {container[p]["httpGet"]["port"] for p in paths} == {port["containerPort"]}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (mount,) = container["volumeMounts"]
    assert f'"--registry", "{mount["mountPath"]}"' in dockerfile
    assert f"EXPOSE {port['containerPort']}" in dockerfile
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_a_process_is_told_its_share_of_the_machine(monkeypatch):
    monkeypatch.setenv("TUTORIAL_CORES", "3")
    assert machine.cores() == 3
    monkeypatch.setenv("TUTORIAL_CORES", "1.5")
    with pytest.raises(ValueError, match="whole number"):
        machine.cores()


def test_cores_machines_and_cost_follow_from_the_rate():
    plan = scale.Plan(utilisation=0.5, spare=0.1, price=2.0)
    found = scale.size(1_000, 4, 100, plan)
    assert (found.cores, found.machines) == (20, 6)  # five machines of four, and one to spare
    assert found.month == 6 * 4 * 2.0 * scale.HOURS
    assert found.per_million == pytest.approx(6 * 4 * 2.0 / (1_000 * 3_600) * 1e6)
    dear = scale.size(1_000, 4, 100, scale.Plan(0.5, 0.1, 4.0))
    assert dear.month == 2 * found.month
    with pytest.raises(ValueError, match="utilisation"):
        scale.Plan(utilisation=0)


def test_the_rates_are_those_of_the_longest_run_there_is(tmp_path):
    told = {"processor": "a", "cores": 2, "memory_gb": 1, "features": [], "system": "b"}
    here = {"machine": told | {"versions": {}}}
    steps = {"shapes": {"8x128": {"timings": {"int8": {"items_per_s": 20.0}}}}}
    steps |= {"texts": {"timings": {"tuned": {"items_per_s": 600.0}}}}
    folder = Folder(tmp_path)
    folder.keep("results", here | steps)
    classifier, base = scale.measured(folder)
    assert (classifier.rate, base.rate, base.tokens) == (300, 10, scale.TOKENS)
    longer = here | {"growth": {"runs": [{"texts_per_s": rate} for rate in (780.0, 800.0, 900.0)]}}
    folder.keep("peers", longer)
    assert scale.measured(folder)[0].rate == 400


def test_the_document_shows_tables_that_the_script_writes():
    folder = Folder(claims.default_file().parent)  # of the machine that the docs show
    written = scale.tables(scale.measured(folder), scale.Plan(), scale.served(folder))
    assert written.strip() in (ROOT / "docs" / "scale-out.md").read_text(encoding="utf-8")
