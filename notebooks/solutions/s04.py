"""Solutions to the exercises of 04_runtime_tuning."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort

from tutorial_utils.core import machine


def batches(lengths: list[int], budget: int) -> list[list[int]]:
    """Batches of texts of similar length, each of at most `budget` positions."""
    made: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        # Texts come by length, so this one would be the longest of its batch.
        if made and (len(made[-1]) + 1) * lengths[i] <= budget:
            made[-1].append(i)
        else:
            made.append([i])
    return made


def in_order(session: ort.InferenceSession, padded, batches: list[list[int]]) -> np.ndarray:
    """Logits of all texts, row i for text i, whatever the batches."""
    flat = [i for batch in batches for i in batch]
    logits = np.concatenate([session.run(None, padded(batch))[0] for batch in batches])
    ordered = np.empty_like(logits)
    ordered[flat] = logits
    return ordered


def options(workers: int, cores: int, keep: bool) -> ort.SessionOptions:
    """SessionOptions for one of `workers` that share `cores` cores."""
    sess_options = ort.SessionOptions()
    sess_options.intra_op_num_threads = max(1, cores // workers)  # 0 would mean all cores
    sess_options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    spinning = "0" if workers > 1 else "1"
    sess_options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    sess_options.enable_cpu_mem_arena = keep
    return sess_options


def labeller(path, tokenizer):
    """A function from texts to labels, which runs a batch on each core."""
    tokenizer.no_padding()  # many a tokenizer's file asks for 128 tokens
    sess_options = ort.SessionOptions()
    sess_options.log_severity_level = 3
    sess_options.intra_op_num_threads = 1
    unfused = ["SkipLayerNormFusion", "BiasGeluFusion"]  # see lesson 02
    session = ort.InferenceSession(path, sess_options, disabled_optimizers=unfused)

    def label(texts):
        rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
        plan = [[]]
        for i in sorted(range(len(rows)), key=lambda i: len(rows[i])):
            if (len(plan[-1]) + 1) * len(rows[i]) > 256 and plan[-1]:
                plan.append([])
            plan[-1].append(i)

        def run(batch):
            width = max(len(rows[i]) for i in batch)
            ids, mask = np.zeros((2, len(batch), width), dtype=np.int64)
            for place, i in enumerate(batch):
                ids[place, : len(rows[i])] = rows[i]
                mask[place, : len(rows[i])] = 1
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
            return session.run(None, inputs)[0].argmax(axis=1)

        labels = np.empty(len(rows), dtype=np.int64)
        with ThreadPoolExecutor(machine.cores()) as pool:
            for batch, answers in zip(plan, pool.map(run, plan), strict=True):
                labels[batch] = answers
        return labels

    return label
