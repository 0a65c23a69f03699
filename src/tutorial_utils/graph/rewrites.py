"""Graph edits, each of them small: one pattern of nodes becomes another that computes the same.

All work in place on an ``onnx_ir.Model`` and return how often they applied. ``fusion`` chooses
among them.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import onnx_ir as ir
from onnxscript.optimizer import fold_constants

ORT_DOMAIN = "com.microsoft"
_ATTENTION_MASK, _ATTENTION_BIAS = 3, 5  # positions among the Attention operator's inputs
_MHA_MASK, _MHA_BIAS = 4, 5  # … and among MultiHeadAttention's

Edit = tuple[Sequence[ir.Node], dict[int, ir.Value]]  # nodes, and what stands for which output


def fold_weights(model: ir.Model) -> None:
    """Compute what depends on weights alone now, however large: packed QKV weights above all."""
    fold_constants(model, input_size_limit=2**31, output_size_limit=2**31)


def use_mask_index(model: ir.Model) -> int:
    """Give every Attention node with an attention bias the int32 padding mask instead."""
    for node in _nodes(model, "Attention"):
        node.attributes.pop("qkv_hidden_sizes", None)  # equal sizes: the default says the same
    return _mask_for_bias(model, "Attention", _ATTENTION_MASK, _ATTENTION_BIAS)


def use_padding_mask(model: ir.Model) -> int:
    """Give every MultiHeadAttention node with an attention bias the int32 padding mask instead."""
    return _mask_for_bias(model, "MultiHeadAttention", _MHA_MASK, _MHA_BIAS)


def _mask_for_bias(model: ir.Model, op: str, mask: int, bias: int) -> int:
    """mask, bias: positions of these inputs. Nodes without a bias stay as they are."""
    nodes = [n for n in _nodes(model, op) if len(n.inputs) > bias and n.inputs[bias] is not None]
    for node in nodes:
        node.replace_input_with(mask, _as_int32(model, "attention_mask"))
        node.replace_input_with(bias, None)
        node.resize_inputs(mask + 1)
    return len(nodes)


def pack_projections(model: ir.Model) -> int:
    """Before each MultiHeadAttention: one product for queries, keys and values in place of three.

    Weights and biases must be constants: call ``fold_weights`` first. Other nodes stay as they are.
    """
    count = 0
    for node in _nodes(model, "MultiHeadAttention"):
        projections = [found for value in node.inputs[:3] if (found := _projection(value))]
        if len(projections) != 3 or len({given for given, *_ in projections}) != 1:
            continue
        given, weights, biases = zip(*projections, strict=True)
        weight = constant(model, f"qkv_weight_{count}", np.concatenate(_arrays(weights), axis=1))
        bias = constant(model, f"qkv_bias_{count}", np.concatenate(_arrays(biases)))
        product = ir.node("MatMul", [given[0], weight])
        add = ir.node("Add", [product.outputs[0], bias])
        split = ir.node("Split", add.outputs, {"axis": -1, "num_outputs": 3}, num_outputs=3)
        model.graph.insert_before(node, [product, add, split])
        for position, value in enumerate(split.outputs):
            node.replace_input_with(position, value)
        count += 1
    return count


def fuse_embeddings(model: ir.Model) -> int:
    """Three looked-up tables, their sum and its normalization become EmbedLayerNormalization."""
    norm = next(iter(_nodes(model, "LayerNormalization")), None)
    if norm is None:
        return 0
    tables = _tables(norm.inputs[0])
    inputs = {value.name for value in model.graph.inputs}
    if set(tables) != {"word", "type", "position"} or "token_type_ids" not in inputs:
        return 0
    ids, types = _as_int32(model, "input_ids"), _as_int32(model, "token_type_ids")
    given = [ids, types, tables["word"], tables["position"], tables["type"], *norm.inputs[1:3]]
    epsilon = norm.attributes["epsilon"].as_float()
    fused = ir.node(
        "EmbedLayerNormalization", given, {"epsilon": epsilon}, domain=ORT_DOMAIN, num_outputs=2
    )
    replace(model, norm, ([fused], {0: fused.outputs[0]}))
    return 1


def approximate_gelu(model: ir.Model) -> int:
    """Gelu by a tanh instead of the error function; differs from it by up to about 0.0005."""

    def fast(node: ir.Node) -> Edit:
        made = ir.node("FastGelu", node.inputs, domain=ORT_DOMAIN)
        return [made], {0: made.outputs[0]}

    return _each(model, "Gelu", fast)


def split_skip_layer_norm(model: ir.Model) -> int:
    """SkipLayerNormalization becomes Add and LayerNormalization."""

    def split(node: ir.Node) -> Edit:
        given, skip, scale, shift, *rest = node.inputs
        nodes = []
        if rest and rest[0] is not None:
            nodes.append(ir.node("Add", [given, rest[0]]))
            given = nodes[-1].outputs[0]
        nodes.append(ir.node("Add", [given, skip]))
        total = nodes[-1].outputs[0]
        settings = {"axis": -1, "epsilon": node.attributes["epsilon"].as_float()}
        nodes.append(ir.node("LayerNormalization", [total, scale, shift], settings))
        return nodes, {0: nodes[-1].outputs[0], 3: total}

    return _each(model, "SkipLayerNormalization", split)


def split_bias_gelu(model: ir.Model) -> int:
    """BiasGelu becomes Add and Gelu."""

    def split(node: ir.Node) -> Edit:
        add = ir.node("Add", node.inputs)
        gelu = ir.node("Gelu", [add.outputs[0]], domain=ORT_DOMAIN)
        return [add, gelu], {0: gelu.outputs[0]}

    return _each(model, "BiasGelu", split)


def split_layer_norm(model: ir.Model) -> int:
    """LayerNormalization over the last axis becomes the nine operators of its formula."""

    def split(node: ir.Node) -> Edit:
        given, scale, shift = node.inputs
        settings = node.attributes
        axes = constant(model, "last_axis", np.array([-1]))
        epsilon = settings["epsilon"].as_float() if "epsilon" in settings else 1e-5
        smallest = constant(model, f"epsilon_{epsilon:g}", np.array(epsilon, np.float32))
        mean = ir.node("ReduceMean", [given, axes])
        centred = ir.node("Sub", [given, mean.outputs[0]])
        squared = ir.node("Mul", [centred.outputs[0], centred.outputs[0]])
        variance = ir.node("ReduceMean", [squared.outputs[0], axes])
        above_zero = ir.node("Add", [variance.outputs[0], smallest])
        deviation = ir.node("Sqrt", above_zero.outputs)
        normal = ir.node("Div", [centred.outputs[0], deviation.outputs[0]])
        scaled = ir.node("Mul", [normal.outputs[0], scale])
        shifted = ir.node("Add", [scaled.outputs[0], shift])
        nodes = [mean, centred, squared, variance, above_zero, deviation, normal, scaled, shifted]
        return nodes, {0: shifted.outputs[0]}

    return _each(model, "LayerNormalization", split)


def replace(model: ir.Model, node: ir.Node, made: Edit) -> None:
    """Put new nodes in the place of one, each of its outputs taken over by the value named."""
    nodes, outputs = made
    model.graph.insert_before(node, nodes)
    for i, value in outputs.items():
        if i < len(node.outputs):
            node.outputs[i].replace_all_uses_with(value, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)


def _each(model: ir.Model, op: str, edit: Callable[[ir.Node], Edit]) -> int:
    nodes = _nodes(model, op)
    for node in nodes:
        replace(model, node, edit(node))
    return len(nodes)


def _nodes(model: ir.Model, op: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == op]


def _as_int32(model: ir.Model, name: str) -> ir.Value:
    """The model input of that name cast to int32, by the node that does so already if there is."""
    given = next(value for value in model.graph.inputs if value.name == name)
    for node, _ in given.uses():
        if is_int32_of(node.outputs[0], name):
            model.graph.remove(node)  # to the front, where every node can read it
            model.graph.insert_before(model.graph[0], node)
            return node.outputs[0]
    cast = ir.node("Cast", [given], {"to": ir.DataType.INT32})
    cast.outputs[0].name = free_name(f"{name}_int32", _value_names(model))
    model.graph.insert_before(model.graph[0], cast)
    return cast.outputs[0]


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
    for wanted in numbered(name):
        known = model.graph.initializers.get(wanted)
        if known is not None and known.const_value is not None:
            held = known.const_value.numpy()
            if held.dtype == array.dtype and np.array_equal(held, array):
                return known
        elif known is None and wanted not in _value_names(model):
            value = ir.Value(name=wanted, const_value=ir.tensor(array, name=wanted))
            model.graph.register_initializer(value)
            return value
    raise AssertionError  # the names never end


def free_name(name: str, taken: Collection[str | None]) -> str:
    """``name``, with a number behind it where it is taken."""
    return next(wanted for wanted in numbered(name) if wanted not in taken)


def numbered(name: str) -> Iterator[str]:
    """``name``, ``name_1``, ``name_2`` … without end."""
    yield name
    yield from (f"{name}_{i}" for i in itertools.count(1))


def _value_names(model: ir.Model) -> set[str | None]:
    outputs = (value.name for node in model.graph for value in node.outputs)
    return {*outputs, *(v.name for v in model.graph.inputs), *model.graph.initializers}


def _arrays(values: Sequence[ir.Value | None]) -> list[np.ndarray]:
    return [array_of(value) for value in values]


def array_of(value: ir.Value | None) -> np.ndarray:
    """What a constant holds.

    Raises:
        ValueError: ``value`` is no constant.
    """
    held = ir.convenience.get_const_tensor(value) if value is not None else None
    if held is None:
        raise ValueError(f"{value.name if value else 'An input that is left out'} is no constant.")
    return held.numpy()


def producer(value: ir.Value | None) -> ir.Node | None:
    """The node that computes ``value``; None of an input, a constant, or what is left out."""
    return value.producer() if value is not None else None


def _projection(
    value: ir.Value | None,
) -> tuple[ir.Value | None, ir.Value | None, ir.Value | None] | None:
    """(x, weight, bias) where ``value`` is x @ weight + bias with constants; else None."""
    add = producer(value)
    if add is None or add.op_type != "Add":
        return None
    first, second = add.inputs
    bias, rest = (first, second) if is_constant(first) else (second, first)
    product = producer(rest)
    if not is_constant(bias) or product is None or product.op_type != "MatMul":
        return None
    given, weight = product.inputs
    return (given, weight, bias) if is_constant(weight) else None


def is_constant(value: ir.Value | None) -> bool:
    """Whether the content of ``value`` is known; not so of an input that is left out (None)."""
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def _tables(total: ir.Value | None) -> dict[str, ir.Value | None]:
    """The embedding tables whose rows are summed to ``total``, by what looks them up."""
    found: dict[str, ir.Value | None] = {}
    values = [total]
    while values:
        node = producer(values.pop())
        if node is None:
            return {}
        if node.op_type == "Add":
            values += node.inputs
        elif node.op_type == "Gather":
            table, index = node.inputs
            asked = {"input_ids": "word", "token_type_ids": "type"}
            name = index.name if index is not None else None
            found[asked.get(name or "", "position")] = table
        else:
            return {}
    return found
