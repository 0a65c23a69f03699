"""Which fusions and which settings pay on this machine, and how near to its roof a recipe comes.

``python -m benchmarks.search [fusion] [quantization] [runtime] [roofline]`` runs these searches, or
all of them; ``--only`` names sections of the runtime search. Run it on a quiet machine.
"""

import argparse

from benchmarks.common import run_folder
from benchmarks.search import fusion, quantization, roofline, runtime


def main() -> None:
    """Run the searches named on the command line, or all of them."""
    searches = {
        "fusion": fusion.search,
        "quantization": quantization.search,
        "runtime": runtime.search,
        "roofline": roofline.search,
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("searches", nargs="*", help=f"among {', '.join(searches)}")
    parser.add_argument("--only", nargs="+", default=(), choices=runtime.SECTIONS)
    options = parser.parse_args()
    if unknown := set(options.searches) - set(searches):
        parser.error(f"there is no search {sorted(unknown)}; choose among {', '.join(searches)}")
    folder = run_folder()
    for name in options.searches or searches:
        searches[name](folder, *([tuple(options.only)] if name == "runtime" else []))
    print(f"Written to {folder}.")


if __name__ == "__main__":
    main()
