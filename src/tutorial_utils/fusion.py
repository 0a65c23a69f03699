"""Several small operators made one, and one made several again where that is faster.

``fuse`` starts from the current exporter's graph. Three edits follow ONNX Script's fusions so that
the quantizer accepts the Attention nodes: their weights must be constants, they must not carry
``qkv_hidden_sizes``, and they must take the padding mask as ``mask_index`` and not as a bias.
"""

import itertools
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter.ort_fusions import optimize_for_ort

from tutorial_utils import paths

ORT_DOMAIN = "com.microsoft"
UNFUSABLE = ("SkipLayerNormalization", "BiasGelu")
_ATTENTION_MASK, _ATTENTION_BIAS = 3, 5  # positions among the Attention operator's inputs


def fuse(source: Path, target: Path) -> dict[str, int]:
    """Write ``source`` with every fusion that applies to ``target``; return how often each did."""
    model, counts = optimize_for_ort(ir.load(str(source)))
    fold_weights(model)
    use_mask_index(model)
    _save(model, target)
    return counts


def unfuse(source: Path, target: Path, ops: tuple[str, ...] = UNFUSABLE) -> dict[str, int]:
    """Write ``source`` with the fused ``ops`` taken apart to ``target``; return how many were.

    Raises:
        ValueError: an operator that cannot be taken apart here.
    """
    if unknown := set(ops) - set(UNFUSABLE):
        raise ValueError(f"Cannot take apart {sorted(unknown)}; choose among {UNFUSABLE}.")
    model = ir.load(str(source))
    split = {"SkipLayerNormalization": _split_skip_layer_norm, "BiasGelu": _split_bias_gelu}
    counts = dict.fromkeys(ops, 0)
    for node in list(model.graph):
        if node.op_type in ops:
            _replace(model, node, split[node.op_type](node))
            counts[node.op_type] += 1
    _save(model, target)
    return counts


def fuse_what_pays(source: Path, target: Path) -> dict[str, int]:
    """Write ``source`` with the fusions that gain time on a CPU to ``target``; return the counts.

    Open the file with the session recipe of ``steps.recipe("fused")``, or loading it undoes the
    choice.
    """
    with paths.replacing(Path(target)) as everything:
        counts = fuse(source, everything)
        undone = unfuse(everything, everything)
    return counts | {"taken apart again": sum(undone.values())}


def ablate(source: Path, folder: Path) -> dict[str, Path]:
    """Files with each set of fusions: none, all, and all with one or more taken apart again.

    Keys: ``none``, ``all``, and ``all but X``. All compute the same function.
    """
    fused = folder / "all.onnx"
    fuse(source, fused)
    variants = {"none": Path(source), "all": fused}
    for size in range(1, len(UNFUSABLE) + 1):
        for ops in itertools.combinations(UNFUSABLE, size):
            target = folder / f"all_but_{'_'.join(ops)}.onnx"
            unfuse(fused, target, ops)
            variants[f"all but {' and '.join(ops)}"] = target
    return variants


def fold_weights(model: ir.Model) -> None:
    """Compute what depends on weights alone now, however large: packed QKV weights above all."""
    fold_constants(model, input_size_limit=2**31, output_size_limit=2**31)


def use_mask_index(model: ir.Model) -> int:
    """Give every Attention node the int32 padding mask instead of a bias; return how many."""
    nodes = [node for node in model.graph if node.op_type == "Attention"]
    if not nodes:
        return 0
    given = next(value for value in model.graph.inputs if value.name == "attention_mask")
    cast = ir.node("Cast", [given], attributes={"to": ir.DataType.INT32}, name="mask_index")
    cast.outputs[0].name = "mask_index"
    model.graph.insert_before(model.graph[0], cast)
    for node in nodes:
        node.attributes.pop("qkv_hidden_sizes", None)  # equal sizes: the default says the same
        node.replace_input_with(_ATTENTION_BIAS, None)
        node.replace_input_with(_ATTENTION_MASK, cast.outputs[0])
        node.resize_inputs(_ATTENTION_BIAS - 1)
    return len(nodes)


def _split_skip_layer_norm(node: ir.Node) -> tuple[list[ir.Node], dict[int, ir.Value]]:
    given, skip, scale, shift, *rest = node.inputs
    nodes = []
    if rest and rest[0] is not None:
        nodes.append(ir.node("Add", [given, rest[0]]))
        given = nodes[-1].outputs[0]
    nodes.append(ir.node("Add", [given, skip]))
    total = nodes[-1].outputs[0]
    epsilon = node.attributes["epsilon"].as_float()
    nodes.append(
        ir.node("LayerNormalization", [total, scale, shift], {"axis": -1, "epsilon": epsilon})
    )
    return nodes, {0: nodes[-1].outputs[0], 3: total}


def _split_bias_gelu(node: ir.Node) -> tuple[list[ir.Node], dict[int, ir.Value]]:
    add = ir.node("Add", node.inputs)
    gelu = ir.node("Gelu", [add.outputs[0]], domain=ORT_DOMAIN)
    return [add, gelu], {0: gelu.outputs[0]}


def _replace(
    model: ir.Model, node: ir.Node, made: tuple[list[ir.Node], dict[int, ir.Value]]
) -> None:
    nodes, outputs = made
    model.graph.insert_before(node, nodes)
    for i, value in outputs.items():
        if i < len(node.outputs):
            node.outputs[i].replace_all_uses_with(value, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)


def _save(model: ir.Model, target: Path) -> None:
    RemoveUnusedNodesPass()(model)
    proto = ir.to_proto(model)
    # Shapes inferred for the graph as it was would mislead the quantizer.
    del proto.graph.value_info[:]
    with paths.replacing(Path(target)) as temporary:
        onnx.save(proto, str(temporary))
