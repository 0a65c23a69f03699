"""Exercises of 00_start_here."""

from collections.abc import Callable

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from tutorial_utils.lessons.exercises import solutions
from tutorial_utils.lessons.exercises.comparison import difference
from tutorial_utils.lessons.exercises.core import exercise


def _judge_share(answer: Callable) -> str | None:
    """Compare with the solution on profiles of real runs."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from tutorial_utils.core.quiet import quiet_stderr

    linear, a = torch.nn.Linear(64, 64), torch.ones(4, 32, 32)  # the one adds a bias, addmm
    runs = {
        "a linear layer and a softmax": lambda: linear(torch.ones(8, 64)).softmax(-1),
        "products of batches": lambda: (a @ a).exp(),
        "a product without bias": lambda: a[0] @ a[1],
        "no product at all": lambda: a.exp(),
    }
    for name, run in runs.items():
        with (
            torch.inference_mode(),
            quiet_stderr(),
            profile(activities=[ProfilerActivity.CPU]) as p,
        ):
            run()
        events = p.key_averages()
        wrong = difference(answer(events), solutions.function("00.product_share")(events))
        if wrong:
            return f"For a profile of {name} it {wrong}."
    return None


def _tokenizer(padded: bool = False) -> Tokenizer:
    """One token a word, with [CLS] and [SEP]. padded: it pads to the longest text by itself."""
    known = {word: i for i, word in enumerate(("[PAD]", "[CLS]", "[SEP]", "[UNK]"))}
    made = Tokenizer(WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    if padded:
        made.enable_padding()
    return made


_TEXTS = ("A joy.", "Too long, and far too slow to be funny.", "No.")

exercise(
    "00.pad_share",
    [
        (_tokenizer(), _TEXTS, 32),
        (_tokenizer(), _TEXTS, 6),  # one is longer
        (_tokenizer(), _TEXTS[1:2], 8),
        (_tokenizer(padded=True), _TEXTS, 32),
    ],
    "Add up the tokens of all texts; of a text that is cut, only `width` count. All positions are "
    "`width` times the number of texts.",
    "sum(e.attention_mask) is the number of tokens of a text e; len(e.ids) may count padding too. "
    "And no text has more than `width` tokens.",
    "tokens = sum(min(sum(e.attention_mask), width) for e in tokenizer.encode_batch(texts)), then "
    "100 * (1 - tokens / (width * len(texts))).",
)

exercise(
    "00.product_share",
    (),
    "Add up the times of the products, and divide by the sum of all times. The answer is in "
    "percent.",
    "Each event has a `key`, its operator's name, and `self_cpu_time_total`; `cpu_time_total` "
    "would count the time of nested operators twice.",
    "100 * sum(e.self_cpu_time_total for e in events if e.key in products) / the same sum without "
    "the `if`.",
    judge=_judge_share,
)

exercise(
    "00.percentile",
    [
        ([5.0, 1.0, 3.0, 2.0, 4.0], 50),
        ([float(i) for i in range(1, 101)], 99),
        ([float(i) for i in range(1, 11)], 91),  # a rank that has to be rounded up
        ([7.0], 95),
    ],
    "Sort the times. Which place in the sorted list has q percent of them at or before it?",
    "The nearest rank of percentile q among n values is ceil(q / 100 × n); Python counts from 0.",
    "sorted(times)[math.ceil(len(times) * q / 100) - 1]. NumPy calls this method inverted_cdf.",
)

exercise(
    "00.throughput",
    [([0.5, 0.5], 8), ([0.1, 0.2, 0.9], 1), ([0.02], 32)],
    "How many items were handled in all, and how many seconds did that take?",
    "Items handled divided by time spent: a call handles a whole batch, and slow calls count too.",
    "len(seconds) calls of `batch` items each, divided by sum(seconds).",
)
