"""Several small operators made one, and one made several again where that is faster.

``fuse`` starts from the current exporter's graph. Three edits follow ONNX Script's fusions so that
the quantizer accepts the Attention nodes: their weights must be constants, they must not carry
``qkv_hidden_sizes``, and they must take the padding mask as ``mask_index`` and not as a bias.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    RemoveUnusedNodesPass,
    ShapeInferencePass,
)
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

from tutorial_utils.core import paths
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.graph import last_layer, rewrites

UNFUSABLE = ("SkipLayerNormalization", "BiasGelu")
# What ONNX Runtime fuses by itself at load. Disabled, a file runs as it was written.
AT_LOAD = (
    "AttentionFusion", "BiasGeluFusion", "BiasSkipLayerNormFusion", "EmbedLayerNormFusion",
    "FastGeluFusion", "GeluApproximation", "GeluFusionL1", "GeluFusionL2", "LayerNormFusion",
    "LayerNormFusionL1", "LayerNormFusionL2", "SkipLayerNormFusion",
)  # fmt: skip


@dataclass(frozen=True)
class Fusions:
    """Which fusions a graph has. The defaults are none.

    attention: ``none``; ``multi-head``: scores, softmax and sum are one node; ``packed``: and the
    three projections are one product; ``attention``: all of that is one node.
    gelu: ``none``, ``gelu``, ``bias`` (with the addition before it), ``fast`` (approximate).
    layer_norm: off takes apart even what the exporter writes as one node.
    one_position: the last layer is computed only where the classifier reads it (``selection``).
    """

    attention: str = "none"
    gelu: str = "none"
    skip_layer_norm: bool = False
    embeddings: bool = False
    layer_norm: bool = True
    one_position: bool = False


ALL = Fusions("attention", "bias", skip_layer_norm=True, embeddings=True)
PAYING = Fusions("attention", "gelu", one_position=True)
# Each fusion alone, and all but each: one may pay only with another, or only without it.
SEARCHED = {
    "none": Fusions(),
    "LayerNormalization taken apart": Fusions(layer_norm=False),
    "only SkipLayerNormalization": Fusions(skip_layer_norm=True),
    "only EmbedLayerNormalization": Fusions(embeddings=True),
    "only Gelu": Fusions(gelu="gelu"),
    "only FastGelu (approximate)": Fusions(gelu="fast"),
    "only BiasGelu": Fusions(gelu="bias"),
    "only MultiHeadAttention": Fusions("multi-head"),
    "only packed QKV": Fusions("packed"),
    "only Attention": Fusions("attention"),
    "all": ALL,
    "all but Attention": replace(ALL, attention="none"),
    "all but SkipLayerNormalization": replace(ALL, skip_layer_norm=False),
    "all but EmbedLayerNormalization": replace(ALL, embeddings=False),
    "all but BiasGelu": replace(ALL, gelu="none"),
    "all, Gelu for BiasGelu": replace(ALL, gelu="gelu"),
    "Attention and Gelu": replace(PAYING, one_position=False),
    "Attention, Gelu, one position": PAYING,
    "packed QKV and Gelu": Fusions("packed", "gelu"),
}


def fuse(source: Path, target: Path) -> dict[str, int]:
    """Write ``source`` with every fusion that applies to ``target``; return how often each did."""
    model, counts = optimize_for_ort(ir.load(str(source)))
    rewrites.fold_weights(model)
    rewrites.use_mask_index(model)
    _save(model, target)
    return counts


def unfuse(source: Path, target: Path, ops: tuple[str, ...] = UNFUSABLE) -> dict[str, int]:
    """Write ``source`` with the fused ``ops`` taken apart to ``target``; return how many were.

    Raises:
        ValueError: an operator that cannot be taken apart here.
    """
    if unknown := set(ops) - set(UNFUSABLE):
        raise InvalidArgument(f"Cannot take apart {sorted(unknown)}; choose among {UNFUSABLE}.")
    model = ir.load(str(source))
    split = dict(
        zip(UNFUSABLE, (rewrites.split_skip_layer_norm, rewrites.split_bias_gelu), strict=True)
    )
    counts = {op: split[op](model) for op in ops}
    _save(model, target)
    return counts


def fuse_what_pays(source: Path, target: Path) -> dict[str, int]:
    """Write ``source`` with the fusions that gain time on a CPU to ``target``; return the counts.

    Open the file with the session recipe of ``steps.recipe("fused")``, or loading it undoes the
    choice.
    """
    with paths.replacing(Path(target)) as everything:
        counts = fuse(source, everything)
        undone = unfuse(everything, everything)
        passed = narrow(everything, everything)
    return counts | {"taken apart again": sum(undone.values()), "for one position": passed}


def narrow(source: Path, target: Path) -> int:
    """Write ``source`` with the last layer computed only where it is read to ``target``.

    Return how many operators see one position instead of all (see ``selection``).
    """
    model = ir.load(str(source))
    passed = last_layer.read_one_position(model)
    _save(model, target)
    return passed


def fuse_chosen(source: Path, target: Path, fusions: Fusions) -> dict[str, int]:
    """Write ``source`` with just these fusions to ``target``; return how often each applied.

    Open the file with ``AT_LOAD`` among the disabled optimizers: ONNX Runtime adds its own.
    """
    model = ir.load(str(source))
    rewrite(model, [gemm_to_matmul_add_rule])
    ShapeInferencePass()(model)
    optimize(model)
    # The patterns of attention below expect the arithmetic on shapes as these rules leave it.
    shape_optimization.rules.apply_to_model(model)
    optimize(model)
    counts = {}
    if fusions.gelu != "none":
        counts["Gelu"] = fuse_erfgelu(model)
    if fusions.skip_layer_norm:
        counts["SkipLayerNormalization"] = fuse_skip_layer_normalization(model)
    if fusions.attention != "none":
        fuse_sdpa(model, apply_shape_inference=True)
        counts["MultiHeadAttention"] = fuse_mha1(model) + fuse_mha2(model)
    if fusions.attention == "attention":
        fuse_mha_bias(model)
        counts["Attention"] = fuse_attention(model)
    if fusions.gelu == "bias":
        counts["BiasGelu"] = fuse_bias_gelu(model)
    optimize(model)
    rewrites.fold_weights(model)
    if fusions.attention == "packed":
        counts["packed QKV"] = rewrites.pack_projections(model)
    rewrites.use_mask_index(model)
    rewrites.use_padding_mask(model)
    if fusions.gelu == "fast":
        counts["FastGelu"] = rewrites.approximate_gelu(model)
    if fusions.embeddings:
        counts["EmbedLayerNormalization"] = rewrites.fuse_embeddings(model)
    if fusions.one_position:
        counts["for one position"] = last_layer.read_one_position(model)
    if not fusions.layer_norm:
        counts["LayerNormalization taken apart"] = rewrites.split_layer_norm(model)
    _save(model, target)
    return counts


def ablate(
    source: Path, folder: Path, searched: dict[str, Fusions] | None = None
) -> dict[str, Path]:
    """Files with each set of fusions of ``SEARCHED``, or of those given, by name.

    All compute the same function; with an approximate Gelu, nearly. Compare them in sessions with
    ``AT_LOAD`` disabled, or what one lacks comes back at load.
    """
    variants = {}
    for i, (name, fusions) in enumerate((SEARCHED if searched is None else searched).items()):
        variants[name] = folder / f"variant_{i}.onnx"
        fuse_chosen(source, variants[name], fusions)
    return variants


def _save(model: ir.Model, target: Path) -> None:
    RemoveUnusedNodesPass()(model)
    # Each node names the source line that it came from, with the folders of whoever exported it.
    ClearMetadataAndDocStringPass()(model)
    model.opset_imports.setdefault(rewrites.ORT_DOMAIN, 1)
    proto = ir.to_proto(model)
    # Shapes inferred for the graph as it was would mislead the quantizer.
    del proto.graph.value_info[:]
    with paths.replacing(Path(target)) as temporary:
        onnx.save(proto, str(temporary))
