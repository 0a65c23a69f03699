"""Show the ledger of the stored notebooks in README: the last step of ``make notebooks``.

``python -m benchmarks.readme_ledger`` changes README only.
"""

import re

from benchmarks.common import README, write_between
from tutorial_utils.lessons import ledger, notebooks

WITHOUT_VNNI = (
    "It has no instructions for products of 8-bit numbers (VNNI, AMX), with which INT8 gains more: "
    "[stored results](benchmarks/results) of other machines show how much."
)


def markdown() -> str:
    """README's table, and the machine that it was measured on."""
    rows = ledger.rows_of(notebooks.kept_ledger())
    machine = rows[-1].machine
    text = f"{ledger.table(rows).markdown()}\n\nMeasured on: {machine}."
    return text if re.search("vnni|amx_int8", machine) else f"{text} {WITHOUT_VNNI}"


def main() -> None:
    """Rewrite README's section."""
    write_between(README, "results", markdown())
    print("README shows the ledger of notebooks/ledger.json.")


if __name__ == "__main__":
    main()
