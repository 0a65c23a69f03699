"""Several small operators made one, and one made several again where that is faster.

``fuse`` starts from the current exporter's graph. Three edits follow ONNX Script's fusions so that
the quantizer accepts the Attention nodes: their weights must be constants, they must not carry
``qkv_hidden_sizes``, and they must take the padding mask as ``mask_index`` and not as a bias.
"""

from dataclasses import dataclass
from pathlib import Path

from onnx_ir.passes.common import ShapeInferencePass
from onnxscript.optimizer import optimize
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.ort_fusions import optimize_for_ort, shape_optimization
from onnxscript.rewriter.ort_fusions.attention import fuse_attention
from onnxscript.rewriter.ort_fusions.bias_gelu import fuse_bias_gelu
from onnxscript.rewriter.ort_fusions.erfgelu import fuse_erfgelu
from onnxscript.rewriter.ort_fusions.mha import fuse_mha1, fuse_mha2
from onnxscript.rewriter.ort_fusions.mha_bias import fuse_mha_bias
from onnxscript.rewriter.ort_fusions.sdpa import fuse_sdpa
from onnxscript.rewriter.ort_fusions.skip_normalization import fuse_skip_layer_normalization
from onnxscript.rewriter.rules.common import gemm_to_matmul_add_rule

from tutorial_utils.graph import last_layer, relative_attention, rewrites, rotary, storage

# Fused operators that cost more than they gain, and how to take them apart.
UNFUSABLE = {
    "SkipLayerNormalization": rewrites.split_skip_layer_norm,
    "BiasGelu": rewrites.split_bias_gelu,
}
# What ONNX Runtime fuses by itself at load. Disabled, a file runs as it was written.
AT_LOAD = (
    "AttentionFusion", "BiasGeluFusion", "BiasSkipLayerNormFusion", "EmbedLayerNormFusion",
    "FastGeluFusion", "GeluApproximation", "GeluFusionL1", "GeluFusionL2", "LayerNormFusion",
    "LayerNormFusionL1", "LayerNormFusionL2", "SkipLayerNormFusion",
)  # fmt: skip


@dataclass(frozen=True)
class Fusions:
    """Which fusions a graph has. The defaults are none.

    attention: ``none``; ``multi-head``: scores, softmax and their product with the values are one
    node; ``attention``: that node does the projections as well.
    gelu: ``none``, ``gelu``, or ``bias`` (with the addition before it).
    """

    attention: str = "none"
    gelu: str = "none"
    skip_layer_norm: bool = False


ALL = Fusions("attention", "bias", skip_layer_norm=True)
# Families that were tried → the operators that ``fuse`` finds, if the activation is GELU.
# ``tests/test_inspect.py`` exports each of them.
KNOWN = {
    **dict.fromkeys(
        ("albert", "bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie",
         "megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "xlm-roberta",
         "xlm-roberta-xl"),
        ("Attention", "BiasGelu", "SkipLayerNormalization"),
    ),
    # Relative positions are added to the scores of attention, see ``relative_attention``.
    "deberta-v2": ("BiasGelu", "SkipLayerNormalization"),
    "mpnet": ("BiasGelu", "SkipLayerNormalization"),
    # Rotary positions are between projections and scores; the activation has a gate, not a bias.
    "modernbert": ("MultiHeadAttention", "RotaryEmbedding", "Gelu"),
}  # fmt: skip


def fuse(source: Path, target: Path) -> dict[str, int]:
    """Write ``source`` with every fusion that applies to ``target``; return how often each did."""
    model, counts = optimize_for_ort(storage.load(source))
    rewrites.fold_weights(model)
    counts["relative_attention"] = relative_attention.fuse(model)
    counts["rotary_embedding"] += rotary.fuse(model)
    rewrites.use_mask_index(model)
    rewrites.save(model, target)
    return counts


def unfuse(source: Path, target: Path) -> dict[str, int]:
    """Write ``source`` with the operators of ``UNFUSABLE`` taken apart; return how many of each."""
    return rewrites.edited(
        source, target, lambda model: {op: split(model) for op, split in UNFUSABLE.items()}
    )


def fuse_what_pays(source: Path, target: Path) -> None:
    """Write ``source`` with the fusions that gain time on a CPU to ``target``.

    Open the file with the session recipe of the step ``fused`` (``lessons.pipeline.recipe``), or
    ONNX Runtime fuses again what was taken apart.
    """
    with storage.replacing(target) as temporary:
        fuse(source, temporary)
        unfuse(temporary, temporary)
        narrow(temporary, temporary)


def narrow(source: Path, target: Path) -> int:
    """Write ``source`` with the last layer computed only where it is read to ``target``.

    Return how many operators see one position instead of all (see ``last_layer``).
    """
    return rewrites.edited(source, target, last_layer.read_one_position)


def count_tokens(source: Path, target: Path) -> int:
    """Write ``source`` with numbers of tokens instead of padding masks to ``target``, for GPUs.

    Return how many Attention nodes take them. Only for padding on the right.
    """
    return rewrites.edited(source, target, rewrites.count_tokens)


def fuse_chosen(source: Path, target: Path, fusions: Fusions) -> Path:
    """Write ``source`` with just these fusions to ``target``, and return ``target``.

    Open the file with ``AT_LOAD`` among the disabled optimizers: ONNX Runtime adds its own.
    """
    model = storage.load(source)
    rewrite(model, [gemm_to_matmul_add_rule])
    ShapeInferencePass()(model)
    optimize(model)
    # The patterns of attention below expect the arithmetic on shapes as these rules leave it.
    shape_optimization.rules.apply_to_model(model)
    optimize(model)
    if fusions.gelu != "none":
        fuse_erfgelu(model)
    if fusions.skip_layer_norm:
        fuse_skip_layer_normalization(model)
    if fusions.attention != "none":
        fuse_sdpa(model, apply_shape_inference=True)
        fuse_mha1(model)
        fuse_mha2(model)
    if fusions.attention == "attention":
        fuse_mha_bias(model)
        fuse_attention(model)
    if fusions.gelu == "bias":
        fuse_bias_gelu(model)
    optimize(model)
    rewrites.fold_weights(model)
    rewrites.use_mask_index(model)
    return rewrites.save(model, target)
