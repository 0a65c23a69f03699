"""What the service tells Prometheus about itself.

There is one ``Metrics`` per application. Each engine counts under its model's name and version, so
you can compare versions while one replaces the other. A version's counters stay when its engine
closes, as counters must. Gauges are collected from the engines that are open.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector

from tutorial_utils.runtime.session import PROVIDERS
from tutorial_utils.serving.engine import breaker, failures
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.tasks import TASKS

CPU = PROVIDERS["cpu"]
VERSION = ("model", "version")  # labels
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
STATES = {breaker.CLOSED: 0, breaker.HALF_OPEN: 1, breaker.OPEN: 2}
REASONS: dict[type[BaseException], str] = {  # why a request has no answer; the first that fits
    asyncio.CancelledError: "cancelled",
    failures.Overloaded: "overloaded",
    failures.DeadlineExceeded: "expired",
    failures.Unavailable: "unavailable",
    failures.InferenceFailed: "failed",
}
RESTARTS = ("died", "hung")
STAGES = ("queue", "tokenize", "inference")
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {  # of an engine → help, labels after ``VERSION``
    "queue_texts": ("Texts in no batch yet.", ()),
    "queue_tokens": ("Tokens in no batch yet.", ()),
    "ready": ("1: a live worker, and a model it may ask.", ()),
    "model_info": ("1 for each loaded version, with the form opened.", ("provider", "precision")),
    "on_cpu": ("1: made for another device, and a CPU answers.", ()),
    "breaker_state": ("0 closed, 1 half-open, 2 open.", ("answers_for", "provider")),
    "drift_distance": ("Of the last window from the profile, 0 to 1.", ("feature",)),
    "drift_limit": ("Distance beyond which an alarm begins.", ("feature",)),
    "drift_drifting": ("1 from the limit on, until well below it.", ("feature",)),
    "drift_filled": ("Share of the window that is full; 1: it is judged.", ("feature",)),
}
STATUSES = (200, 422, 429, 500, 503, 504)  # of a model's route; others count when they come


class Metrics:
    """Counters, gauges and histograms of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files; on Linux
        self.refused = 0  # requests refused for lack of room
        self.shown: list[EngineMetrics] = []  # of the engines that are open
        counter = partial(Counter, namespace="serve", registry=self.registry)
        seconds = partial(Histogram, namespace="serve", registry=self.registry, buckets=SECONDS)
        sizes = partial(Histogram, namespace="serve", registry=self.registry, buckets=SIZES)
        by_reason, by_stage = (*VERSION, "reason"), (*VERSION, "stage")
        self._requests = counter("requests", "Requests by route and status.", ("route", "status"))
        self._latency = seconds("request_seconds", "Time from request to answer.", ("route",))
        self.stages = seconds("stage_seconds", "Time in queue, tokenizer and model.", by_stage)
        self.texts = counter("texts", "Texts answered, by who answered.", VERSION)
        self.fallback = counter("fallback_texts", "Texts answered by a fallback.", VERSION)
        self.truncated = counter("truncated_texts", "Texts not read to their end.", VERSION)
        self.unanswered = counter("unanswered", "Requests without an answer.", by_reason)
        self.batch_texts = sizes("batch_texts", "Texts in a batch.", VERSION)
        self.batch_tokens = sizes("batch_tokens", "Tokens in a batch, padding included.", VERSION)
        self.padding = counter("padding_tokens", "Tokens computed that were padding.", VERSION)
        self.poison = counter("poison_texts", "Texts that break a healthy model.", VERSION)
        self.too_large = counter("allocation_failures", "Batches too large for memory.", VERSION)
        self.restarts = counter("worker_restarts", "Workers replaced.", by_reason)
        self.alarms = counter("drift_alarms", "Alarms that have begun.", (*VERSION, "feature"))
        self.watched = counter("drift_texts", "Texts watched for drift.", VERSION)
        self.dropped = counter("drift_dropped_texts", "Texts left out: too many waited.", VERSION)
        self.registry.register(self)
        # A counter exists before it counts, or its first is no increase.
        for route, status in product({task.route for task in TASKS.values()}, STATUSES):
            self._requests.labels(route, str(status))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request. ``route`` is the route's pattern: a caller's path is no label."""
        self.refused += status == 429
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def prediction(self, prediction: Prediction) -> None:
        """Count an answer under the version that gave it."""
        version = prediction.manifest.name, prediction.manifest.version
        texts = len(prediction.probabilities)
        self.texts.labels(*version).inc(texts)
        if prediction.fallback:
            self.fallback.labels(*version).inc(texts)
        self.truncated.labels(*version).inc(len(prediction.truncated))
        for stage in STAGES:
            seconds = getattr(prediction, f"{stage}_ms") / 1e3
            self.stages.labels(*version, stage).observe(seconds)

    def text(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges of the open engines. If two engines run one version, the newer one counts.

        The protocol of prometheus_client's custom collectors.
        """
        families = {
            name: GaugeMetricFamily(f"serve_{name}", text, labels=(*VERSION, *labels))
            for name, (text, labels) in GAUGES.items()
        }
        engines = [(made.version, made.engine) for made in self.shown.copy()]
        waiting = sum(engine.waiting for _, engine in engines)
        yield GaugeMetricFamily("serve_waiting_texts", "Texts not answered yet.", waiting)
        for version, engine in dict(engines).items():
            for name, labels, value in _gauges(version, engine):
                families[name].add_metric(labels, value)
        yield from families.values()


def _gauges(version: tuple[str, str], engine) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Name, labels and value of each gauge of an open engine."""
    texts, tokens = engine.queued
    yield "queue_texts", version, texts
    yield "queue_tokens", version, tokens
    yield "ready", version, engine.ready()
    form, asked = engine.model.form, engine.answering or engine.backends[0]
    yield "model_info", (*version, form.provider, form.precision), 1
    made_for = engine.model.manifest.forms[0].provider
    yield "on_cpu", version, made_for != asked.model.form.provider == CPU
    for backend in engine.backends:
        manifest, provider = backend.model.manifest, backend.model.form.provider
        labels = manifest.name, manifest.version, version[1], provider
        yield "breaker_state", labels, STATES[backend.breaker.state]
    for feature, state in engine.observer.monitor.state().items() if engine.observer else ():
        for field in ("distance", "limit", "drifting", "filled"):
            yield f"drift_{field}", (*version, feature), float(getattr(state, field))


class EngineMetrics:
    """What one ``Engine`` counts, under its model's name and version.

    Its gauges are shown until this is closed.
    """

    def __init__(self, metrics: Metrics, engine):
        manifest = engine.model.manifest
        self.engine, self.version = engine, (manifest.name, manifest.version)
        self.all = metrics
        metrics.shown.append(self)
        for counter, values in (  # a counter exists before it counts
            (metrics.unanswered, REASONS.values()),
            (metrics.restarts, RESTARTS),
            (metrics.stages, STAGES),
        ):
            for value in values:
                counter.labels(*self.version, value)
        metrics.texts.labels(*self.version)
        metrics.fallback.labels(*self.version)
        metrics.truncated.labels(*self.version)
        self.poison = metrics.poison.labels(*self.version)
        self.allocation_failures = metrics.too_large.labels(*self.version)
        self._texts = metrics.batch_texts.labels(*self.version)
        self._tokens = metrics.batch_tokens.labels(*self.version)
        self._padding = metrics.padding.labels(*self.version)

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Count a request that ends with an exception, by its reason."""
        try:
            yield
        except tuple(REASONS) as error:
            self.unanswered(error)
            raise

    def unanswered(self, error: BaseException) -> None:
        """Count a request that has no answer because of an error that ``REASONS`` knows."""
        reason = next(r for kind, r in REASONS.items() if isinstance(error, kind))
        self.all.unanswered.labels(*self.version, reason).inc()

    def batch(self, texts: int, tokens: int, computed: int) -> None:
        """Count a run of the model over ``computed`` tokens; ``tokens`` of them are not padding."""
        self._texts.observe(texts)
        self._tokens.observe(computed)
        self._padding.inc(computed - tokens)

    def restarted(self, reason: str) -> None:
        """Count a worker replaced because it ``died`` or ``hung``."""
        self.all.restarts.labels(*self.version, reason).inc()

    def close(self) -> None:
        with suppress(ValueError):  # closed twice
            self.all.shown.remove(self)
