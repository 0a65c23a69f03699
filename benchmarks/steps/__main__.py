"""All steps side by side in one run, and the A/A run that shows how far the timing can be trusted.

Writes ``benchmarks/results/`` (figures as JSON, tables as Markdown, the ledger as a picture) and
the README's table.
Run it on a quiet machine: ``make bench``.
"""

from dataclasses import asdict
from pathlib import Path

from common import RESULTS, section, write, write_figure, write_json

from tutorial_utils import benchmark, figures, ledger, machine, measure, paths, steps

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
SHAPES = ((1, 24), (1, 128), (8, 128))


def main() -> None:
    """Measure, write, and say what was found."""
    found = {"a/a": {}, "shapes": {}, "texts": {}}
    sections = [f"# Results\n\nMeasured by `make bench` on: {machine.describe()}.\n"]

    same = measure.latency_candidate("int8")
    aa = benchmark.compare({"int8": same, "int8 again": same}, rounds=11)
    found["a/a"] = asdict(aa)
    sections.append(section("A/A: the same candidate twice, BERT-base shape 1 × 128", aa))
    print(aa.verdicts["int8 again"], flush=True)

    for batch, length in SHAPES:
        candidates = {s: measure.latency_candidate(s, batch, length) for s in steps.STEPS[:-1]}
        result = benchmark.compare(candidates, rounds=7, minimum_calls=1 if batch > 1 else 3)
        found["shapes"][f"{batch}x{length}"] = asdict(result)
        sections.append(section(f"BERT-base shape (seeded weights), {batch} × {length}", result))
        print(f"measured {batch} × {length}", flush=True)

    labelling = {s: measure.labelling_candidate(s) for s in steps.STEPS}
    result = benchmark.compare(labelling, rounds=7, warmup=1, minimum_calls=1)
    found["texts"] = asdict(result)
    sections.append(section("Real sentences from text to label, fine-tuned classifier", result))

    file = paths.home() / "benchmark_ledger.json"
    file.unlink(missing_ok=True)
    for step in steps.STEPS:
        ledger.record(measure.row(step), file)
        print(f"ledger: {step}", flush=True)
    rows = ledger.rows_of(file)
    found["ledger"] = [asdict(row) for row in rows]
    sections.append(f"## The ledger\n\n{ledger.table(rows).markdown()}\n")
    write_figure("ledger", figures.ledger(rows))
    write_json("results", found)
    write(RESULTS / "results.md", "\n".join(sections))
    write(README, with_results(README.read_text(encoding="utf-8"), rows))


def with_results(readme: str, rows: tuple[ledger.Row, ...]) -> str:
    """The README with its table replaced by that of this run, its machine named."""
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    table = f"{ledger.table(rows).markdown()}\n\nMeasured on: {rows[-1].machine}."
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


if __name__ == "__main__":
    main()
