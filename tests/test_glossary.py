"""The glossary: sorted, with lessons that exist, and every link to a term finds its heading."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
TEXT = GLOSSARY.read_text(encoding="utf-8")
TERMS = re.findall(r"^### (.+)$", TEXT, re.M)
PAGES = [ROOT / "README.md", *ROOT.glob("notebooks/sources/*.md"), *ROOT.glob("docs/**/*.md")]


def anchor(heading: str) -> str:
    """How GitHub names a heading in a link."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_terms_are_sorted_and_occur_once():
    assert len(TERMS) >= 60
    assert sorted(TERMS, key=str.casefold) == TERMS
    assert len({anchor(term) for term in TERMS}) == len(TERMS)


def test_each_term_has_a_short_explanation_and_a_link_to_a_lesson_that_exists():
    for entry in TEXT.split("\n### ")[1:]:
        term, text = entry.split("\n", 1)
        said = re.sub(r"\[[^\]]*\]\(\.\./[^)]*\)", "", text)
        assert 1 <= len(re.findall(r"[.?](?=\s|$)", said)) <= 4, term
        (lesson,) = re.findall(r"\]\(\.\./notebooks/(\w+)\.ipynb\)", text)
        assert (ROOT / "notebooks" / "sources" / f"{lesson}.md").exists(), term


def test_every_link_to_a_term_has_its_heading():
    known = {anchor(term) for term in TERMS}
    links = [
        (page.name, term)
        for page in PAGES
        for term in re.findall(r"glossary\.md#([\w-]+)", page.read_text(encoding="utf-8"))
    ]
    links += [(GLOSSARY.name, term) for term in re.findall(r"\]\(#([\w-]+)\)", TEXT)]
    assert links
    assert [link for link in links if link[1] not in known] == []
