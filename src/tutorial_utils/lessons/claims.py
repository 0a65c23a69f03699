"""What came out for the claims of popular recipes, as ``make claims`` measured and judged them."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tutorial_utils.core import paths
from tutorial_utils.core.tables import Table


def default_file() -> Path:
    """The stored figures and verdicts of the machine that ``docs/claims.md`` links to."""
    page = paths.repository() / "docs" / "claims.md"
    (link,) = re.findall(r"\[claims\.json\]\((.+?)\)", page.read_text(encoding="utf-8"))
    return (page.parent / link).resolve()


def table(numbers: Iterable[int]) -> Table:
    """The stored verdicts on some of the claims."""
    verdicts = json.loads(default_file().read_text(encoding="utf-8"))["verdicts"]
    rows = [(str(n), verdicts[str(n)]["claim"], verdicts[str(n)]["word"]) for n in numbers]
    return Table.of(("claim", "what is claimed", "result"), rows)
