"""Graph edits, each of them small: one pattern of nodes becomes another that computes the same.

All work in place on an ``onnx_ir.Model`` and return how often they applied. ``fusion`` chooses
among them.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
from onnx_ir.tape import Tape
from onnxscript.optimizer import fold_constants

from tutorial_utils.core import scoped
from tutorial_utils.graph import storage

T = TypeVar("T")
ORT_DOMAIN = "com.microsoft"
_ATTENTION_MASK, _ATTENTION_BIAS = 3, 5  # positions among the Attention operator's inputs


def fold_weights(model: ir.Model) -> None:
    """Compute what depends on weights alone, however large, such as the packed QKV weights."""
    _fold_layer_norms(model)
    with scoped.log_level("onnxscript", logging.ERROR):  # it warns of nodes with several outputs
        fold_constants(model, input_size_limit=2**31, output_size_limit=2**31)


def _fold_layer_norms(model: ir.Model) -> None:
    """Normalize constants, such as embeddings of distances; ONNX Script's folding cannot."""
    for node in nodes(model, "LayerNormalization"):
        out, axis = node.outputs[0], node.attributes.get_int("axis", -1)
        if len(node.outputs) == 1 and axis == -1 and all(map(is_constant, node.inputs)):
            given, scale, *shift = map(array_of, node.inputs)
            centred = given - given.mean(-1, keepdims=True)
            epsilon = node.attributes.get_float("epsilon", 1e-5)
            deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(epsilon))
            held = constant(model, f"{out.name}_folded", sum(shift, centred / deviation * scale))
            out.replace_all_uses_with(held)


def use_mask_index(model: ir.Model) -> int:
    """Give every Attention node with an attention bias the int32 padding mask instead."""
    for node in nodes(model, "Attention"):
        node.attributes.pop("qkv_hidden_sizes", None)  # equal sizes: the default says the same
    return mask_for_bias(model, "Attention", _ATTENTION_MASK, _ATTENTION_BIAS)


def count_tokens(model: ir.Model) -> int:
    """Give Attention nodes the number of tokens of each text instead of their padding mask.

    The fast attention kernels of GPUs take no mask, only these numbers (int32, one for each text).
    They say the same only if all padding is on the right.
    """
    found = [n for n in nodes(model, "Attention") if is_int32_of(n.inputs[3], "attention_mask")]
    if found:
        tape = Tape()
        axis = constant(model, "token_axis", np.array([1]))
        counts = tape.op("ReduceSum", [as_int32(model, "attention_mask"), axis], {"keepdims": 0})
        model.graph.insert_before(found[0], tape.nodes)
        for node in found:
            node.replace_input_with(3, counts)
    return len(found)


def mask_for_bias(model: ir.Model, op: str, mask: int, bias: int) -> int:
    """Give the ``op`` nodes that have an attention bias the padding mask instead.

    mask, bias: positions of these inputs. Nodes without a bias stay as they are.
    """
    found = [n for n in nodes(model, op) if len(n.inputs) > bias and n.inputs[bias] is not None]
    for node in found:
        node.replace_input_with(mask, as_int32(model, "attention_mask"))
        node.replace_input_with(bias, None)
        node.resize_inputs(mask + 1)
    return len(found)


def split_skip_layer_norm(model: ir.Model) -> int:
    """SkipLayerNormalization becomes Add and LayerNormalization."""

    def split(node: ir.Node, tape: Tape) -> None:
        given, skip, scale, shift, *bias = node.inputs
        if bias and bias[0] is not None:
            given = tape.op("Add", [given, bias[0]])
        total = tape.op("Add", [given, skip])
        if len(node.outputs) > 3:  # the sum is an output too
            node.outputs[3].replace_all_uses_with(total)
        settings = {"axis": -1, "epsilon": node.attributes["epsilon"].as_float()}
        tape.op("LayerNormalization", [total, scale, shift], settings)

    return replace_each(model, "SkipLayerNormalization", split)


def split_bias_gelu(model: ir.Model) -> int:
    """BiasGelu becomes Add and Gelu."""

    def split(node: ir.Node, tape: Tape) -> None:
        tape.op("Gelu", [tape.op("Add", node.inputs)], domain=ORT_DOMAIN)

    return replace_each(model, "BiasGelu", split)


def replace_each(model: ir.Model, op: str, edit: Callable[[ir.Node, Tape], None]) -> int:
    """Replace all nodes of type ``op``. edit: records on the tape what replaces the node."""
    found = nodes(model, op)
    for node in found:
        tape = Tape()
        edit(node, tape)
        replace(model, node, tape)
    return len(found)


def replace(model: ir.Model, node: ir.Node, tape: Tape) -> None:
    """Replace a node by those on the tape; the last one's first output stands for the node's."""
    old, new = node.outputs[0], tape.nodes[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(model.graph, node, [node], tape.nodes, [old], [new])


def nodes(model: ir.Model, op: str) -> list[ir.Node]:
    """The nodes of type ``op``, in order."""
    return [node for node in model.graph if node.op_type == op]


def as_int32(model: ir.Model, name: str) -> ir.Value:
    """The model input of that name cast to int32, by an existing node if there is one."""
    given = next(value for value in model.graph.inputs if value.name == name)
    casts = [node for node in given.consumers() if is_int32_of(node.outputs[0], name)]
    if casts:
        model.graph.remove(casts[0])  # to the front, where every node can read it
    else:
        casts = [ir.node("Cast", [given], {"to": ir.DataType.INT32})]
        casts[0].outputs[0].name = _free_name(model, f"{name}_int32")
    model.graph.insert_before(model.graph[0], casts[0])
    return casts[0].outputs[0]


def is_int32_of(value: ir.Value | None, name: str) -> bool:
    """Whether ``value`` is the model input ``name`` cast to int32."""
    node = producer(value)
    if node is None or node.op_type != "Cast" or (given := node.inputs[0]) is None:
        return False
    return given.name == name and node.attributes["to"].as_int() == ir.DataType.INT32


def constant(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    """An initializer that holds ``array``: one is shared if name, type and content are the same.

    Where the name stands for something else, the new initializer's name is ``name_1``, ``name_2`` …
    """
    array = np.asarray(array)

    def holds_it(value: ir.Value | None) -> bool:
        held = array_of(value) if is_constant(value) else np.empty(0)
        return held.dtype == array.dtype and np.array_equal(held, array)

    known = model.graph.initializers
    name = _free_name(model, name, usable=lambda taken: holds_it(known.get(taken)))
    if name not in known:
        known.add(ir.Value(name=name, const_value=ir.tensor(array, name=name)))
    return known[name]


def _free_name(
    model: ir.Model, name: str, usable: Callable[[str], bool] = lambda taken: False
) -> str:
    """``name`` or else ``name_1``, ``name_2`` …: the first that no value has, or is ``usable``."""
    outputs = (value.name for node in model.graph for value in node.outputs)
    taken = {*outputs, *(v.name for v in model.graph.inputs), *model.graph.initializers}
    found, number = name, 0
    while found in taken and not usable(found):
        number += 1
        found = f"{name}_{number}"
    return found


def array_of(value: ir.Value | None) -> np.ndarray:
    """What a constant holds.

    Raises:
        ValueError: ``value`` is no constant.
    """
    held = ir.convenience.get_const_tensor(value) if value is not None else None
    if held is None:
        raise ValueError(f"{value.name if value else 'A missing input'} is not a constant.")
    return held.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether the content of ``value`` is known; not so of an input that is left out (None)."""
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def producer(value: ir.Value | None) -> ir.Node | None:
    """The node that computes ``value``; None of an input, a constant, or what is left out."""
    return value.producer() if value is not None else None


def input_of(value: ir.Value | None, op: str) -> ir.Value | None:
    """The first input of the node that computes ``value``; None unless that is an ``op``."""
    node = producer(value)
    return node.inputs[0] if node is not None and node.op_type == op else None


def is_number(value: ir.Value | None, number: float) -> bool:
    """Whether ``value`` is a constant of one element, and equal to ``number``."""
    return is_constant(value) and array_of(value).size == 1 and array_of(value).item() == number


def edited(source: Path, target: Path, edit: Callable[[ir.Model], T]) -> T:
    """Write ``source`` to ``target`` after an edit in place; return what ``edit`` does."""
    model = storage.load(source)
    result = edit(model)
    save(model, target)
    return result


def save(model: ir.Model, target: Path) -> Path:
    """Write an edited model, without what nothing in it reads; return ``target``."""
    RemoveUnusedNodesPass()(model)
    storage.share_matrices(model)
    # Each node names the source line that it came from, with the folders of whoever exported it.
    ClearMetadataAndDocStringPass()(model)
    model.opset_imports.setdefault(ORT_DOMAIN, 1)
    return storage.write(without_shapes(model), target)


def without_shapes(model: ir.Model) -> onnx.ModelProto:
    """The model without inferred shapes, since those from before an edit mislead the quantizer."""
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    return proto
