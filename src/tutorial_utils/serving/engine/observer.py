"""Drift watched beside the service: answers go into a queue, a thread puts them into windows.

Nothing that a caller waits for is done here. When the thread does not keep up, texts are left out
and counted: a sample of the traffic drifts as the traffic does.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from tutorial_utils.drift.monitor import Monitor
from tutorial_utils.drift.profile import Profile

log = logging.getLogger(__name__)

MOST = 1_000  # answers in the queue; more are dropped, and counted
PAUSE = 0.05  # seconds in which answers gather, since waking for each takes its time from the model
_VERSION = ("model", "version")


class DriftMetrics:
    """Drift of the versions that have a profile, as Prometheus sees it."""

    def __init__(self, registry: CollectorRegistry):
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"serve_drift_{name}", text, (*_VERSION, "feature"), registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"serve_drift_{name}", text, (*_VERSION, *labels), registry=registry)

        self.gauges = {
            "distance": gauge("distance", "Of the last window from the profile, 0 to 1."),
            "limit": gauge("limit", "Distance beyond which an alarm begins."),
            "drifting": gauge("drifting", "1 from the limit on, until well below it."),
            "filled": gauge("filled", "Share of the window that is full; 1: it is judged."),
        }
        self.alarms = counter("alarms", "Alarms that have begun.", "feature")
        self.texts = counter("texts", "Texts that were watched.")
        self.dropped = counter("dropped_texts", "Texts left out, since too many waited.")
        self._shown: dict[tuple[str, str], Observer] = {}
        self._lock = threading.Lock()

    def show(self, observer: "Observer") -> None:
        """Let the gauges of a version be scraped; they look at its windows when they are."""
        with self._lock:
            self._shown[observer.version] = observer
            for feature in observer.monitor.profile.features:
                for name, gauge in self.gauges.items():
                    child = gauge.labels(*observer.version, feature)
                    child.set_function(partial(observer.value, feature, name))

    def hide(self, observer: "Observer") -> None:
        """Take the gauges out of the exposition, unless another shows the version since."""
        with self._lock:
            if self._shown.get(observer.version) is observer:
                del self._shown[observer.version]
                for gauge in self.gauges.values():
                    gauge.remove_by_labels(dict(zip(_VERSION, observer.version, strict=True)))


class Observer:
    """Watches the answers of one version. Its methods may be called from any thread.

    version: name and number of the model, as labels.
    """

    def __init__(self, profile: Profile, metrics: DriftMetrics, version: tuple[str, str]):
        self.monitor, self.version = Monitor(profile), version
        self._metrics = metrics
        self._waiting: queue.Queue = queue.Queue(MOST)
        self._texts = metrics.texts.labels(*version)
        self._dropped = metrics.dropped.labels(*version)
        self._alarms = {f: metrics.alarms.labels(*version, f) for f in profile.features}
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()
        metrics.show(self)

    def saw(self, rows: Sequence[Sequence[int]], probabilities: np.ndarray) -> None:
        """Take the texts of an answer; one put into a queue, by the thread that answered."""
        self._put((rows, probabilities), len(rows))

    def disagreed(self, differs: Sequence[bool]) -> None:
        """Take for each text whether another version's answer differs (``quality.agrees``)."""
        self._put((None, differs), len(differs))

    def settle(self) -> None:
        """Wait until all that was taken is in its window."""
        self._waiting.join()

    def value(self, feature: str, name: str) -> float:
        """A field of the feature's ``State``."""
        return float(getattr(self.monitor.state()[feature], name))

    def close(self) -> None:
        """Put what waits into its window, and end the thread. Counters stay, gauges go."""
        self._waiting.put(None)
        self._thread.join()
        self._metrics.hide(self)

    def _put(self, taken: tuple, texts: int) -> None:
        try:
            self._waiting.put_nowait(taken)
        except queue.Full:
            self._dropped.inc(texts)

    def _run(self) -> None:
        while True:
            taken = [self._waiting.get()]
            time.sleep(PAUSE)
            while not self._waiting.empty():
                taken.append(self._waiting.get())
            try:
                self._take([t for t in taken if t])
            except Exception as error:
                log.error("drift is not seen in some texts: %s", type(error).__name__)
            for _ in taken:
                self._waiting.task_done()
            if None in taken:
                return

    def _take(self, taken: list[tuple]) -> None:
        before = self.monitor.state()
        answers = [(rows, scores) for rows, scores in taken if rows is not None]
        if answers:
            rows = [row for many, _ in answers for row in many]
            self.monitor.add_rows(rows, np.concatenate([scores for _, scores in answers]))
            self._texts.inc(len(rows))
        compared = [differs for rows, differs in taken if rows is None]
        if compared:
            self.monitor.disagreed(np.concatenate(compared))
        for feature, state in self.monitor.state().items():
            if begun := state.alarms - before[feature].alarms:
                self._alarms[feature].inc(begun)
                log.warning(
                    "drift: %s is %.3f from the profile, and %.3f is its limit",
                    feature, state.distance, state.limit,
                )  # fmt: skip
