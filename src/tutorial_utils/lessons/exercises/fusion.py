"""Exercises of 02_fusion."""

from collections.abc import Callable, Iterable
from copy import deepcopy

import numpy as np
import onnx
import onnx.parser
from onnx import helper

from tutorial_utils.lessons.exercises import solutions
from tutorial_utils.lessons.exercises.comparison import brief, difference
from tutorial_utils.lessons.exercises.core import exercise

BATCH = 3  # of the graphs' free dimension N


def _graph(body: str, inputs: str = "float[N, 4] x", outputs: str = "float[N, 4] y"):
    return onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18, "com.microsoft" : 1]>'
        f"g ({inputs}) => ({outputs}) <float[4] w = {{1, 2, 3, 4}}, float[4] b = {{1, -1, 0, 2}}>"
        f"{{ {body} }}"
    )


def _run(model: onnx.ModelProto) -> list[np.ndarray]:
    """All outputs for random inputs, by ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # what fails is said by `check`
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(0)
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    given = {}
    for value in session.get_inputs():
        shape = [BATCH if isinstance(size, str) else size for size in value.shape]
        given[value.name] = (2 * random.standard_normal(shape)).astype(types[value.type])
    return session.run(None, given)


def _wrong(edited: onnx.ModelProto, expected: onnx.ModelProto) -> str | None:
    """What is wrong with an edited graph; None if it is valid and computes what is expected."""
    try:
        onnx.checker.check_model(edited)
        found = _run(edited)
    except Exception as error:  # the checker's and ONNX Runtime's share no base class
        told = " ".join(str(error).split())[:240].rstrip(".")
        return f"the edited graph ({brief(edited)}) cannot be run: {told}"
    ops = sorted(node.op_type for node in edited.graph.node)
    if ops != sorted(node.op_type for node in expected.graph.node):
        return f"the graph becomes {brief(edited)}, expected {brief(expected)}"
    for name, one, other in zip(
        (value.name for value in expected.graph.output), found, _run(expected), strict=True
    ):
        if wrong := difference(one, other):
            return f"the graph becomes {brief(edited)}, whose output {name} {wrong}"
    return None


def _judge_edits(name: str, cases: Iterable[tuple]) -> Callable[[Callable], str | None]:
    """Compare what an answer makes of each graph with what the solution makes of it.

    A case: a model to edit, and what else the function takes.
    """

    def judge(answer: Callable) -> str | None:
        for model, *others in cases:
            mine, theirs = deepcopy(model), deepcopy(model)
            told = answer(mine, *deepcopy(others))
            expected = solutions.function(name)(theirs, *deepcopy(others))
            problem = _wrong(mine, theirs) or difference(told, expected)
            if problem:
                return f"For {brief(model)} {_it(problem)}"
        return None

    return judge


def _it(problem: str) -> str:
    """The problem as the end of a sentence that has no subject yet."""
    return problem if problem.startswith("the ") else f"it {problem}"


_FUSED = "h = com.microsoft.BiasGelu(x, b)  y = com.microsoft.BiasGelu(h, w)"
_LAYERS = " ".join(
    f"a{i} = com.microsoft.Attention<num_heads = 2>(x, w, b)" for i in range(6)
)  # not run, only counted

exercise(
    "02.missing",
    [
        (_graph(_FUSED), {"BiasGelu": 6}),
        (_graph(_FUSED), {"Attention": 6, "BiasGelu": 2}),
        (_graph(_LAYERS), {"Attention": 6, "SkipLayerNormalization": 12}),
        (_graph(_LAYERS), {"Attention": 5}),
        (_graph("y = Neg(x)"), {}),
    ],
    "Count the operators of the graph first, as lesson 01 did with a Counter.",
    "A Counter gives 0 for what it has never seen. Keep only the operators that are too few.",
    "found = Counter(node.op_type for node in proto.graph.node); then "
    "{op: n - found[op] for op, n in expected.items() if found[op] < n}.",
)

_ABS = helper.make_node("Abs", ["a"], ["a_positive"])
_SCALE = helper.make_node("Mul", ["x", "w"], ["x_scaled"])

exercise(
    "02.insert",
    (),
    "Two things have to happen: the readers of the value must read the node's output, and the node "
    "must stand in the right place of the list. What if no node makes the value?",
    "Rewire first and insert then, or the node reads its own output. It must stand behind the node "
    "that makes the value, or at the front if the value is an input of the graph.",
    "for other in proto.graph.node: for i, name in enumerate(other.input): if name == "
    "node.input[0]: other.input[i] = node.output[0], and count one. Then "
    "proto.graph.node.insert(place, node).",
    judge=_judge_edits(
        "02.insert",
        [
            (_graph("a = Neg(x)  y = Exp(a)"), _ABS),
            (_graph("a = Neg(x)  c = Exp(x)  d = Mul(a, a)  y = Add(c, d)"), _ABS),
            (_graph("a = Neg(x)  c = Exp(a)  d = Sin(a)  y = Add(c, d)"), _ABS),
            (_graph("a = Neg(x)  y = Mul(a, x)"), _SCALE),
            (
                _graph(
                    "m = Cast<to = 1>(mask)  y = Mul(x, m)",
                    "float[N, 4] x, int64[N, 4] mask",
                ),
                helper.make_node("Abs", ["mask"], ["mask_positive"]),
            ),
        ],
    ),
)

exercise(
    "02.remove_dead",
    (),
    "A node is dead if none of its outputs is read, neither by another node nor as an output of "
    "the graph. When it has gone, the node above it may be dead too.",
    "Go through the nodes from the last to the first, and keep a set of the names that are read. "
    "It begins with the outputs of the graph.",
    "for node in reversed(list(proto.graph.node)): if read.isdisjoint(node.output), remove it and "
    "count one; otherwise read.update(node.input).",
    judge=_judge_edits(
        "02.remove_dead",
        [
            (_graph("a = Neg(x)  y = Exp(x)"),),
            (_graph("a = Neg(x)  c = Exp(a)  d = Add(c, a)  y = Exp(x)"),),
            (_graph("a = Neg(x)  c = Exp(a)  y = Add(a, x)"),),
            (_graph("a, c = Split<num_outputs = 2, axis = 1>(x)  d = Neg(c)  "
                    "y = Concat<axis = 1>(a, a)"),),
            (_graph("a = Neg(x)  z = Exp(a)  y = Sin(a)", outputs="float[N, 4] y, float[N, 4] z"),),
            (_graph("a = Neg(x)  y = Exp(a)"),),
        ],
    ),
)  # fmt: skip


def _judge_rule(answer: Callable) -> str | None:
    """Apply the rule to small graphs, and compare nodes and answers with those of the solution."""
    import onnx_ir as ir
    from onnxscript.rewriter import pattern

    for body in (
        "y = com.microsoft.BiasGelu(x, b)",
        _FUSED,
        "h = com.microsoft.BiasGelu(x, b)  n = Neg(h)  y = Add(h, n)",
        "h = Add(x, b)  y = com.microsoft.Gelu(h)",  # nothing to do
        "y = com.microsoft.FastGelu(x, b)",
    ):
        edited = []
        for make in (answer, solutions.function("02.gelu_rule")):
            rule = make()
            if not isinstance(rule, pattern.RewriteRule):
                return f"It gives {brief(rule)}, expected a pattern.RewriteRule"
            model = ir.from_proto(_graph(body))
            rule.apply_to_model(model)
            edited.append(ir.to_proto(model))
        if wrong := _wrong(*edited):
            return f"For {brief(_graph(body))} {_it(wrong)}"
    return None


exercise(
    "02.gelu_rule",
    (),
    "The rule of the cell above has the same form: one function for what is searched, one for what "
    "replaces it, with equal names for the values that both have. Without the right `_domain`, the "
    "pattern matches nothing.",
    "BiasGelu(given, bias) is Gelu(given + bias). Both BiasGelu and Gelu are of the domain "
    "com.microsoft here, since the standard has a Gelu only from opset 20 on.",
    'fused returns op.BiasGelu(given, bias, _domain="com.microsoft"), apart returns '
    'op.Gelu(op.Add(given, bias), _domain="com.microsoft"), and the function returns '
    "pattern.RewriteRule(fused, apart).",
    judge=_judge_rule,
)


def _chain(body: str, outputs: str = "float[N, 4] y") -> onnx.ModelProto:
    """A graph on (N, 5, 4) of which one position is read. first: index; m: a weight (4, 4)."""
    model = _graph(body, "float[N, 5, 4] x, float[N, 5, 4] z", outputs)
    matrix = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name)
        for name, array in (("first", np.array(0)), ("m", matrix))
    )
    return model


exercise(
    "02.gather_first",
    (),
    "Take one step first: y = Gather(Op(x)) becomes y = Op(Gather(x)). Which four names change "
    "places, and which of the two nodes must come first now?",
    "The step is allowed if the node above is in the list, all its inputs but the first are "
    "initializers, and nobody else reads its output. Repeat it until it is not.",
    "gather.input[0], gather.output[0] = above.input[0], above.output[0]; above.input[0] is the "
    "Gather's new output, above.output[0] the Gather's old one. Then move `above` behind `gather` "
    "in proto.graph.node.",
    judge=_judge_edits(
        "02.gather_first",
        [
            (_chain("h = Add(x, b)  y = Gather<axis = 1>(h, first)"),),
            (_chain("a = MatMul(x, m)  c = Add(a, b)  h = com.microsoft.Gelu(c)  "
                    "y = Gather<axis = 1>(h, first)"),),
            (_chain("a = Softmax<axis = 1>(x)  h = LayerNormalization(a, w, b)  "
                    "y = Gather<axis = 1>(h, first)"),),
            (_chain("a = Add(x, z)  h = LayerNormalization(a, w, b)  "
                    "y = Gather<axis = 1>(h, first)"),),
            (_chain("h = Add(x, b)  t = Neg(h)  y = Gather<axis = 1>(h, first)",
                    "float[N, 4] y, float[N, 5, 4] t"),),
        ],
    ),
)  # fmt: skip
