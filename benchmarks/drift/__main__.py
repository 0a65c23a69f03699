"""Drift on real sentences: ``python -m benchmarks.drift [--quick]``, takes a few minutes.

The classifier was trained on movie reviews. How many false alarms do other movie reviews raise? How
many Amazon reviews, newspaper columns or tweets pass before an alarm begins, and which feature
raises it? And how many answers of a damaged INT8 model, with fp32 in its shadow?

Each trial draws other movie sentences for the profile and for the clean traffic, in another order.
No sentence is in both.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.common import run_folder
from benchmarks.drift.report import draw as draw_report
from benchmarks.drift.streams import (
    BAD,
    DAMAGES,
    REVERSED,
    SHORT,
    Answered,
    asked,
    damaged,
    held_out,
    joined,
    shifts,
)
from tutorial_utils.data import reviews
from tutorial_utils.drift import profile
from tutorial_utils.drift.monitor import Monitor, Profile
from tutorial_utils.lessons import pipeline
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.engine.observer import Observer

PROFILES = 100  # draws of profile and clean traffic for false alarms
TRIALS = 40  # draws for each delay
BEFORE, AFTER = 250, 1_000  # texts before a change (one full window) and after it
FEATURES = ("length", "vocabulary", "confidence", "labels", "disagreement")
Draw = tuple[Profile, np.ndarray]
TEXTBOOK = 0.05  # the usual significance level, here applied at each check


def main() -> None:
    """Measure, and write ``drift.json`` and its report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="test the code; do not use the results"
    )
    quick = parser.parse_args().quick
    profiles, trials = (3, 2) if quick else (PROFILES, TRIALS)
    start = time.perf_counter()
    streams = read()
    print(f"{len(streams)} streams answered in {time.perf_counter() - start:.0f} s", flush=True)
    draws = [draw(streams["movies"], seed) for seed in range(profiles)]
    print(f"{len(draws)} profiles in {time.perf_counter() - start:.0f} s", flush=True)
    found = {
        "false_alarms": false_alarms(streams, draws),
        "delays": delays(streams, draws[:trials]),
        "shadow": shadow(streams, draws[:trials]),
        "f1": {name: stream.f1 for name, stream in streams.items()},
        "drawn": drawn(streams, draws[0]),
        "cost": cost(streams["movies"], draws[0][0]),
    }
    folder = run_folder(quick)
    folder.keep("drift", found)
    draw_report(folder.read("drift"), folder)
    print(f"{time.perf_counter() - start:.0f} s. Written to {folder}.")


def read() -> dict[str, Answered]:
    """Name → answered texts: clean ones by INT8, fp32 and damaged models, and shifted ones."""
    int8, texts = pipeline.ensure("int8"), held_out()
    streams = {"movies": asked(int8, *texts), "fp32": asked(pipeline.ensure("fused"), *texts)}
    streams |= {name: asked(int8, *shifted) for name, shifted in shifts().items()}
    with tempfile.TemporaryDirectory() as scratch:
        for name in DAMAGES:
            file = damaged(int8, name, Path(scratch) / "damaged.onnx")
            streams[name] = asked(file, *texts)
    return streams


def draw(movies: Answered, seed: int) -> Draw:
    """A profile of 1,000 movie sentences, and the indices of the others in random order."""
    order = np.random.default_rng(seed).permutation(len(movies))
    own = movies.take(order[: pipeline.PROFILE_SENTENCES])
    never = profile.unknown_ids(reviews.tokenizer())
    made = Profile.of_rows(own.rows, own.probabilities, never=never)
    return made, order[pipeline.PROFILE_SENTENCES :]


def differs(first: Answered, second: Answered) -> np.ndarray:
    return first.probabilities.argmax(axis=1) != second.probabilities.argmax(axis=1)


def false_alarms(streams: dict[str, Answered], draws: list[Draw]) -> dict:
    """Alarms for 10,000 clean texts, by feature, and those of a textbook test at each check."""
    alarms, textbook, texts = dict.fromkeys(FEATURES, 0), 0, 0
    for made, others in draws:
        clean = streams["movies"].take(others)
        monitor = Monitor(made)
        monitor.add_rows(clean.rows, clean.probabilities)
        monitor.disagreed(differs(clean, streams["fp32"].take(others)))
        for feature, state in monitor.state().items():
            alarms[feature] += state.alarms
        textbook += _textbook(made, clean)
        texts += len(clean)
    per = 10_000 / texts
    low, high = stats.chi2.ppf([0.025, 0.975], [2 * (total := _of_traffic(alarms)), 2 * total + 2])
    return {
        "texts": texts,
        "target": made.false_alarms,
        "per_10000": {feature: count * per for feature, count in alarms.items()},
        "together": total * per,
        # Poisson interval. It is slightly too narrow, because draws share texts.
        "interval": [float(np.nan_to_num(low)) / 2 * per, float(high) / 2 * per],
        "textbook": textbook * per,
        "textbook_level": TEXTBOOK,
        "disagreement_share": float(differs(streams["movies"], streams["fp32"]).mean()),
    }


def _of_traffic(alarms: dict[str, int]) -> int:
    return sum(count for feature, count in alarms.items() if feature != "disagreement")


def _textbook(made: Profile, clean: Answered) -> int:
    """Alarms if each check is a Kolmogorov-Smirnov test at level ``TEXTBOOK``."""
    spread = np.sqrt(1 / made.window + 1 / made.texts)
    limit = float(stats.kstwobign.isf(TEXTBOOK) * spread)
    features = {n: replace(f, limit=limit) for n, f in made.features.items()}
    monitor = Monitor(replace(made, features=features))
    monitor.add_rows(clean.rows, clean.probabilities)
    return sum(monitor.state()[f].alarms for f in ("length", "vocabulary", "confidence"))


def delays(streams: dict[str, Answered], draws: list[Draw]) -> dict:
    """Shift → feature → texts until its alarm begins, for each draw; None: no alarm."""
    found = {}
    names = ["amazon", "news", "tweets", SHORT, REVERSED, BAD]
    plans = [(name, 1.0) for name in names] + [("tweets", 0.5), ("tweets", 0.25)]
    for name, share in plans:
        label = name if share == 1 else f"{name} among movies, {share:.0%}"
        found[label] = {feature: [] for feature in FEATURES[:-1]}
        for seed, (made, others) in enumerate(draws):
            rng = np.random.default_rng(1_000 + seed)
            clean = streams["movies"].take(others)
            after = _after(streams, name, others, rng)
            if share < 1:
                kept = clean.take(np.arange(BEFORE, BEFORE + round(AFTER * (1 - share))))
                after = _pick(joined(after.take(np.arange(AFTER - len(kept))), kept), AFTER, rng)
            waits = _wait(made, clean.take(np.arange(BEFORE)), after)
            for feature in found[label]:
                found[label][feature].append(waits[feature])
        print(f"delays: {label}", flush=True)
    return found


def _after(streams, name: str, others: np.ndarray, rng: np.random.Generator) -> Answered:
    """Texts of a shift in random order; none is made from a sentence of the profile."""
    rest = others[BEFORE:]
    if name == BAD:
        movies = streams["movies"]
        return movies.take(rest[movies.truth[rest] == 0])
    return _pick(
        streams[name].take(rest) if name in (SHORT, REVERSED) else streams[name], AFTER, rng
    )


def _pick(stream: Answered, count: int, rng: np.random.Generator) -> Answered:
    return stream.take(rng.permutation(len(stream))[:count])


def _wait(made: Profile, before: Answered, after: Answered) -> dict[str, int | None]:
    """Feature → texts after the change until its alarm begins."""
    monitor, waits = Monitor(made), dict.fromkeys(made.features)
    monitor.add_rows(before.rows, before.probabilities)
    begun = {feature: state.alarms for feature, state in monitor.state().items()}
    for end in range(made.every, len(after) + 1, made.every):
        piece = slice(end - made.every, end)
        monitor.add_rows(after.rows[piece], after.probabilities[piece])
        for feature, state in monitor.state().items():
            if waits[feature] is None and state.alarms > begun[feature]:
                waits[feature] = end
    return waits


def shadow(streams: dict[str, Answered], draws: list[Draw]) -> dict:
    """Damage → share of labels that differ from fp32, F1, and delays with and without shadow."""
    found = {}
    for name in DAMAGES:
        wrong, right = streams[name], streams["fp32"]
        waits = {feature: [] for feature in FEATURES}
        for made, others in draws:
            before, after = others[:BEFORE], others[BEFORE : BEFORE + AFTER]
            sound = streams["movies"].take(before)
            by_traffic = _wait(made, sound, wrong.take(after))
            monitor = Monitor(made)
            monitor.disagreed(differs(sound, right.take(before)))
            by_traffic["disagreement"] = None
            apart = differs(wrong.take(after), right.take(after))
            for end in range(made.every, len(apart) + 1, made.every):
                monitor.disagreed(apart[end - made.every : end])
                if monitor.drifting:
                    by_traffic["disagreement"] = end
                    break
            for feature, wait in by_traffic.items():
                waits[feature].append(wait)
        differ = float(differs(wrong, right).mean())
        found[name] = {"differ": differ, "f1": wrong.f1, "delays": waits}
        print(f"shadow: {name}, {differ:.1%} differ", flush=True)
    return found


def drawn(streams: dict[str, Answered], draw: Draw) -> dict:
    """Distances at each check: a stream of all domains, and one through a damaged model."""
    made, others = draw
    rng, monitor = np.random.default_rng(0), Monitor(made)
    clean = streams["movies"].take(others)
    parts = {"movies": clean.take(np.arange(750))}
    parts |= {name: _pick(streams[name], 750, rng) for name in ("amazon", "news", "tweets")}
    parts["movies again"] = clean.take(np.arange(750, 1_500))
    traffic = joined(*parts.values())
    right = streams["fp32"].take(others)
    damage = "a bit in 1 of 1,000 weights"
    apart = differs(joined(clean, streams[damage].take(others)), joined(right, right))
    lines = {feature: [] for feature in FEATURES}
    for end in range(made.every, len(traffic) + 1, made.every):
        piece = slice(end - made.every, end)
        monitor.add_rows(traffic.rows[piece], traffic.probabilities[piece])
        monitor.disagreed(apart[piece])
        for feature, state in monitor.state().items():
            filled = state.filled >= 1
            lines[feature].append(state.distance / state.limit if filled else None)
    return {
        "every": made.every,
        "parts": {name: len(part) for name, part in parts.items()},
        "damage": {"name": damage, "after": len(clean)},
        "lines": lines,
    }


def cost(movies: Answered, made: Profile) -> dict:
    """Microseconds for each text in the observer's thread, and for an answer in the engine's."""
    found = {}
    for size in (1, 8, 32):
        monitor, pieces = Monitor(made), range(0, len(movies) // size * size, size)
        start = time.perf_counter()
        for i in pieces:
            piece = slice(i, i + size)
            monitor.add_rows(movies.rows[piece], movies.probabilities[piece])
        found[f"{size} at once"] = (time.perf_counter() - start) / (len(pieces) * size) * 1e6
    watched = Observer(made, Metrics(), ("m", "1"))
    spent = []
    for row, scores in zip(movies.rows, movies.probabilities, strict=True):
        start = time.perf_counter()
        watched.saw([row], scores[None])
        spent.append((time.perf_counter() - start) * 1e6)
        watched.settle()
    watched.close()
    return found | {"an answer, where it is given (p50)": float(np.median(spent))}


if __name__ == "__main__":
    main()
