"""What the service tells Prometheus about itself."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tutorial_utils.serving.engine import Prediction

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """Counters and histograms of one application; each application has its own registry."""

    def __init__(self, model: str, version: str, waiting: Callable[[], int]):
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "serve_requests", "Requests by route and status.", ("route", "status"),
            registry=self.registry,
        )  # fmt: skip
        self._latency = Histogram(
            "serve_request_seconds", "Time from request to answer.", ("route",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._stages = Histogram(
            "serve_stage_seconds", "Time in the queue, the tokenizer and the model.", ("stage",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._texts = Counter("serve_texts", "Texts answered.", registry=self.registry)
        self._tokens = Counter("serve_tokens", "Tokens answered.", registry=self.registry)
        Gauge(
            "serve_waiting_texts", "Texts not answered yet.", registry=self.registry
        ).set_function(waiting)
        Gauge(
            "serve_model_info", "The version being served.", ("model", "version"),
            registry=self.registry,
        ).labels(model, version).set(1)  # fmt: skip

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request. ``route`` is the route's pattern: a caller's path is no label."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def prediction(self, texts: int, prediction: Prediction) -> None:
        """Count what the engine did."""
        self._texts.inc(texts)
        self._tokens.inc(prediction.tokens)
        for stage in ("queue", "tokenize", "inference"):
            self._stages.labels(stage).observe(getattr(prediction, f"{stage}_ms") / 1e3)

    def text(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self.registry)
