"""Print docs/cheat-sheet.md as one page, HTML and PDF: ``make sheet``.

The Markdown is the source. Its table of results is taken from README, which shows what is stored.
"""

import os
import re
import sys
from html import escape
from pathlib import Path

import mistune

from benchmarks.common import README, ROOT, write_between
from tutorial_utils.core import paths

SOURCE = ROOT / "docs" / "cheat-sheet.md"
PAGE, PRINT = SOURCE.with_suffix(".html"), SOURCE.with_suffix(".pdf")
COLUMNS = ("step", "× faster", "× more", "MB", "F1", "agreement")  # that fit
FONTS = {  # of matplotlib, so that the page looks the same on every machine
    "DejaVuSans.ttf": ("DejaVu Sans", "normal"),
    "DejaVuSans-Bold.ttf": ("DejaVu Sans", "bold"),
    "DejaVuSansMono.ttf": ("DejaVu Sans Mono", "normal"),
}
STYLE = """
@page { size: A4 landscape; margin: 7mm 8mm }
body { font: 7.6pt/1.36 "DejaVu Sans", Verdana, sans-serif; color: black; margin: 0 }
h1 { font-size: 14pt; margin: 0 0 1mm }
header p { margin: 0 0 1.5mm }
main { columns: 3; column-gap: 4mm; column-fill: auto; height: 179mm }
section { margin: 0 0 2mm; break-inside: avoid }
h2 { font-size: 8.8pt; margin: 0 0 .6mm; padding: .4mm 1mm; background: #ddd;
     break-after: avoid }
h2 a { font-weight: normal }
pre { font: 6.4pt/1.3 "DejaVu Sans Mono", monospace; margin: 0 0 .6mm; padding: .8mm 1mm;
      border: .2mm solid #999; break-inside: avoid }
code { font-family: "DejaVu Sans Mono", monospace; font-size: 92% }
pre code { font-size: 100% }
ul { margin: 0; padding-left: 2.6mm }
li { break-inside: avoid }
p { margin: 0 0 .6mm }
a { color: black; text-decoration: underline dotted }
table { border-collapse: collapse; width: 100%; margin-bottom: .6mm }
th, td { border-bottom: .2mm solid #999; padding: 0 .8mm; text-align: right }
th:first-child, td:first-child { text-align: left }
"""


def results() -> str:
    """README's table of the steps, with the columns that fit, and where it was measured."""
    text = README.read_text(encoding="utf-8")
    begin, measured, end = "<!-- results:begin -->", r"(Measured on: .+?\.)", "<!-- results:end -->"
    ((shown, machine),) = re.findall(rf"{begin}\n(.+?)\n\n{measured}.*?\n{end}", text, re.S)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines()]
    places = [rows[0].index(name) for name in COLUMNS]
    kept = [[row[place] for place in places] for row in (rows[0], *rows[2:])]
    lines = [f"| {' | '.join(row)} |" for row in kept]
    return "\n".join([lines[0], f"|{' --- |' * len(COLUMNS)}", *lines[1:], "", machine])


def html(markdown: str) -> str:
    """The whole page, which needs no other file."""
    render = mistune.create_markdown(plugins=["table"])
    text = re.sub(r"<!--.*?-->\n", "", markdown)
    head, *sections = re.split(r"^(?=## )", text, flags=re.M)
    title = head.splitlines()[0].removeprefix("# ")
    parts = "\n".join(f"<section>\n{render(part)}</section>" for part in sections)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n{render(head)}</header>\n<main>\n{parts}\n</main>\n</body>\n</html>\n"
    )


def pdf(page: str) -> bytes:
    """The page as PDF. Links to files of the repository lead nowhere from there: they become text.

    Raises:
        ValueError: it does not fit on one page.
    """
    import matplotlib
    from weasyprint import CSS, HTML
    from weasyprint.text.fonts import FontConfiguration

    os.environ["SOURCE_DATE_EPOCH"] = "0"  # the fonts in the file would have the time of printing
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    faces = "\n".join(
        f'@font-face {{ font-family: "{family}"; font-weight: {weight}; '
        f"src: url({(folder / file).as_uri()}) }}"
        for file, (family, weight) in FONTS.items()
    )
    config = FontConfiguration()
    style = CSS(string=faces, font_config=config)
    text = re.sub(r'<a href="\.\./[^"]*">(.*?)</a>', r"\1", page)
    made = HTML(string=text).render(stylesheets=[style], font_config=config)
    if len(made.pages) != 1:
        raise ValueError(f"{SOURCE.name} takes {len(made.pages)} pages: shorten it.")
    return made.write_pdf()


def main() -> None:
    """Write the table into the source, and print it twice."""
    write_between(SOURCE, "results", results())
    page = html(SOURCE.read_text(encoding="utf-8"))
    paths.write(PAGE, page)
    try:
        PRINT.write_bytes(pdf(page))
    except ValueError as error:
        sys.exit(str(error))
    print(f"Written: {PAGE.name}, {PRINT.name}")


if __name__ == "__main__":
    main()
