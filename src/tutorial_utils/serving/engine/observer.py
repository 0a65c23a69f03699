"""Watch for drift beside the service: answers go into a queue, a thread puts them into windows.

No caller waits for anything here. If the thread cannot keep up, texts are left out and counted.
That does no harm: a sample of the traffic drifts just as the traffic does.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence

import numpy as np

from tutorial_utils.drift.monitor import Monitor
from tutorial_utils.drift.profile import Profile
from tutorial_utils.serving.engine.metrics import Metrics

log = logging.getLogger(__name__)

MOST = 1_000  # answers in the queue; more are dropped, and counted
PAUSE = 0.05  # seconds in which answers gather, since waking for each takes its time from the model


class Observer:
    """Watches the answers of one version. Its methods may be called from any thread.

    version: name and number of the model, as labels.
    """

    def __init__(self, profile: Profile, metrics: Metrics, version: tuple[str, str]):
        self.monitor = Monitor(profile)
        self._waiting: queue.Queue = queue.Queue(MOST)
        self._texts = metrics.watched.labels(*version)
        self._dropped = metrics.dropped.labels(*version)
        self._alarms = {f: metrics.alarms.labels(*version, f) for f in profile.features}
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()

    def saw(self, rows: Sequence[Sequence[int]], probabilities: np.ndarray) -> None:
        """Take the texts of an answer; one put into a queue, by the thread that answered."""
        self._put((rows, probabilities), len(rows))

    def disagreed(self, differs: Sequence[bool]) -> None:
        """Take, for each text, whether another version answered differently (``Task.same``)."""
        self._put((None, differs), len(differs))

    def settle(self) -> None:
        """Wait until all that was taken is in its window."""
        self._waiting.join()

    def close(self) -> None:
        """Put the waiting answers into their window, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

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
