"""How many tokens a model can read, and what each costs, found by watching it read short texts.

Families count positions from 0, from 2, or from behind the padding token, and pad inside. Where a
model looks positions up in a table, the rows that it looks up tell how many remain.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

SHORT = 8  # tokens


class _Lookups(TorchDispatchMode):
    """Records each look-up of one row for each token: the table's length, and its last row used."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.embedding.default:
            table, rows = args[:2]
            if rows.numel() == rows.shape[-1]:  # not a square of distances between tokens
                self.found.append((len(table), int(rows.max())))
        return func(*args, **(kwargs or {}))


def read(model: torch.nn.Module, token: int) -> tuple[int | None, dict[str, torch.Tensor]]:
    """The most tokens that the model's tables have positions for, and its outputs for a short text.

    token: id of an ordinary token. The first is None if positions are in no table: they are
    computed, or distances.
    """
    short, outputs = _watch(model, token, SHORT)
    longer, _ = _watch(model, token, SHORT + 1)
    left = [
        size - last - 1
        for (size, last), (same, following) in zip(short, longer, strict=False)
        if size == same and following == last + 1
    ]
    return (SHORT + min(left) if left else None), outputs


def operations(model: torch.nn.Module, token: int) -> float:
    """Multiplications and additions with weights that one more token of a short text costs."""
    counts, model = [], model.requires_grad_(False)  # the counter follows gradients, and may fail
    for texts in (1, 2):  # the difference leaves out what is computed once for all
        ids = torch.full((texts, SHORT), token)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) / SHORT


def _watch(model, token: int, length: int) -> tuple[list[tuple[int, int]], dict]:
    ids = torch.full((1, length), token)
    with torch.inference_mode(), _Lookups() as lookups:
        outputs = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return lookups.found, dict(outputs)
