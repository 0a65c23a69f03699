"""Plausible wrong answers to the exercises in 04_runtime_tuning."""

import numpy as np
import onnxruntime as ort


def _by_length(lengths):
    return sorted(range(len(lengths)), key=lambda i: lengths[i])


def _filled(order, lengths, budget, fits):
    made = []
    for i in order:
        if made and fits(made[-1], i):
            made[-1].append(i)
        else:
            made.append([i])
    return made


def _drops_long_ones(lengths, budget):
    order = [i for i in _by_length(lengths) if lengths[i] <= budget]
    return _filled(order, lengths, budget, lambda b, i: (len(b) + 1) * lengths[i] <= budget)


def _set(workers, cores, keep, threads=None, spinning=None):
    made = ort.SessionOptions()
    made.intra_op_num_threads = max(1, cores // workers) if threads is None else threads
    wanted = "0" if workers > 1 else "1"
    made.add_session_config_entry("session.intra_op.allow_spinning", spinning or wanted)
    made.enable_cpu_mem_arena = keep
    return made


def _inter_op(workers, cores, keep):
    made = _set(workers, cores, keep, threads=0)
    made.inter_op_num_threads = max(1, cores // workers)
    return made


def _pattern(workers, cores, keep):
    made = _set(workers, cores, True)
    made.enable_mem_pattern = keep
    return made


def _bool(workers, cores, keep):
    made = _set(workers, cores, keep)
    made.add_session_config_entry("session.intra_op.allow_spinning", workers == 1)
    return made


def _labels(path, tokenizer, order=None, mask=None, pick=lambda logits: logits.argmax(axis=1)):
    """All texts as one batch, wide as the tokenizer says, with one mistake."""
    session = ort.InferenceSession(path)

    def label(texts):
        encodings = tokenizer.encode_batch(order(texts) if order else list(texts))
        ids = np.array([e.ids for e in encodings], dtype=np.int64)
        seen = np.array([e.attention_mask for e in encodings], dtype=np.int64)
        seen = np.ones_like(ids) if mask == "ones" else seen
        inputs = {"input_ids": ids, "attention_mask": seen, "token_type_ids": 0 * ids}
        return pick(session.run(None, inputs)[0])

    return label


WRONG = {
    "04.batches": [
        lambda lengths, budget: [[i] for i in _by_length(lengths)],  # one by one: no padding
        lambda lengths, budget: _filled(  # in the order of arrival
            range(len(lengths)), lengths, budget,
            lambda b, i: (len(b) + 1) * max(lengths[j] for j in [*b, i]) <= budget,
        ),
        lambda lengths, budget: _filled(  # counts the tokens, not the positions
            _by_length(lengths), lengths, budget,
            lambda b, i: sum(lengths[j] for j in b) + lengths[i] <= budget,
        ),
        lambda lengths, budget: _filled(  # as many texts in each, however long
            _by_length(lengths), lengths, budget, lambda b, i: len(b) < 32
        ),
        lambda lengths, budget: [  # the lengths, not the indices
            [lengths[i] for i in batch]
            for batch in _filled(_by_length(lengths), lengths, budget,
                                 lambda b, i: (len(b) + 1) * lengths[i] <= budget)
        ],
        _drops_long_ones,
    ],
    "04.in_order": [
        lambda session, padded, batches: np.concatenate(  # left in the order of the batches
            [session.run(None, padded(batch))[0] for batch in batches]
        ),
        lambda session, padded, batches: np.concatenate(  # the permutation the wrong way round
            [session.run(None, padded(batch))[0] for batch in batches]
        )[[i for batch in batches for i in batch]],
        lambda session, padded, batches: np.sort(  # sorts the answers themselves
            np.concatenate([session.run(None, padded(batch))[0] for batch in batches]), axis=0
        ),
        lambda session, padded, batches: session.run(None, padded(sorted(batches[0])))[0],
    ],
    "04.options": [
        lambda workers, cores, keep: _set(workers, cores, keep, threads=cores),  # all for each
        lambda workers, cores, keep: _set(workers, cores, keep, threads=cores // workers),  # 0
        lambda workers, cores, keep: _set(workers, cores, keep, spinning="0"),  # alone, too
        _inter_op,
        _pattern,
        _bool,
        lambda workers, cores, keep: {"intra_op_num_threads": max(1, cores // workers)},
    ],
    "04.labeller": [
        lambda path, tokenizer: _labels(path, tokenizer, mask="ones"),
        lambda path, tokenizer: _labels(  # in the order of the lengths
            path, tokenizer, order=lambda texts: sorted(texts, key=len)
        ),
        lambda path, tokenizer: _labels(path, tokenizer, pick=lambda logits: logits),
        lambda path, tokenizer: _labels(path, tokenizer)(["a b"]),  # labels, not a function
    ],
}  # fmt: skip
