"""Which file ``optimize`` promotes: the fastest that passes, the smaller of equally fast ones."""

import json
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from optimizing import command, data_of, fixed_times
from tiny_checkpoints import texts

from tutorial_utils import cli
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.data import labelled
from tutorial_utils.graph import inspection, quantization, sensitivity
from tutorial_utils.models import classifiers
from tutorial_utils.optimize import (
    answers,
    choice,
    gate,
    ladder,
    results,
    target,
    timing,
    variants,
)
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.quality import Quality
from tutorial_utils.registry import read_manifest
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.runtime.session import open_session
from tutorial_utils.tasks import Close

LOW = ("--min-agreement", "0.9")


@pytest.fixture
def clock(monkeypatch):
    return fixed_times(monkeypatch)


def promoted(folder):
    """The candidate that was promoted, and the report's JSON."""
    result = json.loads((folder / "out" / "report.json").read_text())
    return result["judged"][0]["candidate"]["name"] if result["version"] else None, result


def with_wrong_answers(patch, name):
    """Files of a quantizer answer the opposite, unless it leaves products out."""
    made = getattr(quantization, name)

    def make(source, target, *given, **options):
        made(source, target, *given, **options)
        if not options.get("exclude"):
            model = onnx.load(target)
            (last,) = (n for n in model.graph.node if n.output[0] == "logits")
            last.output[0] = "right"
            model.graph.node.append(onnx.helper.make_node("Neg", ["right"], ["logits"]))
            onnx.save(model, target)
        return target

    patch.setattr(quantization, name, make)


@pytest.mark.parametrize(
    ("times", "wrong", "expected"),
    [
        ({}, False, "fused_paying_int8"),
        ({}, True, "fused_paying_mixed"),
        # As fast as fp32: the smaller wins.
        ({"int8": 1.5, "fp16": 1.5}, False, "fused_paying_int8"),
        ({"int8": 1.5, "fp16": 1.52}, "always", "fused_paying_fp16"),
        ({"int8": 4.0, "fp16": 4.0}, False, "fused_paying"),
    ],
)
def test_the_fastest_that_passes_wins_and_the_smaller_of_equal_ones(
    times, wrong, expected, clock, tmp_path, monkeypatch
):
    clock.update(times)
    if wrong:
        with_wrong_answers(monkeypatch, "dynamic")
    if wrong == "always":
        monkeypatch.setattr(sensitivity, "SHARES", ())
    data = str(data_of(tmp_path))
    assert cli.main(command(tmp_path, "--quick", "--data", data, *LOW)) == 0
    name, result = promoted(tmp_path)
    assert name == expected
    form = read_manifest(tmp_path / "out" / "registry" / "model" / "1").forms[0]
    assert form.recipe.steps == ("exported", "fused_paying", *[name] * (name[-1] != "g"), "tuned")
    assert form.precision == {"t8": "int8", "ed": "int8", "16": "fp16", "ng": "fp32"}[name[-2:]]
    if name.endswith("mixed"):
        (trial,) = (t for t in result["trials"] if t["name"] == name)
        kept, all_ = map(
            int, re.match(r"(\d+) of (\d+) products in fp32", trial["reason"]).groups()
        )
        counts = inspection.op_counts(tmp_path / "out" / "registry" / "model" / "1" / form.file)
        assert counts["QAttention"] + counts["MatMulInteger"] == all_ - kept > 0


def test_a_refusal_says_what_each_candidate_missed(clock, tmp_path, capsys, monkeypatch):
    """INT8 answers wrongly, whatever is in fp32; the others are too slow."""
    with_wrong_answers(monkeypatch, "recommended")
    monkeypatch.setattr(sensitivity, "SHARES", ())
    clock.update({"fp16": 20.0, "fused_paying": 21.0, "fused": 22.0, "exported": 23.0})
    data = str(data_of(tmp_path))
    assert cli.main(command(tmp_path, "--quick", "--data", data, *LOW)) == 1
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("Refused: "))
    assert "fused_paying_int8: answers differ at " in line
    for name in ("fused_paying_int8", "fused_paying_fp16", "fused_paying"):
        assert f"{name}: " in line


def test_noise_alone_does_not_refuse(clock, tmp_path, monkeypatch, capsys):
    """The first measurement cannot decide; the second, which takes longer, can."""
    told, rounds_of = timing.timer.compare, []

    def compare(candidates, *, rounds, **options):
        found = told(candidates, rounds=rounds, **options)
        if "pytorch" not in candidates:
            return found
        rounds_of.append(rounds)
        if len(rounds_of) > 1:
            return found
        return replace(found, verdicts={n: Ratio(0.5, 0.2, 1.3) for n in found.verdicts})

    monkeypatch.setattr(timing.timer, "compare", compare)
    assert cli.main(command(tmp_path, "--quick")) == 0
    assert rounds_of == [5, 15]
    assert "too noisy to decide, so they are measured again" in capsys.readouterr().out
    told = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "The first times were too noisy to decide" in told
    assert "the gain is uncertain" not in told


@pytest.fixture
def noise(clock, monkeypatch):
    """Times that no gate can decide about, until it is cleared; rounds of each evaluation."""
    told, rounds_of, noisy = timing.timer.compare, [], ["always"]

    def compare(candidates, *, rounds, **options):
        found = told(candidates, rounds=rounds, **options)
        if "pytorch" not in candidates:
            return found
        rounds_of.append(rounds)
        verdicts = {n: Ratio(0.5, 0.2, 1.3) for n in found.verdicts} if noisy else found.verdicts
        return replace(found, verdicts=verdicts)

    monkeypatch.setattr(timing.timer, "compare", compare)
    return noisy, rounds_of


def test_a_run_that_noise_refused_is_measured_again_by_the_next_run(noise, tmp_path, capsys):
    noisy, rounds_of = noise
    assert cli.main(command(tmp_path, "--quick")) == 1
    told = capsys.readouterr().out
    assert rounds_of == [5, 15]
    assert "still too noisy to decide. Run the same command again" in told
    assert "still too noisy" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")

    assert cli.main(command(tmp_path, "--quick")) == 1  # as noisy as before
    assert rounds_of == [5, 15, 15]

    noisy.clear()
    capsys.readouterr()
    assert cli.main(command(tmp_path, "--quick")) == 0
    told = capsys.readouterr().out
    assert rounds_of == [5, 15, 15, 15]
    assert re.findall(r"\] (\w+): kept", told) == [s.__name__ for s in ladder.stages(target.CPU)]
    assert told.index("measured again, for longer") < told.index("evaluate …")


def test_a_longer_measurement_that_decided_is_kept_and_nothing_is_said_to_be_measured(
    noise, tmp_path, capsys
):
    noisy, rounds_of = noise
    assert cli.main(command(tmp_path, "--quick")) == 1
    noisy.clear()
    rest = "--quick", "--max-size", "0.01"  # refused, so that no version in use changes the times
    assert cli.main(command(tmp_path, *rest)) == 1
    assert rounds_of == [5, 15]  # not for its noise: no measurement can help
    capsys.readouterr()
    assert cli.main(command(tmp_path, "--quick", "--registry", str(tmp_path / "one"))) == 0
    assert rounds_of == [5, 15, 15]
    capsys.readouterr()
    assert cli.main(command(tmp_path, "--quick", "--registry", str(tmp_path / "two"))) == 0
    assert rounds_of == [5, 15, 15]
    assert "measured again" not in capsys.readouterr().out


def test_a_gain_within_a_wide_interval_is_told_with_a_warning(clock, tmp_path, monkeypatch):
    told = timing.timer.compare

    def compare(candidates, **options):
        found = told(candidates, **options)
        return replace(found, verdicts={n: Ratio(0.03, 0.01, 0.06) for n in found.verdicts})

    monkeypatch.setattr(timing.timer, "compare", compare)
    assert cli.main(command(tmp_path, "--quick")) == 0
    assert "the gain is uncertain" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_stage_that_has_nothing_to_do_says_so(clock, tmp_path, capsys):
    assert cli.main(command(tmp_path, "--quick")) == 0
    told = capsys.readouterr().out
    assert re.search(r"protect …\n +\d+ s: nothing to do", told)
    assert not re.search(r"(reference|export|evaluate) …\n.* s: nothing to do", told)


def test_a_time_that_cannot_be_means_that_the_machine_stood_still():
    assert gate.keeps_to(Ratio(0.0, 0.0, 0.0), 1.0) is None
    assert gate.keeps_to(Ratio(0.01, 0.01, 0.01), 1.0) is True


def test_a_time_that_cannot_be_is_told_in_milliseconds_with_what_to_do(clock, tmp_path, capsys):
    clock.update({"pytorch": 320.0, "exported": 0.5, "fused": 0.4, "fused_paying": 0.35})
    clock.update({"int8": 0.3})
    assert cli.main(command(tmp_path, "--quick")) == 1
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("Refused: "))
    assert "0.00094 × the time [0.00094, 0.00094]; PyTorch took 320 ms, the file 0.3 ms" in line
    assert "too far apart to be believed. Is the machine busy? Run it again" in line
    assert "0.00 [" not in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_candidate_whose_answers_are_no_numbers_is_refused_and_the_next_one_tried(
    clock, tmp_path, monkeypatch
):
    of_file = answers.of_file

    def broken(job, path, recipe=None, indices=None):
        if path.stem.endswith("int8") and indices is not None and indices[0] > 0:  # at the gate
            raise answers.NotFinite("the answers to 1 of 9 texts are NaN or infinite")
        return of_file(job, path, recipe, indices)

    monkeypatch.setattr(answers, "of_file", broken)
    assert cli.main(command(tmp_path, "--quick")) == 0
    name, result = promoted(tmp_path)
    assert name == "fused_paying"
    (check,) = result["judged"][1]["checks"]
    assert "NaN" in check["measured"]
    report = (tmp_path / "out" / "report.md").read_text()
    (row,) = (line for line in report.splitlines() if line.startswith("| fused_paying_int8 | cpu "))
    assert "missed: answers: the answers to 1 of 9 texts are NaN" in row


def candidate(agreement, score=None):
    close = answers.Fidelity((Close("agreement", agreement, 0.98),), score)
    return results.Candidate("a_int8", "a", "int8", close)


@pytest.mark.parametrize(
    ("agreement", "score", "expected"),
    [
        (0.991, None, True),
        (0.985, None, False),  # passes the gate by a hair, so other texts may not
        (0.991, (-0.004, -0.03, 0.02), True),
        (0.991, (-0.006, -0.03, 0.02), False),
        (0.991, (-0.004, -0.006, -0.002), False),  # worse for certain
    ],
)
def test_a_candidate_is_promising_if_others_texts_will_probably_pass(agreement, score, expected):
    quality = Quality(75, 0.8, 0.8, 0.99, *score) if score else None
    assert candidate(agreement, quality).promising(gate.Limits()) is expected
    assert results.Candidate("a", "a").promising(gate.Limits(agreement=1))


def product(path, name, matrix):
    """One MatMul of ``input`` (n, m) with a matrix."""
    helper = onnx.helper
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["out"], name=name)],
        "graph",
        [helper.make_tensor_value_info("input", floats, ["n", matrix.shape[0]])],
        [helper.make_tensor_value_info("out", floats, ["n", matrix.shape[1]])],
        [onnx.numpy_helper.from_array(matrix, "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
    )
    return path


@pytest.mark.parametrize(("outlier", "low", "high"), [(1.0, 30, 60), (1_000.0, -10, 10)])
def test_sensitivity_is_the_error_of_a_product_in_8_bits(outlier, low, high, tmp_path):
    """With one huge value, all others of the tensor are rounded to almost nothing."""
    draw = np.random.default_rng(0)
    matrix = draw.normal(size=(64, 32)).astype(np.float32)
    matrix[0] = 0  # the outlier itself does not count
    inputs = draw.uniform(-1, 1, (40, 64)).astype(np.float32)
    inputs[0, 0] = outlier
    path = product(tmp_path / "floats.onnx", "one", matrix)
    found = sensitivity.decibels(path, [{"input": inputs}])
    assert low < found["one"] < high
    # ONNX Runtime's own INT8 product has this error, where no sum of it is clipped.
    quantization.dynamic(path, tmp_path / "int8.onnx", embeddings="float", reduce_range=False)
    (out,) = open_session(tmp_path / "int8.onnx").run(None, {"input": inputs})
    right = inputs @ matrix
    expected = 10 * np.log10(np.square(right).sum() / np.square(right - out).sum())
    assert found["one"] == pytest.approx(expected, abs=0.5)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """INT8 of a tiny model whose two answers are close, so that rounding matters."""
    folder = tmp_path_factory.mktemp("flips")
    data_of(folder)  # a model with a bias between its two answers
    lines = texts(600)
    classifier = classifiers.open_classifier(folder / "model")
    logits = classifier.predictor()(batching.pad(classifier.encode(lines)))
    close = np.argsort(np.abs(logits[:, 1] - logits[:, 0]))[:120]
    data = labelled.Labelled(tuple(lines[i] for i in close), np.arange(120) % 2)
    job = Job(classifier, Texts.of(classifier, data), folder / "work")
    answers.store_reference(job)
    variants.exported(job)
    assert variants.int8(job, "exported").problem is None
    return job


def test_flips_are_texts_whose_answer_depends_on_their_batch(job):
    exact = answers.flips(job, job.file("exported"), job.recipe())
    assert exact == answers.Flips(0.0, len(job.texts.judging), None)
    assert 0 < answers.flips(job, job.file("exported_int8"), job.recipe()).share < 1
    assert answers.flips(job, job.file("exported_int8"), job.recipe(1)).share == 0


@pytest.mark.parametrize(("speed", "name", "budget"), [(0.5, "int8", 1), (9.0, "paying", 1024)])
def test_batch_invariant_takes_one_text_a_run_or_fp32_whichever_is_faster(
    speed, name, budget, clock, tmp_path
):
    clock.update({"int8": speed, "fp16": 8.0, "mixed": 8.0})
    assert cli.main(command(tmp_path, "--quick", "--batch-invariant", *LOW)) == 0
    version = tmp_path / "out" / "registry" / "model" / "1"
    form = read_manifest(version).forms[0]
    assert form.recipe.token_budget == budget
    assert promoted(tmp_path)[0].endswith(name)
    text = (tmp_path / "out" / "report.md").read_text()
    assert ("Each text is run alone" if budget == 1 else "0.0% of 192 texts") in text
    predict = onnx_predict(version / form.file, form.recipe.session)
    rows = [[2, 5, 3], [2, 6, 7, 8, 9, 3], [2, 8, 3]]

    def in_batches(given):
        batches = batching.by_tokens([len(row) for row in given], form.recipe.token_budget)
        return batching.run(predict, given, batches)

    assert np.allclose(in_batches(rows)[:1], in_batches(rows[:1]), atol=0 if budget == 1 else 1e-5)


def test_with_other_limits_only_what_depends_on_them_is_made_again(clock, tmp_path, capsys):
    assert cli.main(command(tmp_path, "--quick")) == 0
    capsys.readouterr()
    cli.main(command(tmp_path, "--quick", "--max-latency", "2"))
    said = capsys.readouterr().out
    assert re.findall(r"\] (\w+): kept", said)[:4] == ["reference", "export", "fuse", "quantize"]
    assert choice.refusal(()) == ""
