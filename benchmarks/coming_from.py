"""The files of Optimum and sentence-transformers beside ours: same model, same texts.

``python -m benchmarks.coming_from`` makes an environment with these tools, which need an older
Transformers, in the artifacts' folder. It lets them export and quantize the course's classifier
and encoder, compares size and answers with PyTorch's, and writes the table of
``docs/coming-from.md``. Times are in ``make peers``.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, write_between
from tutorial_utils import cli, quality
from tutorial_utils.core import paths
from tutorial_utils.core.tables import Table
from tutorial_utils.data import assets, reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.models import classifiers
from tutorial_utils.registry import load
from tutorial_utils.runtime import batching

PACKAGES = ("optimum-onnx[onnxruntime]==0.1.0", "sentence-transformers==5.1.2")
TEXTS = 500
THEIRS = Path(__file__).with_name("coming_from_tools.py")


def environment(folder: Path) -> Path:
    """The interpreter of an environment with the tools, made once."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (folder / "ready").touch()
    return python


def main() -> None:
    """Run both sides, and write the table."""
    here = paths.home() / "coming-from"
    here.mkdir(parents=True, exist_ok=True)
    texts = reviews.splits().test.take(range(TEXTS)).texts
    paths.write(here / "texts.json", json.dumps(texts))
    models = {"classifier": pipeline.ensure("pytorch"), "encoder": assets.fetch(assets.ENCODER)}
    python = environment(here / "venv")
    subprocess.run([python, THEIRS, here, *models.values()], check=True)
    rows = []
    for name, source in models.items():
        flags = ["--pooling", "mean", "--normalize"] if name == "encoder" else []
        out = here / name
        command = ["optimize", str(source), "--out", str(out), "--model", name, "--quick", *flags]
        if code := cli.main(command):
            sys.exit(code)
        pooled = {"pooling": "mean", "normalize": True} if flags else {}
        model = classifiers.open_classifier(source, **pooled)
        ids = model.encode(texts)
        batches = batching.by_tokens([len(row) for row in ids], 1024)
        right = batching.run(model.predictor(), ids, batches)
        ours = load(out / "registry", name)
        version = out / "registry" / name / ours.manifest.version
        found = {"ours, promoted": (batching.run(ours.logits, ids, batches),
                                    (version / ours.form.file).stat().st_size)}  # fmt: skip
        for file in sorted(here.glob(f"{name}-*.npy")):
            found[file.stem.split("-", 1)[1].replace("-", " ")] = (
                np.load(file),
                int(file.with_suffix(".size").read_text()),
            )
        rows += [(name, tool, *_row(name, *values, right)) for tool, values in found.items()]
    versions = (here / "versions.txt").read_text().strip()
    table = Table.of(("model", "file", "MB", "as PyTorch", "largest difference"), rows)
    about = (
        f"With {versions}, on {TEXTS} texts. Ours was optimized without `--data`, because "
        "theirs takes no labelled texts."
    )
    text = f"{table.markdown()}\n\n{about}"
    write_between(ROOT / "docs" / "coming-from.md", "files", text)
    print(text)


def _row(name: str, answers: np.ndarray, size: int, right: np.ndarray) -> tuple[str, str, str]:
    """Size, agreement or mean cosine, and the largest difference of a number."""
    if name == "encoder":
        same = f"mean cosine {quality.cosine(answers, right).mean():.4f}"
    else:
        same = f"{(answers.argmax(axis=1) == right.argmax(axis=1)).mean():.1%} of the labels"
    return f"{size / 1e6:.1f}", same, f"{np.abs(answers - right).max():.1e}"


if __name__ == "__main__":
    main()
