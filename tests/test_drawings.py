"""Drawn concepts: nothing overlaps, nothing is clipped, and all of it can be read."""

import itertools
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from contrast import contrast, luminance
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from tutorial_utils import plots
from tutorial_utils.data import reviews
from tutorial_utils.lessons import drawings
from tutorial_utils.lessons.drawings import padding, primitives

NAMES = sorted(drawings.DRAWINGS)


@dataclass(frozen=True)
class Drawn:
    """A picture as it was drawn: its texts with their places, its pixels, those without texts."""

    figure: Figure
    texts: list[tuple[Text, Bbox]]
    pixels: np.ndarray
    ground: np.ndarray


@pytest.fixture(scope="module")
def drawn():
    """A function that draws each picture once, and lets no warning pass."""
    known = {}

    def draw(name):
        if name not in known:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                fig = drawings.DRAWINGS[name].draw()
                pixels = pixels_of(fig)
            texts = [t for t in fig.findobj(Text) if t.get_text().strip() and t.get_visible()]
            placed = [(text, text.get_window_extent()) for text in texts]
            for text in texts:  # but not the white ground that some have
                text.set_alpha(0)
            known[name] = Drawn(fig, placed, pixels, pixels_of(fig))
        return known[name]

    return draw


def pixels_of(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def within(inner, outer):
    across = outer.x0 <= inner.x0 and inner.x1 <= outer.x1
    return across and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


@pytest.mark.parametrize("name", NAMES)
def test_texts_neither_overlap_nor_leave_the_picture(name, drawn):
    picture = drawn(name)
    for text, box in picture.texts:
        assert within(box, picture.figure.bbox), text.get_text()
    for (a, box), (b, other) in itertools.combinations(picture.texts, 2):
        assert not box.overlaps(other), (a.get_text(), b.get_text())


@pytest.mark.parametrize("name", NAMES)
def test_no_text_crosses_the_edge_of_a_shape(name, drawn):
    picture = drawn(name)
    patches = picture.figure.axes[0].patches
    shapes = [p.get_window_extent() for p in patches if not isinstance(p, FancyArrowPatch)]
    for (text, box), shape in itertools.product(picture.texts, shapes):
        assert within(box, shape) or not box.overlaps(shape), text.get_text()


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_large_and_the_title_is_one_line(name, drawn):
    picture = drawn(name)
    assert picture.figure.get_figwidth() == primitives.WIDTH
    assert min(text.get_fontsize() for text, _ in picture.texts) >= 13
    told = picture.figure.get_suptitle()
    ((title, box),) = (pair for pair in picture.texts if pair[0].get_text() == told)
    assert box.height < 2 * title.get_fontsize() * picture.figure.dpi / 72


@pytest.mark.parametrize("name", NAMES)
def test_texts_stand_out_from_what_is_behind_them_without_colour(name, drawn):
    """An arrow or a hatch that runs through a text fails as well."""
    picture = drawn(name)
    ground, top = luminance(picture.ground / 255), picture.figure.bbox.y1
    for text, box in picture.texts:
        rows = slice(round(top - box.y1) + 1, round(top - box.y0) - 1)
        behind = ground[rows, round(box.x0) + 1 : round(box.x1) - 1]
        readable = contrast(luminance(to_rgb(text.get_color())), behind) >= 4.5
        assert readable.mean() > 0.99, text.get_text()


def test_the_meanings_differ_in_more_than_colour():
    """Only WORK is dark; the light paints have a hatch, a dashed edge or a dark edge, or none."""
    paints = {
        "waste": primitives.WASTE, "data": primitives.DATA, "kept": primitives.KEPT,
        "refused": primitives.REFUSED, "other": primitives.OTHER, "plain": primitives.PLAIN,
    }  # fmt: skip
    work = luminance(to_rgb(primitives.WORK.face))
    assert all(contrast(luminance(to_rgb(p.face)), work) >= 3 for p in paints.values())
    hatches = {p.hatch for p in paints.values() if p.hatch}
    assert len(hatches) == 2
    assert [name for name, p in paints.items() if p.dashed] == ["refused"]


@pytest.mark.parametrize("name", NAMES)
def test_the_alt_text_says_what_is_seen(name, drawn):
    alt = drawings.DRAWINGS[name].alt
    assert 60 < len(alt) < 400
    assert alt.endswith(".")
    assert drawn(name).figure.get_suptitle() not in alt


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_the_same_each_time(name, drawn):
    assert np.array_equal(pixels_of(drawings.DRAWINGS[name].draw()), drawn(name).pixels)


def test_each_road_of_the_map_reads_from_left_to_right(drawn):
    rows = {}
    for text, _ in drawn("series_map").texts:
        if text.get_text().isdigit():
            x, y = text.get_position()
            rows.setdefault(y, []).append((x, text.get_text()))
    read = [number for y in sorted(rows, reverse=True) for _, number in sorted(rows[y])]
    assert read == [f"{i:02}" for i in range(9)]


def test_show_displays_the_figure_with_its_alt_text(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "show", lambda fig, alt: shown.append((fig.get_suptitle(), alt)))
    drawings.show("last_layer")
    drawing = drawings.DRAWINGS["last_layer"]
    assert shown == [(drawing.draw().get_suptitle(), drawing.alt)]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(drawings.UnknownDrawing, match=r"'serie_map'.*padding.*series_map"):
        drawings.show("serie_map")


def test_each_file_is_a_picture():
    files = {path.stem for path in Path(primitives.__file__).parent.glob("*.py")}
    assert files - {"__init__", "primitives"} == set(NAMES)


@pytest.mark.built
def test_the_padded_sentences_are_real():
    rows = reviews.encode(reviews.splits().test.texts[: len(padding.LENGTHS)])
    assert tuple(map(len, rows)) == padding.LENGTHS
