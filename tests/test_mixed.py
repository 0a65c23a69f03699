"""Which products stay in fp32, and how many: ``sensitivity.mixed``."""

import onnx
import pytest

from tutorial_utils.graph import inspection, quantization, sensitivity, smoothquant
from tutorial_utils.runtime import inference

BATCHES = [inference.random_inputs(2, 12, seed) for seed in range(3)]
IN_8_BITS = ("QAttention", "DynamicQuantizeMatMul", "MatMulInteger")


def in_8_bits(file) -> int:
    counts = inspection.op_counts(file)
    return sum(counts[name] for name in IN_8_BITS)


@pytest.mark.parametrize(("good_at", "share"), [(1, 1 / 8), (2, 1 / 4), (3, 1 / 2), (9, 1 / 2)])
def test_as_few_products_as_needed_stay_in_fp32(good_at, share, tiny_fused, tmp_path):
    """The file is good enough at the first, second or third try, or never."""
    target, seen = tmp_path / "mixed.onnx", []

    def enough(file):
        seen.append(in_8_bits(file))
        return len(seen) == good_at

    found = sensitivity.mixed(tiny_fused, target, BATCHES, enough)
    assert found.kept == max(1, round(share * found.products))
    assert len(seen) == min(good_at, 3)
    assert found.enough == (good_at <= 3)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]  # nothing else is left
    whole = quantization.recommended(tiny_fused, tmp_path / "whole.onnx", BATCHES)
    assert in_8_bits(target) == seen[-1] == in_8_bits(whole) - found.kept


def test_the_products_that_lose_most_are_kept(tiny_fused, tmp_path):
    smooth, target = tmp_path / "smooth.onnx", tmp_path / "mixed.onnx"
    smoothquant.smooth(tiny_fused, smooth, BATCHES)
    worst = list(sensitivity.decibels(smooth, BATCHES))
    found = sensitivity.mixed(tiny_fused, target, BATCHES, lambda file: False)
    nodes = onnx.load(target).graph.node  # a Gemm becomes a MatMul there, under another name
    in_fp32 = {node.name.removesuffix("_MatMul") for node in nodes if node.op_type != "Add"}
    assert [name for name in worst if name in in_fp32] == worst[: found.kept]
    assert str(found) == f"{found.kept} of {found.products} products in fp32"
