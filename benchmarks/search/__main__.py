"""Which fusions and settings pay on this machine, and how close each recipe is to its roofline.

``python -m benchmarks.search [fusion] [quantization] [runtime] [roofline]`` runs these searches, or
all of them. ``--only`` selects sections of the runtime search. Use a quiet machine.
"""

import argparse

from benchmarks.common import run_folder
from benchmarks.search import fusion, quantization, roofline, runtime


def main() -> None:
    """Run the searches that the command line names, or all of them."""
    searches = {
        "fusion": fusion.search,
        "quantization": quantization.search,
        "runtime": runtime.search,
        "roofline": roofline.search,
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("searches", nargs="*", help=", ".join(searches))
    parser.add_argument("--only", nargs="+", default=(), choices=runtime.SECTIONS)
    options = parser.parse_args()
    if unknown := set(options.searches) - set(searches):
        names = ", ".join(sorted(unknown))
        parser.error(f"unknown search {names}; choose from {', '.join(searches)}")
    folder = run_folder()
    for name in options.searches or searches:
        searches[name](folder, *([tuple(options.only)] if name == "runtime" else []))
    print(f"Written to {folder}.")


if __name__ == "__main__":
    main()
