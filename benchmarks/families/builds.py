"""The files that are compared: ours for each provider, and OpenVINO's own, of one checkpoint.

Each function runs in a process of its own, so that its memory is free for the next one.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.families import checkpoints
from benchmarks.families.engines import BUDGET, Ort, Torch, labels
from benchmarks.peers import makers
from tutorial_utils.core import scoped
from tutorial_utils.data import reviews
from tutorial_utils.graph import export, fusion, inspection, quantization, rewrites, sensitivity
from tutorial_utils.models.classifiers import Classifier, open_classifier
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.session import SessionRecipe
from tutorial_utils.tasks import named

Inputs = dict[str, np.ndarray]
AGREEMENT = 0.994  # three of 500 may change; above the target, because the test has others


def checkpoint(family: str, folder: Path, given: dict) -> Classifier:
    """Make a family's checkpoint in ``folder``, and open it. given: to ``checkpoints.save``."""
    return open_classifier(checkpoints.save(family, folder, **given))


@dataclass(frozen=True)
class Built:
    """What is in a file of ours: fused operators, how many of each; products kept in fp32."""

    fused: dict[str, int]
    kept: int = 0


def for_cpu(classifier: Classifier, target: Path, texts: int, careful: bool = True) -> Built:
    """Write our INT8 file for the CPU provider.

    texts: validation sentences to calibrate on, as in the functions below. careful: where too many
    answers change, the products that lose most stay in fp32, as in ``optimize``. If half of them
    are not enough, the loss is not theirs, and all stay in 8 bits.
    """
    kept = 0
    with _scratch(target) as exported:
        _export(classifier, exported)
        fusion.fuse_what_pays(exported, exported)
        batches = _batches(classifier, texts)
        quantization.recommended(exported, target, batches)
        if careful and not (enough := _agreeing(classifier))(target):
            mixed = exported.with_name("mixed.onnx")
            found = sensitivity.mixed(exported, mixed, batches, enough)
            if found.enough:
                mixed.replace(target)
                kept = found.kept
        return Built(_fused(exported), kept)


def for_openvino(classifier: Classifier, target: Path, texts: int) -> Built:
    """Write our INT8 file for the OpenVINO provider, which fuses at load."""
    from tutorial_utils.graph import static

    with _scratch(target) as exported:
        _export(classifier, exported, attention="eager")
        fusion.narrow(exported, exported)
        static.recommended(exported, target, _one_by_one(classifier, texts))
        return Built(_fused(exported))


def popular(classifier: Classifier, target: Path) -> None:
    """Write the file of the popular recipe, which treats every family as BERT."""
    makers.popular(classifier.module(), classifier.example(), target)


def openvino_fp32(classifier: Classifier, target: Path) -> None:
    """Write the file of OpenVINO's converter, in fp32."""
    import openvino

    with warnings.catch_warnings(), scoped.quiet_transformers():
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(classifier.module(), example_input=classifier.example())
    openvino.save_model(converted, target, compress_to_fp16=False)


def openvino_int8(classifier: Classifier, source: Path, target: Path, texts: int) -> None:
    """Write the fp32 file ``source`` in INT8, as nncf recommends it for transformers."""
    import nncf
    import openvino

    samples = _one_by_one(classifier, texts)
    quantized = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
    )
    openvino.save_model(quantized, target, compress_to_fp16=False)


def _agreeing(classifier: Classifier) -> Callable[[Path], bool]:
    """Whether a file gives PyTorch's answers on the validation sentences."""
    rows = classifier.encode(reviews.splits().validation.texts)
    reference = labels(Torch(classifier), rows, classifier.padding)

    def enough(file: Path) -> bool:
        answers = labels(Ort(file, SessionRecipe()), rows, classifier.padding)
        return float((answers == reference).mean()) >= AGREEMENT

    return enough


def _export(classifier: Classifier, target: Path, attention: str | None = None) -> None:
    export.export(
        classifier.module(),
        target,
        inputs=classifier.example(),
        output=named(classifier.task).output,
        attention=attention,
    )


def _fused(path: Path) -> dict[str, int]:
    """Operators of ONNX Runtime's own, which only a fusion writes."""
    graph = inspection.load_structure(path).graph
    known = sorted(node.op_type for node in graph.node if node.domain == rewrites.ORT_DOMAIN)
    return {name: known.count(name) for name in dict.fromkeys(known)}


def _batches(classifier: Classifier, texts: int) -> list[Inputs]:
    rows = _rows(classifier, texts)
    batches = batching.by_tokens([len(row) for row in rows], BUDGET)
    return [_inputs(classifier, [rows[i] for i in batch]) for batch in batches]


def _one_by_one(classifier: Classifier, texts: int) -> list[Inputs]:
    return [_inputs(classifier, [row]) for row in _rows(classifier, texts)]


def _rows(classifier: Classifier, texts: int) -> list[list[int]]:
    return classifier.encode(reviews.splits().validation.texts[:texts])


def _inputs(classifier: Classifier, rows: Sequence[Sequence[int]]) -> Inputs:
    padded = batching.pad(rows, padding=classifier.padding)
    return {name: padded[name] for name in classifier.inputs}


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A path for a large file that is needed only while ``target`` is made."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        yield Path(folder, "exported.onnx")
