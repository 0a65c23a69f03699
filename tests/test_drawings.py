"""Drawn concepts: nothing overlaps, nothing is clipped, and all of it can be read."""

import io
import itertools
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text

from tutorial_utils import plots
from tutorial_utils.lessons import drawings
from tutorial_utils.lessons.drawings import primitives

NAMES = sorted(drawings.DRAWINGS)


@pytest.fixture(scope="module")
def drawn():
    """A function that draws a picture once: its figure, its canvas and its visible texts."""
    known = {}

    def draw(name):
        if name not in known:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                fig = drawings.DRAWINGS[name].draw()
                canvas = FigureCanvasAgg(fig)
                canvas.draw()
            texts = [t for t in fig.findobj(Text) if t.get_text().strip() and t.get_visible()]
            known[name] = fig, canvas, texts
        return known[name]

    return draw


def within(inner, outer):
    across = outer.x0 <= inner.x0 and inner.x1 <= outer.x1
    return across and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def luminance(rgb):
    """Relative luminance (WCAG 2.2) of colours between 0 and 1, in the last dimension."""
    rgb = np.asarray(rgb)[..., :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(one, other):
    lighter, darker = np.maximum(one, other), np.minimum(one, other)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("name", NAMES)
def test_texts_neither_overlap_nor_leave_the_picture(name, drawn):
    fig, _, texts = drawn(name)
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert within(box, fig.bbox), text.get_text()
    for (a, box), (b, other) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        assert not box.overlaps(other), (a.get_text(), b.get_text())


@pytest.mark.parametrize("name", NAMES)
def test_no_text_crosses_the_edge_of_a_shape(name, drawn):
    fig, _, texts = drawn(name)
    shapes = [p for p in fig.axes[0].patches if not isinstance(p, FancyArrowPatch)]
    for text, patch in itertools.product(texts, shapes):
        box, shape = text.get_window_extent(), patch.get_window_extent()
        assert within(box, shape) or not box.overlaps(shape), text.get_text()


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_large_and_the_title_is_one_line(name, drawn):
    fig, _, texts = drawn(name)
    assert fig.get_figwidth() == primitives.WIDTH
    assert min(text.get_fontsize() for text in texts) >= 13
    (title,) = (text for text in texts if text.get_text() == fig.get_suptitle())
    assert title.get_window_extent().height < 2 * title.get_fontsize() * fig.dpi / 72
    assert title.get_window_extent().x1 <= fig.bbox.x1


@pytest.mark.parametrize("name", NAMES)
def test_texts_stand_out_from_what_is_behind_them_without_colour(name, drawn):
    fig, canvas, texts = drawn(name)
    for text in texts:
        text.set_visible(False)
    canvas.draw()
    ground = luminance(np.asarray(canvas.buffer_rgba()) / 255)
    for text in texts:
        text.set_visible(True)
        box = text.get_window_extent()
        rows = slice(int(fig.bbox.y1 - box.y1), int(fig.bbox.y1 - box.y0) + 1)
        behind = ground[rows, int(box.x0) : int(box.x1) + 1]
        if text.get_bbox_patch() is not None:  # its own ground, which is hidden with it
            behind = luminance(text.get_bbox_patch().get_facecolor())
        readable = contrast(luminance(to_rgb(text.get_color())), behind) >= 4.5
        assert readable.mean() > 0.97, text.get_text()


def test_the_meanings_differ_in_more_than_colour():
    """Light fills have a hatch or an edge of their own, and only WORK is dark."""
    paints = {
        "waste": primitives.WASTE, "data": primitives.DATA, "kept": primitives.KEPT,
        "refused": primitives.REFUSED, "plain": primitives.PLAIN,
    }  # fmt: skip
    work = luminance(to_rgb(primitives.WORK.face))
    assert all(contrast(luminance(to_rgb(p.face)), work) >= 3 for p in paints.values())
    marks = {name: (p.hatch, p.dashed) for name, p in paints.items()}
    unmarked = [name for name, mark in marks.items() if mark == ("", False)]
    assert sorted(unmarked) == ["data", "plain"]
    assert len(set(marks.values())) == len(paints) - 1


@pytest.mark.parametrize("name", NAMES)
def test_the_alt_text_says_what_is_seen(name, drawn):
    alt = drawings.DRAWINGS[name].alt
    assert 60 < len(alt) < 500
    assert alt.endswith(".")
    assert drawn(name)[0].get_suptitle() not in alt


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_the_same_each_time(name):
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        drawings.DRAWINGS[name].draw().savefig(file, dpi=40)
    assert first.getvalue() == second.getvalue()


def test_show_displays_the_figure_with_its_alt_text(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "show", lambda fig, alt: shown.append((fig.get_suptitle(), alt)))
    drawings.show("series_map")
    assert shown == [
        (drawings.DRAWINGS["series_map"].draw().get_suptitle(), drawings.DRAWINGS["series_map"].alt)
    ]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(drawings.UnknownDrawing, match=r"'serie_map'.*series_map"):
        drawings.show("serie_map")
