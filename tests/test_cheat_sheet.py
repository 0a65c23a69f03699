"""The cheat sheet: one page that says what its source says, in code and numbers that are real."""

import ast
import html
import importlib
import inspect
import re

import pypdf
import pytest

from benchmarks import cheat_sheet

MARKDOWN = cheat_sheet.SOURCE.read_text(encoding="utf-8")
PAGE = cheat_sheet.PAGE.read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", MARKDOWN, re.M | re.S)


def words(page: str) -> str:
    """What a page says, without white space: lines break elsewhere on paper."""
    body = page.partition("<body>")[2]
    return "".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())


def test_the_page_is_made_from_the_source():
    assert cheat_sheet.html(MARKDOWN) == PAGE, "run `make sheet`"


def test_the_numbers_are_those_of_readme():
    assert cheat_sheet.results() in MARKDOWN, "run `make sheet`"
    text = re.sub(r"<!-- results:begin -->.*?<!-- results:end -->", "", MARKDOWN, flags=re.S)
    assert not re.search(r"\d (ms|MB|texts/s)\b", text)  # no other measured ones


def test_it_prints_on_one_page_what_the_page_says():
    (printed,) = pypdf.PdfReader(cheat_sheet.PRINT).pages
    width, height = (float(side) * 25.4 / 72 for side in printed.mediabox[2:])
    assert (width, height) == pytest.approx((297, 210), abs=0.5)
    assert "".join(printed.extract_text().replace("•", "").split()) == words(PAGE), (
        "run `make sheet`"
    )


def test_it_says_nothing_of_the_machine_that_printed_it():
    data = cheat_sheet.PRINT.read_bytes()
    assert b"file:" not in data
    assert "/Annots" not in pypdf.PdfReader(cheat_sheet.PRINT).pages[0]  # no links to nowhere


def test_its_links_exist():
    links = re.findall(r"\]\(([^)]+)\)", MARKDOWN)
    assert len(links) > 8
    assert [link for link in links if not (cheat_sheet.SOURCE.parent / link).exists()] == []


def test_each_step_of_the_recipe_has_its_code_its_traps_and_its_check():
    sections = re.split(r"^## ", MARKDOWN, flags=re.M)[1:]
    assert [s[0] for s in sections[:7]] == list("0123456")
    for section in sections[1:6]:
        assert "```python" in section
        assert "**Trap**" in section
        assert "**Check**" in section


def resolve(node: ast.expr, known: dict):
    """The object that a dotted name stands for; None if it is not of a library.

    Raises:
        AttributeError: the library has no such name.
    """
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolve(node.value, known)
        return None if owner is None else getattr(owner, node.attr)
    if isinstance(node, ast.Call):  # what a class makes has the class's attributes
        made = resolve(node.func, known)
        return made if inspect.isclass(made) else None
    return None


def imported(tree: ast.Module) -> dict:
    """Name → object, of all imports."""
    known = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for one in node.names:
                known[one.asname or one.name] = importlib.import_module(one.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            known |= {one.asname or one.name: getattr(module, one.name) for one in node.names}
    return known


def wrong_names(code: str) -> list[str]:
    """Names and arguments in it that the libraries do not have."""
    tree = ast.parse(code)
    known = imported(tree)
    for node in tree.body:  # options = ort.SessionOptions()
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            made = resolve(node.value, known) if isinstance(node.value, ast.Call) else None
            known |= {node.targets[0].id: made} if made else {}
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            try:
                resolve(node, known)
            except AttributeError:
                wrong.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            try:
                parameters = inspect.signature(resolve(node.func, known)).parameters
            except (AttributeError, TypeError, ValueError):  # found above, not known, or in C
                continue
            if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                continue
            wrong += [k.arg for k in node.keywords if k.arg and k.arg not in parameters]
    return wrong


def test_its_code_names_what_the_libraries_have():
    assert len(CODE) == 5
    assert wrong_names("\n".join(CODE)) == []


@pytest.mark.parametrize(
    "typo",
    [
        "options.intra_op_threads",
        "onnx.TensorProto.FLOAT32",
        "quantize_dynamic(proto, 'x', perchannel=True)",
        "torch.onnx.export(model, (), dynamic_shape={})",
        "ir.to_protobuf(model)",
    ],
)
def test_a_name_that_is_wrong_would_be_found(typo):
    assert wrong_names("\n".join([*CODE, typo])) != []


def test_its_calls_are_those_of_the_recipe():
    """Steps 1 to 3 are what the recipe to take home does, which is run by its own tests."""
    recipe = (cheat_sheet.ROOT / "recipes" / "fast_bert.py").read_text(encoding="utf-8")

    def calls(code: str) -> dict[str, set]:
        found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        return {ast.unparse(c.func): {k.arg for k in c.keywords} for c in found}

    theirs = calls(recipe)
    for name in ("torch.onnx.export", "optimize_for_ort", "fold_constants", "quantize_dynamic"):
        (mine,) = [calls(code)[name] for code in CODE if name in calls(code)]
        assert mine <= theirs[name]
        assert theirs[name] - mine <= {"verbose"}


@pytest.mark.built
def test_its_code_runs_and_gives_the_file_of_the_recipe(tmp_path, monkeypatch):
    from tutorial_utils.data import reviews
    from tutorial_utils.graph import inspection
    from tutorial_utils.graph.export import quiet_exporter
    from tutorial_utils.lessons import pipeline
    from tutorial_utils.models import finetuning

    monkeypatch.chdir(tmp_path)
    rows = reviews.encode(reviews.splits().test.texts[:300])
    said = {"model": finetuning.load(), "cores": 1, "rows": rows}
    with quiet_exporter():
        for code in CODE:
            exec(compile(code, "cheat-sheet.md", "exec"), said)
    counts = inspection.op_counts(tmp_path / "model.onnx")
    assert counts["QAttention"] == 6
    ours = pipeline.ensure("int8").stat().st_size
    assert (tmp_path / "model.onnx").stat().st_size == pytest.approx(ours, rel=0.05)
    assert {one.name for one in said["session"].get_inputs()} == set(said["names"])
    assert sorted(i for batch in said["batches"] for i in batch) == list(range(300))
    assert max(len(b) * max(len(rows[i]) for i in b) for b in said["batches"]) <= 1024


def test_its_service_answers_refuses_and_makes_room_again():
    from fastapi.testclient import TestClient

    said: dict = {"label": lambda texts: [text.upper() for text in texts]}
    exec(compile(CODE[-1], "cheat-sheet.md", "exec"), said)
    with TestClient(said["app"]) as client:
        assert client.post("/predict", json=["a", "b"]).json() == ["A", "B"]
        assert said["waiting"] == []
        said["waiting"].extend([[]] * 64)
        refused = client.post("/predict", json=["a"])
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
