"""Rules and dashboard: a real Prometheus scrapes a real service, and each expression has data."""

import json
import re
import shutil
import subprocess
import sys
import time
from itertools import combinations

import httpx
import pytest
from prometheus import DEPLOY, ROOT, ask, tool, watching
from service import publish, running, sentences

from tutorial_utils.serving.settings import Settings

DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Place in the dashboard → its expression, as Grafana asks it for all instances."""
    found = {
        f"{panel['title']}/{target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    }
    filled = {"$instance": ".*", "$__rate_interval": "1m"}
    for place, expression in found.items():
        for variable, value in filled.items():
            expression = expression.replace(variable, value)
        found[place] = expression
    return found


def without_threshold(expression: str) -> str:
    """An alert's question with an answer while all is well too: 0 where it would say nothing."""
    asked = re.sub(r"(==|>|<)(?!=| bool)", r"\1 bool", expression)
    return re.sub(r"absent\((.*)\)", r"\1", asked)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Prometheus over a service that was asked clean texts, then such of other words."""
    folder = tmp_path_factory.mktemp("monitoring")
    registry_path = folder / "registry_path"
    publish(registry_path, sentences(400))
    publish(registry_path)
    wanted = Settings(
        registry=registry_path,
        version="1",
        canary="2",
        shadow_share=1,
        max_waiting_texts=32,
        grace=0,
    )
    with running(wanted) as client, watching(client.port, folder) as prometheus:
        for seed in range(10):
            answer = client.post("/predict", json={"texts": sentences(32, seed + 1)})
            assert answer.status_code == 200, answer.text
        time.sleep(0.6)
        assert client.post("/predict", json={"texts": []}).status_code == 422
        for _ in range(10):
            client.post("/predict", json={"texts": ["не те слова " * 9] * 32})
        yield prometheus


def gone(missing, seconds: float = 60):
    """Wait until nothing is missing, or the time is over; return what is."""
    end = time.monotonic() + seconds
    while (left := missing()) and time.monotonic() < end:
        time.sleep(0.25)
    return left


def rules(prometheus: httpx.Client) -> list[dict]:
    groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_expression_of_the_dashboard_has_data(live):
    asked = expressions()
    assert len(asked) > 40
    assert not gone(lambda: [p for p, e in asked.items() if not ask(live, e)])


def test_every_rule_is_well_and_has_data(live):
    def faults():
        return [rule for rule in rules(live) if rule["health"] != "ok"]

    assert not gone(faults)
    asked = {rule["name"]: without_threshold(rule["query"]) for rule in rules(live)}
    assert len(asked) > 25
    assert not gone(lambda: [n for n, e in asked.items() if not ask(live, e)])


def test_other_words_become_an_alert_that_says_what_to_do(live):
    def pending():
        alerts = live.get("/api/v1/alerts").json()["data"]["alerts"]
        return [a for a in alerts if a["labels"]["alertname"] == "ServeDrift"]

    assert not gone(lambda: not pending())
    features = {alert["labels"]["feature"] for alert in pending()}
    assert {"length", "vocabulary"} <= features
    for alert in pending():
        assert alert["state"] == "pending"  # firing for a quarter of an hour pages an operator
        assert f"{alert['labels']['feature']} of the traffic" in alert["annotations"]["summary"]
        assert "optimize" in alert["annotations"]["action"]


def test_what_the_service_counts_is_what_prometheus_has(live):
    def missing():
        return not ask(live, 'serve_requests_total{route="/predict", status="422"} == 1')

    assert not gone(missing)
    assert ask(live, 'sum(serve_texts_total{version="1"})')[0]["value"][1] == "640"
    assert not gone(lambda: not ask(live, "sum(serve_shadow_texts_total) == 640"))
    assert ask(live, "process_resident_memory_bytes > 1e7")


def test_each_alert_says_how_urgent_it_is_and_what_to_do(live):
    alerts = [rule for rule in rules(live) if rule["type"] == "alerting"]
    tests = (DEPLOY / "rules_test.yml").read_text()
    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert set(alert["annotations"]) == {"summary", "action"}
        assert f'alertname="{alert["name"]}"' in tests, "no test fires it"
    assert len(alerts) > 15


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "rules.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_is_content(command):
    promtool = tool("promtool")
    done = subprocess.run([promtool, *command], cwd=DEPLOY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_panel_says_what_it_shows_in_which_unit_and_has_a_place_of_its_own():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["type"] == "state-timeline" or panel["fieldConfig"]["defaults"]["unit"]
    for first, second in combinations(DASHBOARD["panels"], 2):
        assert not overlap(first["gridPos"], second["gridPos"]), (first["title"], second["title"])


def overlap(first: dict, second: dict) -> bool:
    return all(
        first[start] < second[start] + second[size] and second[start] < first[start] + first[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.skipif(sys.platform == "win32", reason="it is a script for sh")
def test_without_apt_the_fetching_says_how_to_install_it(tmp_path):
    (tmp_path / "uname").symlink_to(shutil.which("uname"))
    command = ["/bin/sh", ROOT / "deploy" / "fetch-prometheus", tmp_path / "tools"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == sys.platform.startswith("linux")
    assert "Install Prometheus yourself" in done.stderr
