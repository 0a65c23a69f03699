"""The graph of one encoder layer: what an export writes, and what fusion leaves of it."""

from collections.abc import Mapping
from pathlib import Path

import networkx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as MplPath

from tutorial_utils import plots
from tutorial_utils.graph import inspection
from tutorial_utils.plots import BLUE, GREEN, GREY, ORANGE, PINK, styled

_OP_COLOURS = {
    "MatMul": BLUE, "Gemm": BLUE, "MatMulInteger": BLUE, "DynamicQuantizeMatMul": BLUE,
    "Attention": GREEN, "QAttention": GREEN, "MultiHeadAttention": GREEN,
    "LayerNormalization": ORANGE, "SkipLayerNormalization": ORANGE,
    "Softmax": PINK, "Gelu": PINK, "BiasGelu": PINK, "FastGelu": PINK, "Erf": PINK,
}  # fmt: skip


@styled
def encoder_layers(files: Mapping[str, Path], title: str) -> Figure:
    """The first encoder layer of each file drawn side by side, data flowing downwards.

    Residual edges are thick arcs beside the column. Nodes that compute shapes are counted in the
    heading and not drawn, since they carry no data.
    """
    flows = {name: inspection.encoder_layer(path) for name, path in files.items()}
    drawn = {name: flow.subgraph(flow.nodes - _shapes(flow)) for name, flow in flows.items()}
    tallest = max(networkx.dag_longest_path_length(flow) for flow in drawn.values())
    size = (4.3 * len(files), 1.6 + 0.32 * tallest)
    fig, axes = plots.figure(title, columns=len(files), size=size)
    for axis, (name, flow) in zip(axes, drawn.items(), strict=True):
        place = _lanes(flow)
        lowest = max(y for _, y in place.values())
        for before, after in flow.edges:
            _draw_edge(axis, place, before, after, flow.nodes[after]["op"])
        for node, op in flow.nodes(data="op"):
            colour = _OP_COLOURS.get(op)
            axis.text(
                *place[node], op, ha="center", va="center", fontsize=11 if lowest > 15 else 14,
                color="white" if colour == BLUE else "black", zorder=3,
                bbox={"boxstyle": "round", "facecolor": colour or "white", "edgecolor": GREY},
            )  # fmt: skip
        hidden = len(flows[name]) - len(flow)
        note = f"\n({hidden} that compute shapes are not drawn)" if hidden else ""
        axis.set_title(
            f"{name}: {len(flows[name]) - 1} nodes{note}", fontsize=13, fontweight="normal"
        )
        axis.set(xlim=(-1.7, 2.6), ylim=(lowest + 0.6, -0.6))
        axis.axis("off")
    return fig


def _shapes(flow: networkx.DiGraph) -> set:
    """The nodes that compute a shape: ``Shape``, and all that depends on such nodes alone."""
    found: set = set()
    for node in networkx.topological_sort(flow):
        before = set(flow.predecessors(node))
        if flow.nodes[node]["op"] == "Shape" or (before and before <= found):
            found.add(node)
    return found


def _lanes(flow: networkx.DiGraph) -> dict[object, tuple[float, int]]:
    """A place for each node: its generation is the row, and it stays in the lane of its input."""
    place: dict[object, tuple[float, int]] = {}
    for row, generation in enumerate(networkx.topological_generations(flow)):
        lanes: dict[float, list] = {}
        for node in sorted(generation):
            above = [place[before][0] for before in flow.predecessors(node)]
            lanes.setdefault(min(above, key=abs, default=0.0), []).append(node)
        for lane, nodes in lanes.items():
            for i, node in enumerate(nodes):
                place[node] = lane + 1.25 * (i - (len(nodes) - 1) / 2), row
    return place


def _draw_edge(axis: Axes, place: Mapping, before: object, after: object, op: str) -> None:
    """A line to the next row, or an arc beside the column where other nodes are in between."""
    (x, top), (end, bottom) = place[before], place[after]
    if bottom - top == 1 or x != end:
        axis.plot((x, x, end), (top, bottom - 1, bottom), color=GREY, zorder=1)
        return
    residual = op in ("Add", "SkipLayerNormalization")
    passed = [at for at, row in place.values() if top < row < bottom]
    far = max(passed, default=x) + 1.1 if residual else x + 0.6
    look = {"ec": "black", "lw": 3} if residual else {"ec": GREY, "lw": 1.5}
    path = MplPath(
        [(x, top), (far, top), (far, top + 0.8), (far, bottom - 0.8), (far, bottom), (x, bottom)],
        [MplPath.MOVETO, *[MplPath.CURVE3] * 2, MplPath.LINETO, *[MplPath.CURVE3] * 2],
    )
    axis.add_patch(PathPatch(path, fc="none", zorder=1, **look))
    if residual:
        middle = (far, (top + bottom) / 2)
        plots.label(axis, "residual", middle, (4, 0), rotation=90, va="center", fontsize=12)
