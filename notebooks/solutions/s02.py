"""Solutions to the exercises of 02_fusion."""

from collections import Counter

import onnx
from onnx import helper
from onnxscript.rewriter import pattern

BY_POSITION = {"Add", "Gelu", "LayerNormalization", "MatMul"}


def missing(proto: onnx.ModelProto, expected: dict[str, int]) -> dict[str, int]:
    """{operator: how many are missing} for operators that the graph has fewer of than expected."""
    found = Counter(node.op_type for node in proto.graph.node)
    return {op: n - found[op] for op, n in expected.items() if found[op] < n}


def insert(proto: onnx.ModelProto, node: onnx.NodeProto) -> int:
    """Put `node` behind the value that it reads; return how many inputs read its output now."""
    nodes, value, made = proto.graph.node, node.input[0], node.output[0]
    rewired, place = 0, 0
    for number, other in enumerate(nodes, 1):
        if value in other.output:
            place = number  # right behind the node that computes the value
        for i, name in enumerate(other.input):
            if name == value:
                other.input[i] = made
                rewired += 1
    nodes.insert(place, node)  # after the rewiring, or it would read itself
    return rewired


def remove_dead(proto: onnx.ModelProto) -> int:
    """Remove all nodes whose outputs nobody reads; return how many."""
    graph = proto.graph
    read = {value.name for value in graph.output}
    removed = 0
    for node in reversed(list(graph.node)):  # readers come before what they read
        if read.isdisjoint(node.output):
            graph.node.remove(node)
            removed += 1
        else:
            read.update(node.input)
    return removed


def gelu_rule() -> pattern.RewriteRule:
    """A rule that turns each BiasGelu into an Add and a Gelu."""

    def fused(op, given, bias):
        return op.BiasGelu(given, bias, _domain="com.microsoft")

    def apart(op, given, bias):
        return op.Gelu(op.Add(given, bias), _domain="com.microsoft")

    return pattern.RewriteRule(fused, apart)


def gather_first(proto: onnx.ModelProto) -> int:
    """Move the Gather up past each operator that allows it; return how many it passed."""
    nodes = proto.graph.node
    weights = {weight.name for weight in proto.graph.initializer}
    made_by = {name: node for node in nodes for name in node.output}
    gather = next(node for node in nodes if _chooses_position(node))
    passed = 0
    while (above := made_by.get(gather.input[0])) and above.op_type in BY_POSITION:
        whole, result = above.output[0], gather.output[0]
        readers = [name for node in nodes for name in node.input if name == whole]
        if not weights.issuperset(above.input[1:]) or len(readers) > 1:
            break
        gather.input[0], gather.output[0] = above.input[0], whole
        above.input[0], above.output[0] = whole, result
        nodes.insert(list(nodes).index(gather) + 1, above)  # a copy of it, behind the Gather
        nodes.remove(above)
        passed += 1
    return passed


def _chooses_position(node: onnx.NodeProto) -> bool:
    axis = {a.name: helper.get_attribute_value(a) for a in node.attribute}.get("axis", 0)
    return node.op_type == "Gather" and axis == 1
