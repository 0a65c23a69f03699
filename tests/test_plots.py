"""Charts: titles stay inside the figure, and labels of neighbours do not touch."""

import itertools

from matplotlib.colors import to_rgba
from matplotlib.text import Text

from tutorial_utils import plots


def test_a_title_wider_than_the_figure_is_broken_into_lines():
    fig, _ = plots.figure("one step of many that this long title tells about " * 4)
    fig.canvas.draw()
    (title,) = [text for text in fig.findobj(Text) if "title" in text.get_text()]
    assert title.get_window_extent().x1 <= fig.bbox.x1
    assert title.get_window_extent().y1 <= fig.bbox.y1


def test_labels_beside_a_front_do_not_touch():
    points = {
        "per tensor": (0.41, 2.85), "reduce_range": (0.42, 1.3), "int8": (0.45, 1.15),
        "smoothed": (0.44, 0.4), "popular": (0.59, 0.95), "QUInt8 weights": (0.71, 1.1),
        "static": (0.72, 3.9), "fp32": (1.0, 0.0),
    }  # fmt: skip
    best = ("per tensor", "reduce_range", "smoothed", "fp32")
    fig = plots.front(points, best, title="t", x="x", y="y")
    fig.canvas.draw()
    labels = [text.get_window_extent() for text in fig.axes[0].texts]
    assert len(labels) == len(points)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(labels, 2))


def test_every_limit_is_a_line_with_its_name():
    across = plots.bars(
        {"a": 1.0, "b": 3.0}, title="t", unit="ms", highlight=["b"], limits={"limit 2": 2.0}
    )
    along = plots.lines({"a": ([1, 2], [1, 3])}, title="t", x="x", y="y", limits={"limit 2": 2.0})
    for fig, ends in ((across, [[2, 2], [0, 1]]), (along, [[0, 1], [2, 2]])):
        axis = fig.axes[0]
        assert ends in [[list(line.get_xdata()), list(line.get_ydata())] for line in axis.lines]
        fig.draw_without_rendering()
        (name,) = (text for text in axis.texts if text.get_text() == "limit 2")
        others = [text for text in axis.texts if text is not name]
        assert name.get_window_extent().count_overlaps([t.get_window_extent() for t in others]) == 0
        title = next(t for t in fig.findobj(Text) if t.get_text() == "t")
        assert not name.get_window_extent().overlaps(title.get_window_extent())


def test_the_median_of_a_histogram_is_named_where_no_bar_is():
    fig = plots.histogram([1, 2, 2, 3, 3, 3, 4, 4, 5, 30], title="t", x="x", y="y")
    fig.draw_without_rendering()
    (axis,) = fig.axes
    (name,) = axis.texts
    assert name.get_text() == "median 3"
    bars = [bar.get_window_extent() for bar in axis.patches]
    assert name.get_window_extent().count_overlaps(bars) == 0


def test_a_marked_bar_is_seen_without_colour_and_without_length():
    fig = plots.bars({"good": 0.8, "bad": 0.0}, title="F1 fell: bad", unit="F1", highlight=["bad"])
    fig.draw_without_rendering()
    (axis,) = fig.axes
    good, bad = axis.patches
    assert (good.get_hatch(), bad.get_hatch()) == ("", "//")
    names = {text.get_text(): text.get_fontweight() for text in axis.get_yticklabels()}
    assert names == {"good": "normal", "bad": "bold"}
    values = {text.get_text(): text.get_fontweight() for text in axis.texts}
    assert values == {"0.8": "normal", "0.0": "bold"}


def test_where_nothing_is_marked_all_bars_are_grey():
    (axis,) = plots.bars({"a": 1.0, "b": 2.0}, title="none", unit="ms", highlight=[]).axes
    assert {bar.get_facecolor() for bar in axis.patches} == {to_rgba(plots.GREY)}
