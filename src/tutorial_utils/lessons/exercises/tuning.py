"""Exercises of 04_runtime_tuning."""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tutorial_utils.lessons.exercises.comparison import brief, difference
from tutorial_utils.lessons.exercises.core import exercise
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.session import ERRORS_ONLY

PADDING = 5  # percent of the positions; batches of sorted texts have less
SPARE = 1.1  # how many times as many batches as needed an answer may make
SPINNING = "session.intra_op.allow_spinning"
# The answer to a text is the sum of its token ids, each plus one, beside the number 40: so
# padding that the mask does not hide changes it.
_MODEL = """<ir_version: 10, opset_import: ["" : 18]>
classifier (int64[N, L] input_ids, int64[N, L] attention_mask, int64[N, L] token_type_ids)
    => (float[N, 2] logits)
    <int64 one = {1}, int64[1] last = {1}, float zero = {0}, float middle = {40}>
{
    more = Add(input_ids, one)
    seen = Mul(more, attention_mask)
    total = ReduceSum<keepdims = 1>(seen, last)
    second = Cast<to = 1>(total)
    nothing = Mul(second, zero)
    first = Add(nothing, middle)
    logits = Concat<axis = 1>(first, second)
}"""


def _tokenizer() -> Tokenizer:
    """Each of eight letters is a token. It pads to 128 tokens, as many tokenizers' files say."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=special
    )
    made.enable_padding(length=128)
    return made


def _text(words: int, start: int = 0) -> str:
    return " ".join("abcdefgh"[(start + k) % 8] for k in range(words))


def _lengths(texts: int, seed: int = 0) -> list[int]:
    """As of real sentences: most are short."""
    drawn = np.random.default_rng(seed).gamma(4.0, 6.0, texts)
    return [int(n) for n in np.clip(drawn, 4, 100)]


def _judge_batches(answer: Callable) -> str | None:
    """Look for a text that is missing, a batch that is too large, too much padding."""
    for name, lengths, budget in (
        ("2,000 texts and a budget of 256", _lengths(2000), 256),
        ("2,000 texts and a budget of 512", _lengths(2000, 1), 512),
        ("a text that is longer than the budget", [9, 300, 8, 7], 64),
        ("texts of one length", [16] * 40, 128),
        ("one text", [12], 256),
        ("one text that is longer than the budget", [300], 256),
    ):
        if wrong := _wrong_batches(answer(list(lengths), budget), lengths, budget):
            return f"For {name}: {wrong}"
    return None


def _wrong_batches(made: object, lengths: list[int], budget: int) -> str | None:
    """What is wrong with batches, or None."""
    if not isinstance(made, list | tuple) or not all(isinstance(b, list | tuple) for b in made):
        return f"it gives {brief(made)}, which is not a list of lists"
    found = Counter(i for batch in made for i in batch)
    if unknown := [i for i in found if i not in range(len(lengths))]:
        return f"there is no text {unknown[0]}; batches hold indices into `lengths`"
    for i in range(len(lengths)):
        if found[i] != 1:
            return f"text {i} is in {found[i] or 'no'} batch{'es' if found[i] > 1 else ''}"
    if [] in map(list, made):
        return "it makes a batch without texts"
    for batch in made:
        longest = max(lengths[i] for i in batch)
        if len(batch) > 1 and len(batch) * longest > budget:
            return (
                f"a batch of {len(batch)} texts, the longest of {longest} tokens, computes "
                f"{len(batch) * longest} positions, which is more than {budget}"
            )
    padding = 100 * batching.padding_waste(lengths, made)
    if padding > PADDING:
        return f"{padding:.0f} % of the positions are padding; at most {PADDING} % are allowed"
    needed = len(batching.by_tokens(lengths, budget))
    if len(made) > SPARE * needed + 1:
        return f"{len(made)} batches, where {needed} are enough: they are not full"
    return None


exercise(
    "04.batches",
    (),
    "Texts of similar length should share a batch, so sort them first. A batch costs its number of "
    "texts × its longest text, padding included. Close it only when the next text would cost more.",
    "Go through sorted(range(len(lengths)), key=lambda i: lengths[i]). The text that you add is "
    "then always the longest of its batch, so the batch would compute "
    "(size + 1) × its length positions.",
    "for i in order: if batches and (len(batches[-1]) + 1) * lengths[i] <= budget: "
    "batches[-1].append(i), else: batches.append([i]).",
    judge=_judge_batches,
)


def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    proto = onnx.parser.parse_model(_MODEL).SerializeToString()
    return ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"])


def _judge_order(answer: Callable) -> str | None:
    """Run a tiny model, whose answer tells the texts apart."""
    session = _session()
    for lengths, batches in (
        ([3, 9, 5, 7], [[0, 2], [3, 1]]),
        ([4, 2, 3], [[1, 2], [0]]),
        ([8, 6, 4, 2, 9], [[3], [2, 1], [0, 4]]),
    ):
        rows = [[10 * i + k for k in range(n)] for i, n in enumerate(lengths)]

        def padded(batch: Sequence[int], rows: list[list[int]] = rows) -> dict[str, np.ndarray]:
            return batching.pad([rows[i] for i in batch])

        expected = [[40.0, float(sum(row) + len(row))] for row in rows]
        given = answer(session, padded, batches)
        if wrong := difference(given, expected):
            found = np.asarray(given, dtype=float).tolist() if given is not None else None
            if isinstance(found, list) and sorted(map(str, found)) == sorted(map(str, expected)):
                text = next(i for i, row in enumerate(expected) if found[i] != row)
                other = expected.index(found[text])
                return f"For the batches {batches}, text {text} gets the answer of text {other}"
            return f"For the batches {batches} it {wrong}"
    return None


exercise(
    "04.in_order",
    (),
    "Row k of the logits of a batch belongs to the text whose index is at place k of that batch.",
    "Make the answers first, one batch after the other, and a flat list of the indices in the "
    "same order. Then write each answer to the place that its index names.",
    "flat = [i for batch in batches for i in batch]; logits = np.concatenate([session.run(None, "
    "padded(batch))[0] for batch in batches]); ordered = np.empty_like(logits); "
    "ordered[flat] = logits; return ordered.",
    judge=_judge_order,
)


def _judge_options(answer: Callable) -> str | None:
    """Read the options, and open a session with them."""
    proto = onnx.parser.parse_model(_MODEL).SerializeToString()
    for workers, cores, keep in ((2, 2, True), (1, 4, True), (2, 8, False), (4, 2, True)):
        told = f"For {workers} worker{'s' * (workers > 1)} on {cores} cores"
        made = answer(workers, cores, keep)
        if not isinstance(made, ort.SessionOptions):
            return f"{told} it gives {brief(made)}, which is not an onnxruntime.SessionOptions"
        if wrong := _wrong_options(made, workers, cores, keep):
            return f"{told}, keep={keep}: {wrong}"
        made.log_severity_level = ERRORS_ONLY
        ort.InferenceSession(proto, made, providers=["CPUExecutionProvider"])
    return None


def _wrong_options(made: ort.SessionOptions, workers: int, cores: int, keep: bool) -> str | None:
    share, threads = max(1, cores // workers), made.intra_op_num_threads
    if threads == 0:
        return "intra_op_num_threads is 0, which lets each session take a thread for every core"
    if threads != share:
        return f"intra_op_num_threads is {threads}, and a share of the cores is {share}"
    if made.execution_mode != ort.ExecutionMode.ORT_SEQUENTIAL:
        return "operators run side by side (execution_mode)"
    try:
        spinning = made.get_session_config_entry(SPINNING)
    except RuntimeError:  # not set
        spinning = "1"
    if spinning != ("0" if workers > 1 else "1"):
        return f"{SPINNING} is {spinning!r}"
    if made.enable_cpu_mem_arena != keep:
        return f"enable_cpu_mem_arena is {made.enable_cpu_mem_arena}"
    return None


exercise(
    "04.options",
    (),
    "Begin with sess_options = onnxruntime.SessionOptions(), set what the docstring asks for, "
    "and return it. The cell above has all the names that you need.",
    "A share of the cores is cores // workers, but a session needs one thread: 0 would mean all "
    "cores. Spinning is the config entry session.intra_op.allow_spinning, a string; the arena is "
    "enable_cpu_mem_arena.",
    "sess_options.intra_op_num_threads = max(1, cores // workers); sess_options."
    'add_session_config_entry("session.intra_op.allow_spinning", "0" if workers > 1 else "1"); '
    "sess_options.enable_cpu_mem_arena = keep.",
    judge=_judge_options,
)


def _judge_labeller(answer: Callable) -> str | None:
    """Label texts by a tiny model, and compare with its answers to one text at a time."""
    texts = [_text(1 + 7 * k % 31, k) for k in range(60)]
    texts[17] = texts[3]  # two that are equal
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        onnx.save(onnx.parser.parse_model(_MODEL), file)
        label = answer(file, _tokenizer())
        if not callable(label):
            return f"It gives {brief(label)}, which is not a function"
        for some in (texts, texts[4:5], texts[::-1]):
            expected = [_label(text) for text in some]
            if wrong := difference(label(some), expected):
                found = label(some)
                right = sum(a == b for a, b in zip(found, expected, strict=False)) if (
                    isinstance(found, list | tuple | np.ndarray)
                    and np.shape(found) == np.shape(expected)
                ) else None  # fmt: skip
                if right is None:
                    return f"For {len(some)} texts its function {wrong}"
                return f"{right} of {len(some)} labels are right"
    return None


def _label(text: str) -> int:
    ids = [2, *("abcdefgh".index(word) + 4 for word in text.split()), 3]
    return int(sum(ids) + len(ids) > 40)


exercise(
    "04.labeller",
    (),
    "Start from the cell above: put what happens once before `def label(texts)`, and what happens "
    "for each call inside it.",
    "Once: tokenizer.no_padding(), the options and the session. In each call: encode_batch, the "
    "lengths, batches within a budget, a ThreadPoolExecutor that runs them, and the labels back in "
    "the order of the texts.",
    "Put the logits back with labels[[i for batch in plan for i in batch]] = logits.argmax(axis=1) "
    "and return labels; then try other budgets, other numbers of workers, and the optimizers that "
    "lesson 02 switches off at load.",
    judge=_judge_labeller,
)
