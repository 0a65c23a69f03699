"""All that is compared, by name."""

from benchmarks.gpu.onnx_runner import EFFICIENT, FLASH, UNFUSED, Onnx
from benchmarks.gpu.torch_runner import Torch

REFERENCE = "PyTorch fp32"
ORT, EAGER = "ONNX Runtime fp16, CUDA graph", "PyTorch fp16"
TORCH_GRAPH = "PyTorch fp16, CUDA graph"
TUNED = {"ep.cuda.enable_gemm_auto_tune": "1"}  # products of few rows: the fastest kernel, timed
MAIN = {
    ORT: Onnx(),
    EAGER: Torch(),
    TORCH_GRAPH: Torch(cuda_graph=True),
    "PyTorch bf16": Torch("bfloat16"),
    "PyTorch bf16, CUDA graph": Torch("bfloat16", cuda_graph=True),
    "ONNX Runtime, flash attention": Onnx(options={"sdpa_kernel": FLASH}),
    "ONNX Runtime, CLS-only last layer": Onnx("cls_fp16"),
    "ONNX Runtime, CLS-only last layer, flash attention": Onnx(
        "cls_fp16", options={"sdpa_kernel": FLASH}
    ),
    "ONNX Runtime, CLS-only last layer, flash attention, tuned products": Onnx(
        "cls_fp16", options={"sdpa_kernel": FLASH}, entries=TUNED
    ),
    "ONNX Runtime, padding mask": Onnx("masked_fp16"),  # as MASKED below
}
STEPS = {  # what each step gives; at two shapes
    "ONNX Runtime, graph captured by PyTorch": Onnx(cuda_graph="outside"),
    "ONNX Runtime fp32 with TF32, CUDA graph": Onnx("fused_fp32", options={"use_tf32": "1"}),
    "ONNX Runtime, no CUDA graph": Onnx(cuda_graph=None),
    "ONNX Runtime, no CUDA graph, no I/O binding": Onnx(cuda_graph=None, bound=False),
    "ONNX Runtime, memory-efficient attention": Onnx(options={"sdpa_kernel": EFFICIENT}),
    "ONNX Runtime, unfused attention kernel": Onnx(options={"sdpa_kernel": UNFUSED}),
    "ONNX Runtime, exporter's graph, no CUDA graph": Onnx("plain_fp16", cuda_graph=None),
}
COMPILED = {
    "torch.compile fp16, reduce-overhead": Torch(compiled="reduce-overhead"),
    "torch.compile fp16, max-autotune, frozen": Torch(compiled="max-autotune", frozen=True),
    "torch.compile fp16, max-autotune, frozen, captured by hand": Torch(
        compiled="max-autotune-no-cudagraphs", frozen=True, cuda_graph=True
    ),
}
MASKED = "ONNX Runtime, padding mask"
MASKED_WITHOUT = "ONNX Runtime, padding mask, no CUDA graph"
MASKED_CLS = "ONNX Runtime, padding mask, CLS-only last layer"
TEXTS = {
    ORT: MASKED,
    "ONNX Runtime fp16, CUDA graph, CLS-only last layer": MASKED_CLS,
    "ONNX Runtime, no CUDA graph": MASKED_WITHOUT,
    EAGER: EAGER,
}
ALL = {REFERENCE: Torch("float32")} | MAIN | STEPS | COMPILED
ALL |= {
    MASKED_WITHOUT: Onnx("masked_fp16", cuda_graph=None),
    MASKED_CLS: Onnx("cls_masked_fp16"),
}
