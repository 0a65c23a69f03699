"""One encoder layer, drawn: every residual edge can be seen, and names do not overlap."""

from itertools import combinations

import pytest
from matplotlib.patches import PathPatch

from tutorial_utils.graph import inspection
from tutorial_utils.lessons import figures


@pytest.fixture(scope="module")
def drawn(tiny_onnx, tiny_fused):
    fig = figures.encoder_layers({"exported": tiny_onnx, "fused": tiny_fused}, "Two files")
    fig.canvas.draw()
    return fig


def test_both_residual_edges_are_arcs_beside_the_column(drawn):
    for axis in drawn.axes:
        arcs = [patch for patch in axis.patches if isinstance(patch, PathPatch)]
        residual = [arc for arc in arcs if arc.get_linewidth() == 3]
        assert len(residual) == 2
        assert [text.get_text() for text in axis.texts].count("residual") == 2
        column = 0.0  # the lane of the operators that the arcs lead around
        assert all(arc.get_path().vertices[:, 0].max() > column + 1 for arc in residual)


def test_names_do_not_overlap(drawn):
    for axis in drawn.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_nodes_that_compute_shapes_are_counted_and_not_drawn(drawn, tiny_onnx):
    operators = {text.get_text() for text in drawn.axes[0].texts}
    assert not operators & {"Shape", "Concat", "Slice"}
    nodes = len(inspection.encoder_layer(tiny_onnx)) - 1
    assert f"{nodes} nodes\n(6 that compute shapes" in drawn.axes[0].get_title()
