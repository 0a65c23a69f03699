"""Runs of ``optimize`` on tiny models in tests, with times that a test gives."""

import numpy as np
from tiny_checkpoints import save, texts

from tutorial_utils.bench import timer
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.models import classifiers
from tutorial_utils.optimize import timing
from tutorial_utils.runtime import batching


def write_csv(file, lines):
    rows = "\n".join(f'"{text}",{label}' for text, label in lines)
    file.write_text("text,label\n" + rows, encoding="utf-8")
    return file


SPEED = {"pytorch": 9.0, "exported": 3.0, "fused": 2.0, "fused_paying": 1.5, "int8": 0.5}


def fixed_times(patch):
    """Fixed times instead of measured ones; each candidate runs once, in this process.

    Returns milliseconds by the end of a candidate's name, which a test may change.
    """
    speed = dict(SPEED)

    def told(name):
        return next((ms for end, ms in speed.items() if name.endswith(end)), 1.0)

    def compare(candidates, *, rounds, seconds, minimum_calls):
        answers = [candidate.build()() for candidate in candidates.values()]
        assert len({len(answer) for answer in answers}) == 1
        times = {name: (told(name),) * rounds for name in candidates}
        first = next(iter(times))
        return timer.Comparison(
            timings={n: timer.Timing(n, 1, rounds, *t[:1] * 3, 1.0, 1.0) for n, t in
                     ((n, times[n] * 2) for n in times)},
            verdicts={n: Ratio.of_rounds(t, times[first]) for n, t in times.items() if n != first},
            rounds=times,
            machine="none",
        )  # fmt: skip

    patch.setattr(timing.timer, "compare", compare)
    return speed


def command(tmp_path, *more, model="model"):
    """The arguments of ``optimize`` for a tiny model, which is saved first."""
    folder = tmp_path / model
    if not folder.exists():
        save(folder)
    return ["optimize", str(folder), "--out", str(tmp_path / "out"), *more]


def data_of(tmp_path):
    """Texts with the tiny model's own answers as labels, so INT8 can be as good.

    Its bias is moved, so that it gives both answers, and texts between the two are left out.
    """
    lines, folder = texts(600), save(tmp_path / "model")
    classifier = classifiers.open_classifier(folder)
    logits = classifier.predictor()(batching.pad(classifier.encode(lines)))
    margins = logits[:, 1] - logits[:, 0]
    model = classifier.module()
    model.classifier.bias.data[1] -= float(np.median(margins))
    model.save_pretrained(folder)
    margins -= np.median(margins)
    clear = np.argsort(-np.abs(margins))[:300]
    return write_csv(tmp_path / "data.csv", [(lines[i], int(margins[i] > 0)) for i in clear])
