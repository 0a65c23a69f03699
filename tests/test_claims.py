"""The audit of the claims: complete, judged from its figures, and shown as it was stored."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.claims import judges, page
from benchmarks.claims.judges import DOES_NOT, HOLDS, IN_PART, NOT_TESTED, WORDS
from benchmarks.common import Folder
from tutorial_utils.lessons import claims

ROOT = Path(__file__).parents[1]
NUMBERS = range(1, 17)


def ratio(low, high):
    return {"ratio": (low * high) ** 0.5, "low": low, "high": high}


def difference(low, middle, high):
    return {"difference": middle, "low": low, "high": high}


MUCH, NONE, WORSE = ratio(0.2, 0.3), ratio(0.98, 1.02), ratio(1.5, 1.6)
KEPT, UNSURE, LOST = (
    difference(-0.004, -0.001, 0.002),
    difference(-0.01, -0.001, 0.008),
    difference(-0.03, -0.02, -0.01),
)
FUSED = {"Attention": 6, "BiasGelu": 6}
CASES = [
    (1, {"time": ratio(0.5, 0.55), "f1": KEPT, "agreement": 0.99}, HOLDS),
    (1, {"time": MUCH, "f1": KEPT, "agreement": 0.99}, IN_PART),  # more than it says
    (1, {"time": MUCH, "f1": UNSURE, "agreement": 0.99}, IN_PART),
    (1, {"time": NONE, "f1": LOST, "agreement": 0.9}, DOES_NOT),
    (2, {"raw": [100, 80], "folded": [82, 66], "optimized": [50, 50]}, HOLDS),
    (2, {"raw": [100, 80], "folded": [82, 79], "optimized": [50, 50]}, IN_PART),
    (2, {"raw": [100, 80], "folded": [60, 30], "optimized": [50, 50]}, IN_PART),  # more
    (2, {"raw": [100, 80], "folded": [99, 79], "optimized": [50, 50]}, DOES_NOT),
    (3, {"nodes": {"17": 9, "18": 9, "23": 5}, "17 to 18": MUCH, "17 to 23": MUCH}, HOLDS),
    (3, {"nodes": {"17": 9, "18": 9, "23": 5}, "17 to 18": NONE, "17 to 23": MUCH}, DOES_NOT),
    (4, {"today": FUSED, "deprecated": FUSED}, HOLDS),
    (4, {"today": FUSED | {"Attention": 0}, "deprecated": FUSED}, DOES_NOT),
    (5, {"saved to plain": MUCH, "saved to ours": NONE, "attention": 6}, HOLDS),
    (5, {"saved to plain": MUCH, "saved to ours": WORSE, "attention": 0}, IN_PART),
    (5, {"saved to plain": NONE, "saved to ours": WORSE, "attention": 0}, DOES_NOT),
    (6, {"f1": KEPT, "agreement": 0.98, "full range": 0.99}, HOLDS),
    (6, {"f1": UNSURE, "agreement": 0.98, "full range": 0.99}, IN_PART),
    (6, {"f1": LOST, "agreement": 0.98, "full range": 0.99}, DOES_NOT),
    (7, {"fp32": 400.0, "listed": 100.0, "ours": 100.0}, HOLDS),
    (7, {"fp32": 400.0, "listed": 220.0, "ours": 100.0}, DOES_NOT),
    (8, {"attributes": {"a": True, "b": True}, "any text is accepted": True}, HOLDS),
    (8, {"attributes": {"a": True, "b": False}, "any text is accepted": True}, IN_PART),
    (8, {"attributes": {"a": False, "b": False}, "any text is accepted": True}, DOES_NOT),
    (9, {"get_device": "GPU", "providers": ["CPUExecutionProvider"]}, DOES_NOT),
    (9, {"get_device": "CPU", "providers": ["CPUExecutionProvider"]}, NOT_TESTED),
    (9, {"get_device": "GPU", "providers": ["CUDAExecutionProvider"]}, NOT_TESTED),
    (10, {"problem": "a library is missing", "QuantizeLinear": 0}, NOT_TESTED),
    (11, {"time": WORSE, "same answer": True}, DOES_NOT),
    (11, {"time": WORSE, "same answer": False}, HOLDS),
    (12, {"mean length": 25, "waste": 0.8, "time": WORSE}, DOES_NOT),
    (12, {"mean length": 127, "waste": 0.01, "time": NONE}, HOLDS),
    (13, {"factor": {"1": 1.0, "32": 32.0}}, IN_PART),
    (13, {"factor": {"8": 8.0, "32": 32.0}}, DOES_NOT),
    (13, {"factor": {"1": 1.0}}, HOLDS),
    (14, {"neither": 100.0, "arena": 90.0, "pattern": 90.0, "both": 80.0}, HOLDS),
    (14, {"neither": 100.0, "arena": 90.0, "pattern": 120.0, "both": 110.0}, IN_PART),
    (14, {"neither": 100.0, "arena": 99.0, "pattern": 120.0, "both": 110.0}, DOES_NOT),
    (15, {"model ms": 300.0, "inline ms": 320.0, "thread ms": 5.0}, DOES_NOT),
    (15, {"model ms": 300.0, "inline ms": 4.0, "thread ms": 5.0}, HOLDS),
    (16, {"status": 500, "leaks": ["a node"]}, DOES_NOT),
    (16, {"status": 422, "leaks": []}, HOLDS),
]


@pytest.fixture
def stored() -> dict:
    """The figures and verdicts that the page and the notebooks show."""
    return json.loads(claims.default_file().read_text(encoding="utf-8"))


@pytest.mark.parametrize(("number", "figures", "word"), CASES)
def test_a_claim_is_judged_by_its_figures(number, figures, word):
    verdict = judges.judge(number, figures)
    assert verdict.word == word
    assert len(verdict.reason) > 20


def test_each_claim_has_a_judge_that_can_say_it_does_not_hold():
    assert sorted(judges.CLAIMS) == list(NUMBERS)
    refuted = {number for number, _, word in CASES if word == DOES_NOT}
    assert refuted == set(NUMBERS) - {10}  # which cannot run here


def test_all_claims_were_measured_on_a_machine_that_is_named(stored):
    assert sorted(map(int, stored["figures"])) == list(NUMBERS)
    assert {verdict["word"] for verdict in stored["verdicts"].values()} <= set(WORDS)
    assert stored["machine"]["processor"]
    assert "torch" in stored["machine"]["versions"]


def test_the_stored_verdicts_are_those_of_the_stored_figures(stored):
    assert stored["verdicts"] == judges.with_verdicts(stored["figures"])["verdicts"]


def test_the_page_is_what_the_stored_verdicts_generate():
    written = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert written == page.markdown(Folder(claims.default_file().parent))
    for number in NUMBERS:
        assert re.search(rf"^\| {number} +\|", written, re.M)


def test_other_figures_give_other_verdicts_and_another_page(stored, tmp_path):
    folder, document = Folder(tmp_path), tmp_path / "claims.md"
    page.rewrite(folder, document)
    assert not document.exists()  # nothing was measured
    stored["figures"]["7"] = {"fp32": 400.0, "listed": 100.0, "ours": 100.0}
    folder.keep("claims", stored)
    page.rewrite(folder, document)
    assert folder.read("claims")["verdicts"]["7"]["word"] == HOLDS
    assert "**holds**: 4.0 × smaller" in document.read_text(encoding="utf-8")


def test_a_lesson_shows_the_stored_verdicts(stored):
    table = claims.table((2, 7))
    assert [row[0] for row in table.rows] == ["2", "7"]
    assert [row[2] for row in table.rows] == [stored["verdicts"][n]["word"] for n in ("2", "7")]


def test_each_claim_is_named_in_the_lesson_that_tests_it():
    for number, claim in judges.CLAIMS.items():
        text = (ROOT / "notebooks" / f"{claim.lesson}.ipynb").read_text(encoding="utf-8")
        assert re.search(rf"[Cc]laims? [\d, and]*\b{number}\b", text), number
        assert "claims.table(" in text or "../docs/claims.md" in text
