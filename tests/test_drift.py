"""Drift: distances compared with scipy's, false alarms of the limits, and detected shifts."""

import asyncio
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from service import publish, sentences

from tutorial_utils import quality, registry
from tutorial_utils.data import reviews
from tutorial_utils.drift import profile as profiles
from tutorial_utils.drift.limits import calibrated
from tutorial_utils.drift.monitor import CALM, Monitor
from tutorial_utils.drift.profile import BadProfile, Profile
from tutorial_utils.drift.statistics import ORDERED, SHARES, Feature, unfamiliar
from tutorial_utils.lessons import pipeline
from tutorial_utils.registry import BadModel, ModelForm, write_version
from tutorial_utils.serving.engine import observer
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.engine.observer import Observer
from tutorial_utils.serving.rollout.deployment import Deployment
from tutorial_utils.serving.settings import Settings
from tutorial_utils.tasks import TASKS

numbers = st.lists(st.integers(-50, 50), min_size=20, max_size=300).map(np.array)


@given(numbers, numbers)
def test_the_distance_of_ordered_values_is_that_of_kolmogorov_and_smirnov(reference, window):
    feature = Feature.ordered(reference)
    bins, others = feature.bins(reference), feature.bins(window)
    found = feature.distance(np.bincount(others, minlength=len(feature.shares)))
    assert found == pytest.approx(_ks(bins, others))
    assert found <= _ks(reference, window) + 1e-9


def _ks(first: np.ndarray, second: np.ndarray) -> float:
    return stats.ks_2samp(first, second, method="asymp").statistic


@given(numbers, st.integers(1, 100))
def test_values_outside_the_range_of_the_reference_have_the_largest_distance(reference, beyond):
    feature = Feature.ordered(reference)
    for value in (reference.min() - beyond, reference.max() + beyond):
        bins = feature.bins(np.full(10, value))
        far = feature.distance(np.bincount(bins, minlength=len(feature.shares)))
        assert far == pytest.approx(1)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=6).filter(sum))
def test_the_distance_of_shares_is_the_share_of_texts_that_moved(counts):
    counts = np.array(counts)
    feature = Feature(SHARES, counts / counts.sum())
    assert feature.distance(counts) == pytest.approx(0)
    moved = np.roll(counts, 1)
    kept = np.minimum(counts, moved).sum() / counts.sum()
    assert feature.distance(moved) == pytest.approx(1 - kept)


def sample(count: int, seed: int = 0, shift: float = 0.0):
    """Lengths, unknown shares and probabilities of synthetic texts."""
    rng = np.random.default_rng(seed)
    positive = rng.beta(2 + 4 * shift, 2, count)
    lengths = 2 + rng.poisson(20 * (1 + shift), count)
    return lengths, rng.beta(1 + shift, 20, count), np.stack([1 - positive, positive], axis=1)


@pytest.fixture(scope="module")
def normal() -> Profile:
    return Profile.of(*sample(2_000))


def test_the_limits_lie_between_those_of_one_check_and_of_independent_checks(normal):
    """Overlapping windows are more than one check, and fewer than as many independent ones."""
    share = normal.false_alarms / 4 * normal.window / 10_000
    spread = np.sqrt(1 / normal.window + 1 / normal.texts)
    checks = normal.window // normal.every
    for name in ("length", "vocabulary", "confidence"):
        limit = normal.features[name].limit
        assert 0.9 * stats.kstwobign.isf(share) * spread < limit
        assert limit < stats.kstwobign.isf(share / checks) * spread
    (low, high) = (stats.norm.isf(share / 2 / n) * spread / 2 for n in (1, checks))
    assert 0.9 * low < normal.features["labels"].limit < high


def test_rarer_false_alarms_need_wider_limits_and_too_rare_ones_are_refused():
    feature = Feature(SHARES, np.array([0.5, 0.5]))
    limits = [calibrated(feature, 400, 250, 10, share).limit for share in (0.005, 0.001, 0.00025)]
    assert limits == sorted(set(limits))
    for share in (0.0002, 1):
        with pytest.raises(BadProfile, match=r"give a share of 0\.00025 or more"):
            calibrated(feature, 400, 250, 10, share)


@pytest.mark.parametrize(
    ("texts", "per_window", "window"), [(200, 0.005, 250), (None, 0.0005, 250), (300, 0.02, 2_000)]
)
def test_without_drift_a_limit_is_exceeded_as_often_as_intended(texts, per_window, window):
    """Measured on other streams than those of the limit, each with its own reference."""
    shares = np.array([0.3, 0.7])
    limit = calibrated(Feature(SHARES, shares), texts, window, 10, per_window).limit
    rng, beyond, count = np.random.default_rng(1), 0, 20_000
    checks = window // 10
    for _ in range(count // 1_000):
        drawn = np.cumsum(rng.binomial(10, 0.7, (1_000, 2 * checks)), axis=1)
        share = (drawn[:, checks:] - drawn[:, :-checks]) / window
        reference = rng.binomial(texts, 0.7, (1_000, 1)) / texts if texts else 0.7
        beyond += np.sum(np.abs(share - reference).max(axis=1) > limit)
    assert per_window / 2.5 < beyond / count < 2.5 * per_window


def columns(count: int, task: str, seed: int = 0, shifted: int | None = None):
    """Like ``sample`` with three targets or labels. The first always applies, the last seldom.

    shifted: the column that differs from normal.
    """
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, 3))
    if task == "multi_label":
        rates = np.array([1, 0.3, 0.002])
        if shifted is not None:
            rates[shifted] = 0.6
        found = np.where(rng.random((count, 3)) < rates, [0.9, 0.8, 0.7], [0.9, 0.1, 0.1])
    elif shifted is not None:
        found[:, shifted] += 1
    return *sample(count, seed)[:2], found


@pytest.mark.parametrize("task", TASKS)
def test_texts_without_drift_raise_few_alarms(task):
    def draw(count, seed):
        return sample(count, seed) if task == "single_label" else columns(count, task, seed)

    made = Profile.of(*draw(2_000, 0), task=task)
    monitor = Monitor(made)
    monitor.add(*draw(100_000, 1))
    alarms = sum(state.alarms for state in monitor.state().values())
    assert alarms <= 3 * made.false_alarms * 10  # expected on 100,000 texts: 10


@pytest.mark.parametrize(
    ("task", "features"),
    [
        ("regression", ("confidence", "confidence_1", "confidence_2")),
        ("multi_label", (None, "labels_1", "labels_2")),
    ],
)
def test_drift_of_any_target_or_label_is_detected(task, features):
    """Even if the most likely label and its probability stay the same."""
    made = Profile.of(*columns(1_000, task), task=task)
    for shifted, feature in enumerate(features):
        if feature:
            monitor = Monitor(made)
            monitor.add(*columns(250, task, seed=1))
            assert monitor.drifting == ()
            monitor.add(*columns(250, task, seed=2, shifted=shifted))
            assert monitor.drifting == (feature,)


def test_an_older_profile_of_a_multi_label_model_watches_the_most_likely_label():
    old = Profile.of(*sample(1_000)).to_dict() | {"task": "multi_label"}
    monitor = Monitor(Profile.from_json(json.dumps(old)))
    monitor.add(*sample(250, seed=1))
    assert monitor.drifting == ()
    monitor.add(*sample(250, seed=2, shift=0.5))
    assert monitor.drifting == ("length", "vocabulary", "labels")


def test_with_very_many_labels_false_alarms_are_as_rare_as_can_be_simulated():
    probabilities = np.full((200, 200), 0.1)
    arrays = (*sample(200)[:2], probabilities)
    made = Profile.of(*arrays, task="multi_label", window=1_000, every=1_000)
    assert len(made.features) == 204
    assert made.false_alarms == pytest.approx(2.03)


def test_an_alarm_begins_with_drift_and_ends_with_it(normal):
    monitor = Monitor(normal)
    monitor.add(*sample(200, seed=2))
    state = monitor.state()["length"]
    assert (state.filled, np.isnan(state.distance), state.drifting) == (0.8, True, False)
    monitor.add(*sample(250, seed=3))
    assert monitor.drifting == ()
    monitor.add(*sample(250, seed=4, shift=0.5))
    assert monitor.drifting == ("length", "vocabulary", "confidence", "labels")
    monitor.add(*sample(250, seed=5))
    assert monitor.drifting == ()
    assert monitor.state()["length"].alarms == 1


@given(cuts=st.lists(st.integers(1, 399), max_size=6, unique=True))
@settings(max_examples=25)
def test_the_sizes_of_the_batches_make_no_difference(normal, cuts):
    texts = sample(400, seed=6, shift=0.2)
    whole, pieces = Monitor(normal), Monitor(normal)
    whole.add(*texts)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 400], strict=True):
        pieces.add(*(part[start:end] for part in texts))
    assert repr(pieces.state()) == repr(whole.state())


def test_an_alarm_does_not_flicker_around_its_limit(normal):
    limit = normal.features["disagreement"].limit + profiles.TOLERATED
    monitor = Monitor(normal)
    for share in (limit + 0.004, limit - 0.004, limit + 0.004, limit - 0.004):
        count = round(share * normal.window)
        monitor.disagreed(np.random.default_rng(0).permutation(np.arange(250) < count))
    state = monitor.state()["disagreement"]
    assert state.alarms == 1
    assert state.distance >= CALM * state.limit or not state.drifting


rows_ = st.lists(st.lists(st.integers(0, 30), max_size=8), min_size=1, max_size=12)


@given(rows_, st.sets(st.integers(0, 40)))
def test_the_share_of_unfamiliar_tokens(rows, familiar):
    known = np.isin(np.arange(25), list(familiar))
    expected = [sum(not (i < 25 and i in familiar) for i in row) / max(len(row), 1) for row in rows]
    assert unfamiliar(rows, known) == pytest.approx(expected)


def test_a_token_of_only_one_reference_text_is_unfamiliar_in_that_text():
    rows = [[2, 10 + i % 5, 3, 1000 + i] for i in range(300)]  # the last token is in one text only
    probabilities = sample(300)[2]
    made = Profile.of_rows(rows, probabilities, never=[2])
    assert made.features["vocabulary"].edges[1:] == pytest.approx(
        [0.5]
    )  # the last token, and [UNK]
    assert made.unknown([[2, 10, 3, 5000], [10, 11], []]) == pytest.approx([0.5, 0, 0])


def test_a_profile_is_the_same_after_writing_and_reading():
    made = Profile.of_rows([[2, i % 300, 3] for i in range(300)], sample(300)[2])
    again = Profile.from_json(json.dumps(made.to_dict()))
    assert repr(again) == repr(made)
    assert np.array_equal(again.familiar, made.familiar)
    first, second = Monitor(made), Monitor(again)
    for monitor in (first, second):
        monitor.add(*sample(300, shift=0.3))
    assert repr(first.state()) == repr(second.state())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"features": {"length": {}}}'])
def test_json_that_is_not_a_profile_is_refused(text):
    with pytest.raises(BadProfile):
        Profile.from_json(text)


WRONG = {
    "too few": (sample(199), {}),
    "different lengths": ((sample(300)[0][:299], *sample(300)[1:]), {}),
    "not numbers": ((*sample(300)[:2], np.full((300, 2), np.nan)), {}),
    "a window that is not a multiple": (sample(300), {"window": 255}),
    "not a share": (sample(300), {"disagreement": 1.5}),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_bad_reference_is_refused(fault):
    arrays, options = WRONG[fault]
    with pytest.raises(BadProfile):
        Profile.of(*arrays, **options)


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_features(task):
    made = Profile.of(*sample(300), task=task)
    own = {
        "single_label": {"labels"},
        "multi_label": {"labels_0", "labels_1"},
        "regression": {"confidence_1"},
        "score": {"labels_0", "labels_1"},  # the sample has two columns
        "embedding": set(),
    }
    common = {"length", "vocabulary", "disagreement"}
    common |= set() if task == "embedding" else {"confidence"}
    assert set(made.features) == common | own[task]
    assert made.features["length"].kind == ORDERED
    Monitor(made).add(*sample(50))


def test_a_window_may_be_longer_than_a_simulated_stream():
    made = Profile.of(*sample(300), window=6_000, every=100)
    assert 0 < made.features["length"].limit < Profile.of(*sample(300)).features["length"].limit


# In the service.


@pytest.fixture(scope="module")
def registry_path(tmp_path_factory):
    """Version 1 with a profile, versions 2 and 3 without."""
    folder = tmp_path_factory.mktemp("registry_path")
    publish(folder, sentences(400))
    publish(folder)
    publish(folder)
    return folder


def test_the_engine_watches_answers_but_not_probes(registry_path):
    metrics = Metrics()
    engine = Engine(
        registry.load(registry_path, "sentiment", "1"),
        Settings(registry=registry_path),
        None,
        metrics,
    )

    def watched(texts: int) -> None:
        """Wait for this number of texts: an answer reaches its caller before the observer."""
        labels = {"model": "sentiment", "version": "1"}
        end = time.monotonic() + 60
        while metrics.registry.get_sample_value("serve_drift_texts_total", labels) < texts:
            assert time.monotonic() < end
            time.sleep(0.01)
        engine.observer.settle()
        assert metrics.registry.get_sample_value("serve_drift_texts_total", labels) == texts

    asyncio.run(engine.probe())
    for seed in range(10):
        asyncio.run(engine.predict(sentences(30, seed + 1)))
    watched(300)  # without the probe's
    assert engine.observer.monitor.drifting == ()
    for _ in range(10):
        asyncio.run(engine.predict(["ключ" * 40] * 30))
    watched(600)
    labels = {"model": "sentiment", "version": "1", "feature": "length"}
    drift = {
        name: metrics.registry.get_sample_value(f"serve_drift_{name}", labels)
        for name in ("distance", "limit", "drifting", "filled", "alarms_total")
    }
    assert drift["distance"] > drift["limit"] > 0
    assert (drift["drifting"], drift["filled"], drift["alarms_total"]) == (1, 1, 1)
    assert "drift" in {thread.name for thread in threading.enumerate()}
    engine.close()
    engine.close()
    text = metrics.text().decode()
    assert "serve_drift_distance{" not in text
    assert "serve_drift_alarms_total{" in text


def test_a_version_without_a_profile_is_not_watched(registry_path):
    metrics = Metrics()
    engine = Engine(
        registry.load(registry_path, "sentiment", "2"),
        Settings(registry=registry_path),
        None,
        metrics,
    )
    asyncio.run(engine.predict(["fine"]))
    assert engine.observer is None
    assert "serve_drift_distance{" not in metrics.text().decode()
    engine.close()


def test_a_profile_that_cannot_be_read_is_refused_with_its_version(tmp_path):
    """Its hash is right, so it was already broken when it was written."""
    publish(tmp_path)
    first = tmp_path / "sentiment" / "1"
    broken = {"features": {"length": 1}}
    forms, tokenizer = [ModelForm(first / "model.onnx")], first / "tokenizer.json"
    write_version(tmp_path, "sentiment", forms, tokenizer, ("no", "yes"), profile=broken)
    with pytest.raises(BadModel, match=r"profile\.json is not usable .* Write the version again"):
        registry.load(tmp_path, "sentiment", "2")
    assert registry.load(tmp_path, "sentiment", "1").profile is None


def test_the_shadow_measures_how_often_another_version_disagrees(registry_path):
    """min_agreement=0: otherwise the shadow would be rolled back, because it always disagrees."""
    wanted = Settings(registry=registry_path, version="1", min_agreement=0)
    reference = registry.load(registry_path, "sentiment", "2")
    flipped = replace(reference.manifest, labels=reference.manifest.labels[::-1])
    reference = replace(reference, manifest=flipped)

    async def go():
        deployment = Deployment(wanted, registry.load(registry_path, "sentiment", "1"))
        deployment.place(reference, shadow=1.0)
        for seed in range(10):
            await deployment.predict(sentences(30, seed))
            await deployment.shadow.settle()
        watched = deployment.stable.observer
        watched.settle()
        state = watched.monitor.state()["disagreement"]
        running = deployment.roles
        await deployment.close()
        return state, running

    state, running = asyncio.run(go())
    assert state.drifting
    assert state.distance == pytest.approx(1 - profiles.TOLERATED)
    assert running == {"1": "stable", "2": "shadow"}


def test_the_gauges_are_those_of_the_newest_engine(registry_path):
    metrics, settings = Metrics(), Settings(registry=registry_path)
    model = registry.load(registry_path, "sentiment", "1")
    labels = {"model": "sentiment", "version": "1", "feature": "length"}

    def filled() -> float | None:
        return metrics.registry.get_sample_value("serve_drift_filled", labels)

    first, second = (Engine(model, settings, None, metrics) for _ in range(2))
    second.observer.saw([[1, 2]] * 250, np.full((250, 2), 0.5))
    second.observer.settle()
    assert filled() == 1
    first.close()
    assert filled() == 1
    second.close()
    assert filled() is None


def test_texts_are_dropped_if_the_queue_is_full(normal, monkeypatch):
    monkeypatch.setattr(observer, "MOST", 2)
    metrics, release = Metrics(), threading.Event()
    watched = Observer(normal, metrics, ("m", "1"))
    monkeypatch.setattr(watched.monitor, "add_rows", lambda *_: release.wait(5))
    for _ in range(20):
        watched.saw([[1, 2]], np.array([[0.5, 0.5]]))
    release.set()
    watched.close()
    labels = {"model": "m", "version": "1"}
    taken, dropped = (
        metrics.registry.get_sample_value(f"serve_drift_{n}_total", labels)
        for n in ("texts", "dropped_texts")
    )
    assert dropped > 0
    assert taken + dropped == 20


def test_an_error_in_the_observer_does_not_stop_it(normal, caplog):
    watched = Observer(normal, Metrics(), ("m", "1"))
    watched.saw([[1, 2]], np.array([[np.nan, 0.5]]))
    watched.settle()
    watched.saw([[1, 2]] * 10, np.full((10, 2), 0.5))
    watched.close()
    assert watched.monitor.state()["length"].filled == pytest.approx(10 / 250)
    assert "BadProfile" in caplog.text


# On real sentences.


@pytest.fixture(scope="module")
def real():
    """The classifier's profile, and a function from texts to token ids and probabilities."""
    from tutorial_utils.runtime import batching, inference

    int8 = pipeline.ensure("int8")

    def read(texts, file=int8):
        predict = inference.onnx_predict(file, pipeline.recipe("int8").session)
        rows = reviews.encode(texts)
        batches = batching.by_tokens(list(map(len, rows)), 1024)
        return rows, quality.softmax(batching.run(predict, rows, batches))

    rows, probabilities = read(reviews.splits().test.texts[:400])
    never = profiles.unknown_ids(reviews.tokenizer())
    return Profile.of_rows(rows, probabilities, never=never, window=100), read


@pytest.mark.built
def test_movies_raise_no_alarm_and_other_domains_do(real):
    made, read = real
    movies = reviews.splits().validation.texts
    shifted = [(reviews.load(d).texts[:100], "vocabulary") for d in ("news", "tweets")]
    shifted.append((reviews.load("amazon").texts[:100], "length"))
    shifted.append(([text[:20] for text in movies[:100]], "length"))
    shifted.append(([text[::-1] for text in movies[:100]], "vocabulary"))
    monitor = Monitor(made)
    monitor.add_rows(*read(movies[:150]))
    assert monitor.drifting == ()
    for texts, feature in shifted:
        monitor = Monitor(made)
        monitor.add_rows(*read(texts))
        assert feature in monitor.drifting


@pytest.mark.built
def test_a_damaged_model_disagrees_with_its_fp32_shadow(real, tmp_path):
    import onnx

    made, read = real
    model = onnx.load(pipeline.ensure("int8"))
    rng = np.random.default_rng(0)
    for weight in model.graph.initializer:
        if weight.name.endswith("_quantized"):  # flip a bit in one of ten
            values = np.frombuffer(weight.raw_data, np.uint8)
            bits = (1 << rng.integers(0, 8, values.size)).astype(np.uint8)
            weight.raw_data = np.where(
                rng.random(values.size) < 0.1, values ^ bits, values
            ).tobytes()
    onnx.save(model, tmp_path / "damaged.onnx")
    texts = reviews.splits().validation.texts[:100]
    fp32, sound, damaged = (
        read(texts, file)[1].argmax(axis=1)
        for file in (pipeline.ensure("fused"), pipeline.ensure("int8"), tmp_path / "damaged.onnx")
    )
    monitor = Monitor(made)
    monitor.disagreed(sound != fp32)
    assert monitor.drifting == ()
    monitor.disagreed(damaged != fp32)
    assert monitor.drifting == ("disagreement",)
