"""Guesses are kept, and compared with what was measured."""

import itertools
import json
import threading
from pathlib import Path

import pytest

from tutorial_utils import plots
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons import guesses, progress


@pytest.fixture
def shown(monkeypatch):
    """The alt texts of all figures that are shown."""
    told: list[str] = []
    monkeypatch.setattr(plots, "show", lambda fig, alt: told.append(alt))
    return told


@pytest.mark.parametrize(
    ("guess", "measured", "told"),
    [
        (None, 79.4, "No guess."),
        (80, 79.4, "well judged"),
        (40, 79.4, "off by a factor of 2.0"),
        (160.0, 79.4, "off by a factor of 2.0"),
        (0, 0, "well judged"),
        (6, 0, "off by 6"),
        (-1, 2, "off by 3"),
    ],
)
def test_a_guess_is_drawn_beside_what_was_measured(shown, guess, measured, told):
    guesses.guess("00.padding", guess, "percent")
    guesses.measured("00.padding", measured, digits=0)
    assert f"{measured:.0f} percent" in shown[0]
    assert told in shown[0]


def test_a_guess_outlives_the_kernel_and_a_second_measurement(shown):
    guesses.guess("00.padding", 40, "percent")
    guesses.guess("01.nodes", 9, "nodes")
    guesses.measured("00.padding", 79)
    guesses.measured("00.padding", 80)
    stored = json.loads((progress.folder() / "progress.json").read_text(encoding="utf-8"))
    assert stored["guesses"]["00.padding"] == {"value": 40.0, "unit": "percent", "measured": 80.0}
    assert stored["guesses"]["01.nodes"]["measured"] is None


@pytest.mark.parametrize("guess", ["80", True, float("nan"), float("inf"), [80], 2j])
def test_what_is_no_number_is_refused_by_name(guess):
    with pytest.raises(InvalidArgument, match=r"00\.padding"):
        guesses.guess("00.padding", guess, "percent")
    assert progress.read().guesses == {}


def test_a_measurement_without_its_guess_names_the_cell_to_run():
    with pytest.raises(InvalidArgument, match=r"guess\('00\.padding'"):
        guesses.measured("00.padding", 3)


def test_the_calibration_counts_the_guesses_that_were_close(shown):
    for name, guess, value in (
        ("00.a", 10, 11),
        ("01.b", 10, 100),
        ("01.c", None, 5),
        ("01.d", 2, 0),
    ):
        guesses.guess(name, guess, "ms")
        guesses.measured(name, value)
    assert "1 of 2 guesses" in guesses.calibration().get_suptitle()
    assert "0 of 1 guesses" in guesses.calibration("01").get_suptitle()


def test_the_calibration_names_the_guesses_that_it_cannot_draw(shown):
    for name, value in (("00.padding", 40), ("02.recipe", 6), ("02.nodes", 3), ("02.open", None)):
        guesses.guess(name, value, "of 6")
    for name, value in (("00.padding", 80), ("02.recipe", 0), ("02.open", 0)):
        guesses.measured(name, value)
    told = guesses.calibration().get_supxlabel()
    assert "02 recipe" in told
    assert "02 nodes" not in told  # not measured yet
    assert "02 open" not in told  # no guess


def test_the_calibration_of_nothing_says_how_to_guess():
    fig = guesses.calibration()
    assert fig.get_suptitle() == "No guesses yet"
    assert "place of None" in fig.axes[0].texts[0].get_text()


@pytest.mark.parametrize("count", [1, 3, 20, 21, 40])
def test_all_names_of_a_calibration_can_be_read(shown, count):
    for number in range(count):
        name = f"0{number // 5}.a_name_of_usual_length_{number}"
        guesses.guess(name, 10 * 1.5 ** (number - 10), "ms")  # the last are far off
        guesses.measured(name, 10)
    fig = guesses.calibration()
    fig.draw_without_rendering()
    named = [
        label.get_window_extent()
        for axis in fig.axes
        for label in (*axis.get_yticklabels(), *axis.texts)
    ]
    assert len(named) >= count
    assert not any(a.overlaps(b) for a, b in itertools.combinations(named, 2))
    assert all(box.x0 >= 0 and box.x1 <= fig.bbox.x1 for box in named)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"guesses": 3}', b"\xff"])
def test_a_damaged_file_is_kept_and_said(content, capsys):
    file = progress.folder() / "progress.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    guesses.guess("00.padding", 40, "percent")
    assert progress.read().guesses["00.padding"].value == 40
    assert Path(file.parent, "progress.before.json").read_bytes() == content
    assert "progress.before.json" in capsys.readouterr().err


def test_two_kernels_lose_no_guess_of_each_other():
    def write(letter):
        for number in range(10):
            guesses.guess(f"{letter}.{number}", number, "ms")

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(progress.read().guesses) == 30


def test_the_line_of_a_measured_zero_goes_to_the_right(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "show", lambda fig, alt: drawn.append(fig))
    guesses.guess("00.none", None, "requests")
    guesses.measured("00.none", 0, digits=0)
    low, high = drawn[0].axes[0].get_xlim()
    assert abs(low) < 0.1 * high
