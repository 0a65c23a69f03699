"""The stored runs of ``optimize`` on each family as a table."""

from benchmarks.common import Folder
from benchmarks.families.checkpoints import FAMILIES
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table

HEADERS = ("family", "promoted", "time", "size", "agreement", "all in INT8", "F1", "flips",
           "minutes", "peak MB")  # fmt: skip
ONE_CLASS = "– (its head gives one class only)"
ABOUT = """\
Each is a checkpoint with random weights in the encoder's layers, real vectors of words, and a head
fitted to 2,000 sentences, optimized with `--quick --max-score-fall 0.02` and 500 other sentences.
*all in INT8*: agreement with PyTorch before products are kept in fp32. *time*: of one text,
relative to PyTorch fp32; *size*: of the weights, relative to PyTorch fp32; *flips*: share of texts
that get a different answer alone than in some batch; *peak*: of all processes together."""


def draw(found: dict, folder: Folder) -> None:
    """Write ``families.md``."""
    rows = [_row(found[family]) for family in FAMILIES if family in found]
    refused = [f"- {family}: {found[family]['last']}" for family in FAMILIES
               if family in found and found[family]["code"]]  # fmt: skip
    parts = [
        "# optimize on each family at base size, and on XLM-R-large",
        f"Measured by `python -m benchmarks.families` on: {Machine(**found['machine'])}.",
        ABOUT,
        Table.of(HEADERS, rows).markdown(),
        "\n".join(["What was refused, and why:", "", *refused]) if refused else "None was refused.",
    ]
    folder.write("families.md", "\n\n".join(parts) + "\n")


def _row(one: dict) -> tuple[str, ...]:
    minutes, peak = f"{one['seconds'] / 60:.1f}", f"{one['peak_mb']:,.0f}"
    if "chosen" not in one:
        return (one["family"], "–", *["–"] * 6, minutes, peak)
    chosen = one["chosen"] if one["promoted"] else f"refused ({one['chosen']})"
    flips = one["notes"][0].split(" of ")[0] if one["notes"] else "–"
    eight = [e["agreement"] for name, e in one["judged"].items() if name.endswith("int8")]
    return (
        one["family"],
        chosen,
        f"{one['times'][one['chosen']]['ratio']:.2f} ×",
        f"{one['size']:.2f} ×",
        f"{one['agreement']:.2%}" if one["score"] else ONE_CLASS,
        f"{eight[0]:.2%}" if eight and one["score"] else "–",
        f"{one['score']:.3f} ({one['difference']:+.4f})",
        flips,
        minutes,
        peak,
    )
