"""Show the ledger of the stored notebooks in README: the last step of ``make notebooks``.

``python -m benchmarks.readme_ledger`` changes README only.
"""

from benchmarks.common import README, write_between
from tutorial_utils.lessons import ledger, notebooks


def markdown() -> str:
    """README's table, and the machine that it was measured on."""
    rows = ledger.rows_of(notebooks.kept_ledger())
    return f"{ledger.table(rows).markdown()}\n\nMeasured on: {rows[-1].machine}."


def main() -> None:
    """Rewrite README's section."""
    write_between(README, "results", markdown())
    print("README shows the ledger of notebooks/ledger.json.")


if __name__ == "__main__":
    main()
