"""What the service tells Prometheus about itself.

One ``Metrics`` for an application; each engine counts under its model's name and version, so that
versions can be compared while one replaces the other. Counters of a version stay when its engine
closes, as counters must; its gauges go.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from tutorial_utils.serving.engine import breaker
from tutorial_utils.serving.engine.observer import DriftMetrics
from tutorial_utils.serving.engine.request import (
    DeadlineExceeded,
    InferenceFailed,
    Overloaded,
    Prediction,
    Unavailable,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)
STATES = {breaker.CLOSED: 0, breaker.HALF_OPEN: 1, breaker.OPEN: 2}
REASONS = {  # why a request has no answer; the first that fits
    asyncio.CancelledError: "cancelled",
    Overloaded: "overloaded",
    DeadlineExceeded: "expired",
    Unavailable: "unavailable",
    InferenceFailed: "failed",
}
RESTARTS = ("died", "hung")
STAGES = ("queue", "tokenize", "inference")
STATUSES = (200, 422, 429, 500, 503, 504)  # of ``/predict``; others count when they come
_VERSION = ("model", "version")


class Metrics:
    """Counters, gauges and histograms of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files; on Linux
        self.refused = 0  # requests that found no room
        self._engines: list[EngineMetrics] = []
        self._lock = threading.Lock()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"serve_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"serve_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple, *labels: str) -> Histogram:
            return Histogram(f"serve_{name}", text, labels, buckets=buckets, registry=self.registry)

        self._requests = counter("requests", "Requests by route and status.", "route", "status")
        self._latency = histogram(
            "request_seconds", "Time from request to answer.", SECONDS, "route"
        )
        self.stages = histogram(
            "stage_seconds", "Time in queue, tokenizer and model.", SECONDS, *_VERSION, "stage"
        )
        self.texts = counter("texts", "Texts answered, by who answered.", *_VERSION)
        self.tokens = counter("tokens", "Tokens answered.", *_VERSION)
        self.fallback = counter("fallback_texts", "Texts answered by a fallback.", *_VERSION)
        self.unanswered = counter(
            "unanswered", "Requests without an answer, by reason.", *_VERSION, "reason"
        )
        self.batch_texts = histogram("batch_texts", "Texts in a batch.", TOKENS, *_VERSION)
        self.batch_tokens = histogram(
            "batch_tokens", "Tokens in a batch, padding included.", TOKENS, *_VERSION
        )
        self.padding = counter("padding_tokens", "Tokens computed that were padding.", *_VERSION)
        self.padding_ratio = histogram(
            "padding_ratio", "Share of a batch that is padding.", RATIOS, *_VERSION
        )
        self.poison = counter("poison_texts", "Texts that break a model that is well.", *_VERSION)
        self.allocation_failures = counter(
            "allocation_failures", "Batches that did not fit into the memory.", *_VERSION
        )
        self.restarts = counter("worker_restarts", "Workers replaced.", *_VERSION, "reason")
        self.gauges = {
            "queue_texts": gauge("queue_texts", "Texts in no batch yet.", *_VERSION),
            "queue_tokens": gauge("queue_tokens", "Tokens in no batch yet.", *_VERSION),
            "ready": gauge("ready", "1: a live worker, and a model it may ask.", *_VERSION),
            "info": gauge("model_info", "The versions that are loaded.", *_VERSION),
        }
        self.breaker = gauge(
            "breaker_state", "0 closed, 1 half-open, 2 open.", *_VERSION, "answers_for"
        )
        gauge("waiting_texts", "Texts not answered yet.").set_function(self._waiting)
        self.drift = DriftMetrics(self.registry)
        for status in STATUSES:  # a counter exists before it counts, or its first is no increase
            self._requests.labels("/predict", str(status))

    def of(self, engine) -> "EngineMetrics":
        """The counters of an ``Engine``, which count under its version until they are closed."""
        made = EngineMetrics(self, engine)
        with self._lock:
            self._engines.append(made)
        return made

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
        self.tokens.labels(*version).inc(prediction.tokens)
        if prediction.fallback:
            self.fallback.labels(*version).inc(texts)
        for stage in STAGES:
            seconds = getattr(prediction, f"{stage}_ms") / 1e3
            self.stages.labels(*version, stage).observe(seconds)

    def text(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self.registry)

    def forget(self, closed: "EngineMetrics") -> None:
        """Remove the gauges of an engine, unless another of the same version shows them."""
        with self._lock:
            if closed not in self._engines:
                return
            self._engines.remove(closed)
            alike = [e for e in self._engines if e.version == closed.version]
            closed.hide()
            for engine in alike:
                engine.show()

    def _waiting(self) -> int:
        return sum(made.engine.waiting for made in list(self._engines))


class EngineMetrics:
    """What one engine counts, under its model's name and version."""

    def __init__(self, metrics: Metrics, engine):
        manifest = engine.model.manifest
        self.engine, self.version = engine, (manifest.name, manifest.version)
        self.all = metrics
        self.poison = metrics.poison.labels(*self.version)
        self.allocation_failures = metrics.allocation_failures.labels(*self.version)
        self._unanswered = {
            r: metrics.unanswered.labels(*self.version, r) for r in REASONS.values()
        }
        self._restarts = {r: metrics.restarts.labels(*self.version, r) for r in RESTARTS}
        for counter in (metrics.texts, metrics.tokens, metrics.fallback):
            counter.labels(*self.version)  # it exists before it counts
        for stage in STAGES:
            metrics.stages.labels(*self.version, stage)
        self._texts = metrics.batch_texts.labels(*self.version)
        self._tokens = metrics.batch_tokens.labels(*self.version)
        self._padding = metrics.padding.labels(*self.version)
        self._ratio = metrics.padding_ratio.labels(*self.version)
        self.show()

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
        self._unanswered[reason].inc()

    def batch(self, texts: int, tokens: int, computed: int) -> None:
        """Count a run of the model over ``computed`` tokens, of which ``tokens`` are no padding."""
        self._texts.observe(texts)
        self._tokens.observe(computed)
        self._padding.inc(computed - tokens)
        self._ratio.observe(1 - tokens / computed)

    def restarted(self, reason: str) -> None:
        """Count a worker replaced because it ``died`` or ``hung``."""
        self._restarts[reason].inc()

    def close(self) -> None:
        self.all.forget(self)

    def show(self) -> None:
        """Let this engine's gauges be scraped."""
        engine, gauges = self.engine, self.all.gauges
        gauges["queue_texts"].labels(*self.version).set_function(lambda: engine.queued[0])
        gauges["queue_tokens"].labels(*self.version).set_function(lambda: engine.queued[1])
        gauges["ready"].labels(*self.version).set_function(lambda: float(engine.ready()))
        gauges["info"].labels(*self.version).set(1)
        for backend in engine.backends:
            manifest = backend.model.manifest
            labels = manifest.name, manifest.version, self.version[1]
            state = backend.breaker
            self.all.breaker.labels(*labels).set_function(lambda b=state: STATES[b.state])

    def hide(self) -> None:
        """Take this engine's gauges out of the exposition."""
        for gauge in self.all.gauges.values():
            gauge.remove(*self.version)
        for backend in self.engine.backends:
            manifest = backend.model.manifest
            self.all.breaker.remove(manifest.name, manifest.version, self.version[1])
