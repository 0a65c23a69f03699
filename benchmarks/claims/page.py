"""The page of the audit: ``docs/claims.md``.

``python -m benchmarks.claims.page`` judges the stored figures of the machine that the page shows,
stores the verdicts with them, and rewrites the page. Use it after a change to a judge.
``make results`` does the same with newly measured figures.
"""

from pathlib import Path

from benchmarks.claims.judges import CLAIMS, WORDS, with_verdicts
from benchmarks.common import ROOT, Folder, versions
from tutorial_utils.core import paths
from tutorial_utils.core.tables import Table
from tutorial_utils.lessons import claims

TEXT = """# The claims, audited

We took sixteen claims of popular recipes for BERT on ONNX Runtime, put them in our own words, and
tested them. Our results: {count}.

`make claims` measures the figures ([claims.json](../benchmarks/results/{folder}/claims.json)), and
`make results` writes this page from them. The notebooks test each claim live, in the cell that
names it; claim 10 is the exception. The [glossary](glossary.md) explains the terms.

{table}

Measured on {machine}; {versions}.
"""


def rewrite(folder: Folder, page: Path) -> None:
    """If all claims were measured, judge their figures, store the verdicts and write the page."""
    found = folder.read("claims")
    if len(found.get("figures", {})) == len(CLAIMS):
        folder.keep("claims", found | with_verdicts(found["figures"]))
        paths.write(page, markdown(folder))


def markdown(folder: Folder) -> str:
    """The page, from the verdicts that are stored in a machine's folder."""
    found = folder.read("claims")
    machine, verdicts = found["machine"], found["verdicts"]
    rows = [
        (number, v["claim"], f"**{v['word']}**: {v['reason']}", _tested_by(v["lesson"]))
        for number, v in sorted(verdicts.items(), key=lambda item: int(item[0]))
    ]
    headers = ("number", "claim", "result", "tested by")
    words = [v["word"] for v in verdicts.values()]
    return TEXT.format(
        count=", ".join(f"{word}: {words.count(word)}" for word in WORDS if word in words),
        table=Table.of(headers, rows).markdown(),
        machine=(
            f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['features'])})"
        ),
        versions=versions(found),
        folder=folder.path.name,
    )


def _tested_by(lesson: str) -> str:
    return f"[notebook {lesson[:2]}](../notebooks/{lesson}.ipynb), `make claims`"


if __name__ == "__main__":
    rewrite(Folder(claims.default_file().parent), ROOT / "docs" / "claims.md")
