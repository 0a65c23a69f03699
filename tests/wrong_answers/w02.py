"""Plausible wrong answers to the exercises in 02_fusion."""

from collections import Counter

from onnxscript.rewriter import pattern

ORT = "com.microsoft"


def _count(proto):
    return Counter(node.op_type for node in proto.graph.node)


def _rewire(proto, node):
    rewired = 0
    for other in proto.graph.node:
        for i, name in enumerate(other.input):
            if name == node.input[0]:
                other.input[i] = node.output[0]
                rewired += 1
    return rewired


def _at_the_end(proto, node):
    rewired = _rewire(proto, node)
    proto.graph.node.append(node)
    return rewired


def _at_the_front(proto, node):
    rewired = _rewire(proto, node)
    proto.graph.node.insert(0, node)
    return rewired


def _reads_itself(proto, node):
    proto.graph.node.insert(1, node)
    return _rewire(proto, node)


def _first_reader_only(proto, node):
    nodes, value = proto.graph.node, node.input[0]
    place, reader = next((i, n) for i, n in enumerate(nodes) if value in n.input)
    reader.input[list(reader.input).index(value)] = node.output[0]
    nodes.insert(place, node)
    return 1


def _nobody_reads_it(proto, node):
    proto.graph.node.insert(1, node)
    return 0


def _one_pass(proto):
    nodes = proto.graph.node
    read = {name for node in nodes for name in node.input} | {v.name for v in proto.graph.output}
    dead = [node for node in nodes if read.isdisjoint(node.output)]
    for node in dead:
        nodes.remove(node)
    return len(dead)


def _outputs_are_read_by_nobody(proto):
    nodes = proto.graph.node
    read = {name for node in nodes for name in node.input}
    dead = [node for node in nodes if read.isdisjoint(node.output)]
    for node in dead:
        nodes.remove(node)
    return len(dead)


def _all_outputs_must_be_read(proto):
    read, removed = {v.name for v in proto.graph.output}, 0
    for node in reversed(list(proto.graph.node)):
        if read.issuperset(node.output):
            read.update(node.input)
        else:
            proto.graph.node.remove(node)
            removed += 1
    return removed


def _while_walking(proto):
    read, removed = {v.name for v in proto.graph.output}, 0
    for node in proto.graph.node:  # from the front, where readers have not been seen yet
        read.update(node.input)
    for node in proto.graph.node:  # skips the neighbour of each node that is removed
        if read.isdisjoint(node.output):
            proto.graph.node.remove(node)
            removed += 1
    return removed


def _rule(fused_domain=ORT, gelu_domain=ORT, bias=True):
    def fused(op, given, bias):
        return op.BiasGelu(given, bias, _domain=fused_domain)

    def apart(op, given, bias):
        return op.Gelu(op.Add(given, bias), _domain=gelu_domain)

    def forgets(op, given, bias):
        return op.Gelu(given, _domain=gelu_domain)

    return pattern.RewriteRule(fused, apart if bias else forgets)


def _the_other_way():
    rule = (
        lambda op, given, bias: op.Gelu(op.Add(given, bias), _domain=ORT),
        lambda op, given, bias: op.BiasGelu(given, bias, _domain=ORT),
    )
    return pattern.RewriteRule(*rule)


def _gather_first(proto, steps=9, checked=True, moved=True):
    nodes = proto.graph.node
    weights = {w.name for w in proto.graph.initializer}
    gather = next(node for node in nodes if node.op_type == "Gather")
    passed = 0
    while passed < steps:
        above = next((n for n in nodes if gather.input[0] in n.output), None)
        if above is None or above.op_type == "Softmax":
            break
        readers = sum(name == above.output[0] for n in nodes for name in n.input)
        if checked and (readers > 1 or not weights.issuperset(above.input[1:])):
            break
        whole, result = above.output[0], gather.output[0]
        gather.input[0], gather.output[0] = above.input[0], whole
        above.input[0], above.output[0] = whole, result
        if moved:
            nodes.insert(list(nodes).index(gather) + 1, above)
            nodes.remove(above)
        passed += 1
    return passed


WRONG = {
    "02.missing": [
        lambda proto, expected: {  # misses operators that were never found
            op: n - _count(proto)[op]
            for op, n in expected.items()
            if op in _count(proto) and _count(proto)[op] < n
        },
        lambda proto, expected: {op: n - _count(proto)[op] for op, n in expected.items()},
        lambda proto, expected: {op: n for op, n in expected.items() if _count(proto)[op] < n},
        lambda proto, expected: [op for op, n in expected.items() if _count(proto)[op] < n],
    ],
    "02.insert": [_at_the_end, _at_the_front, _reads_itself, _first_reader_only, _nobody_reads_it],
    "02.remove_dead": [
        _one_pass,
        _outputs_are_read_by_nobody,
        _all_outputs_must_be_read,
        _while_walking,
    ],
    "02.gelu_rule": [
        lambda: _rule(fused_domain=""),  # the standard has no BiasGelu: nothing is found
        lambda: _rule(gelu_domain=""),  # the standard has no Gelu at opset 18
        lambda: _rule(bias=False),  # forgets the bias
        _the_other_way,
    ],
    "02.gather_first": [
        lambda proto: _gather_first(proto, steps=1),  # one step only
        lambda proto: _gather_first(proto, checked=False),  # also past a sum of two activations
        lambda proto: _gather_first(proto, moved=False),  # leaves the order of the nodes
    ],
}
