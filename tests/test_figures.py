"""All figures, drawn of made-up numbers: their texts are large enough and stay inside."""

import inspect
import itertools
from types import SimpleNamespace

import pytest
from contrast import contrast, luminance
from made_up_figures import DRAWN
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from tutorial_utils import plots
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.lessons import figures, guesses
from tutorial_utils.optimize import report

DPI = 90  # of ``plots.show``


@pytest.fixture(scope="module")
def texts():
    """A function that draws a figure once and returns it with its visible texts."""
    known = {}

    def draw(name):
        if name not in known:
            fig = DRAWN[name]()
            fig.dpi = DPI
            fig.draw_without_rendering()
            found = [t for t in fig.findobj(Text) if t.get_text().strip() and t.get_visible()]
            known[name] = fig, found
        return known[name]

    return draw


def test_every_kind_of_figure_is_drawn_here():
    """All that take made-up numbers; the layers of a file have a test of their own."""
    kinds = {
        name
        for module in (plots, figures)
        for name, made in inspect.getmembers(module, inspect.isfunction)
        if inspect.signature(made).return_annotation is Figure
    }
    assert kinds - {"encoder_layers"} == {name.partition(" ")[0] for name in DRAWN}


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_texts_are_as_large_as_the_style_wants(name, texts):
    """Not as large as Matplotlib's default, which is smaller; notes may be one point smaller."""
    _, found = texts(name)
    assert {
        text.get_text(): text.get_fontsize() for text in found if text.get_fontsize() < 11
    } == {}


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_labels_keep_a_distance_from_the_edge(name, texts):
    fig, _ = texts(name)
    for text in itertools.chain.from_iterable(axis.texts for axis in fig.axes):
        assert text.get_window_extent().x1 < fig.bbox.x1 - 5, text.get_text()


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_texts_stand_out_from_their_ground_without_colour(name, texts):
    for text in texts(name)[1]:
        box = text.get_bbox_patch()
        ground = box.get_facecolor() if box else to_rgb("white")
        told = contrast(luminance(to_rgb(text.get_color())), luminance(ground))
        assert told >= 4.5, text.get_text()


def test_a_label_that_a_lesson_writes_has_the_size_of_the_others():
    _, (axis,) = plots.figure("title")
    plots.label(axis, "here", (0, 0), (5, 5))
    assert axis.texts[0].get_fontsize() == plots.STYLE["font.size"]
    assert {text.get_fontsize() for text in guesses.calibration().axes[0].texts} == {12}


def test_the_figure_of_a_report_marks_the_chosen_file_in_each_workload():
    times = {"pytorch": Ratio(1, 1, 1), "fused_int8": Ratio(0.2, 0.1, 0.3)}
    longer = {**times, "fused_int8": Ratio(0.4, 0.3, 0.5)}
    outcome = SimpleNamespace(
        name="sentiment",
        times={"one text": times, "a batch": longer},
        judged=[SimpleNamespace(candidate=SimpleNamespace(name="fused_int8"))],
        baseline="PyTorch fp32",
    )
    fig = report.gains(outcome)
    assert fig.get_suptitle().startswith("sentiment: fused_int8 takes 0.20 to 0.40 × the time")
    (axis,) = fig.axes
    bold = [t.get_text() for t in axis.get_yticklabels() if t.get_fontweight() == "bold"]
    assert bold == ["one text: fused_int8", "a batch: fused_int8"]
    assert "PyTorch fp32" in {text.get_text() for text in axis.texts}
