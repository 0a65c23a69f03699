"""How many numbers the files of a checkpoint hold, and in which precision, from their headers."""

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order in which the library looks
_SHORT = {
    "F32": "fp32", "float32": "fp32", "F16": "fp16", "float16": "fp16", "BF16": "bf16",
    "bfloat16": "bf16", "F64": "fp64", "float64": "fp64",
}  # fmt: skip
_NO_WEIGHTS = {"i64", "int64", "bool"}  # positions and masks, which older checkpoints hold


@dataclass(frozen=True)
class Weights:
    """megabytes: size of the files. precision: type → parameters of it, the most frequent first."""

    parameters: int
    megabytes: float
    precision: Mapping[str, int]

    def __str__(self) -> str:
        share = {kind: count / self.parameters for kind, count in self.precision.items()}
        mixed = " and ".join(f"{kind} ({part:.1%})" for kind, part in share.items())
        kinds = mixed if len(share) > 1 else "".join(share)
        return f"{self.parameters:,} parameters in {kinds}, {self.megabytes:,.1f} MB"


def read(source: str | Path, revision: str | None = None) -> Weights | None:
    """What the files of a folder say; of a name on the hub, those that were downloaded before.

    revision: commit on the hub. None: there are no files of weights.
    """
    kinds: Counter[str] = Counter()
    found = files(source, revision)
    for file in found:
        for kind, count in _tensors(file):
            kinds[_SHORT.get(kind, kind.lower())] += count
    precision = {kind: n for kind, n in kinds.most_common() if n and kind not in _NO_WEIGHTS}
    size = sum(file.stat().st_size for file in found)
    return Weights(sum(precision.values()), size / 1e6, precision) if precision else None


def files(source: str | Path, revision: str | None = None) -> list[Path]:
    """Those that the library would load; of a name on the hub, see ``read``."""
    return next((found for name in _FILES if (found := _files(source, name, revision))), [])


def _files(source: str | Path, name: str, revision: str | None) -> list[Path]:
    """The file of that name, or all files that its index names."""
    if file := _find(source, name, revision):
        return [file]
    if index := _find(source, f"{name}.index.json", revision):
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [index.with_name(shard) for shard in sorted(set(shards))]
    return []


def _find(source: str | Path, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        file = Path(source, name)
        return file if file.exists() else None
    cached = try_to_load_from_cache(str(source), name, revision=revision)
    return Path(cached) if isinstance(cached, str) else None


def _tensors(file: Path) -> Iterator[tuple[str, int]]:
    """Type and number of elements of each tensor."""
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  it is no mapping
                part = opened.get_slice(name)
                yield part.get_dtype(), math.prod(part.get_shape())
        return
    import torch

    # Files of before PyTorch 1.6 are no archives, so they cannot be mapped.
    mapped = zipfile.is_zipfile(file)
    for tensor in torch.load(file, "meta", weights_only=True, mmap=mapped).values():
        yield str(tensor.dtype).removeprefix("torch."), tensor.numel()
