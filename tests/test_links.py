"""Links to files of the repository lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)


def pages() -> list[str]:
    """Every Markdown file of the project."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("page", pages())
def test_every_link_to_a_file_leads_to_one(page):
    text = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    # The source of a lesson becomes a notebook one folder up.
    folder = ROOT / "notebooks" if page.startswith("notebooks/sources") else (ROOT / page).parent
    targets = [a or b for a, b in LINK.findall(text)]
    local = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]
    assert [target for target in local if not (folder / target).exists()] == []


def test_lessons_and_readme_have_links_to_check():
    assert {"README.md", "docs/claims.md", "notebooks/sources/01_export.md"} <= set(pages())
