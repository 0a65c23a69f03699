"""Labelled files of users: formats, columns, delimiters, bad rows, and what labels mean."""

import csv
import io
import json
import re
import sys

import hypothesis
import numpy as np
import pyarrow
import pytest
from hypothesis import strategies as st
from pyarrow import parquet

from tutorial_utils import cli
from tutorial_utils.data import labelled, labels
from tutorial_utils.data.labelled import BadData, Columns

NAMES = ("no", "yes")
STARS = ("1", "2", "3", "4", "5")
TEXTS = [f"text {i} of many" for i in range(24)]
ROWS = [(text, i % 2) for i, text in enumerate(TEXTS)]


@pytest.fixture
def read(tmp_path):
    """Write a file and read it as ``labelled.read`` does; ``content`` is text, bytes or rows."""

    def read(content, names=NAMES, task="single_label", *, name="data.csv", **more):
        file = tmp_path / name
        if isinstance(content, list):
            content = delimited(content, ",")
        data = content if isinstance(content, bytes) else content.encode()
        file.write_bytes(data)
        return labelled.read(file, names, task, labelled.Reading(**more))

    return read


def delimited(rows, delimiter, header=("text", "label"), end="\n"):
    return end.join(delimiter.join(map(str, row)) for row in [header, *rows]) + end


def json_lines(rows, keys=("text", "label")):
    return "\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows)


def replaced(at, line, rows=ROWS, delimiter=","):
    """A file in which line ``at`` (from 1, after the header) is another one."""
    lines = delimited(rows, delimiter).splitlines()
    lines[at - 1] = line
    return "\n".join(lines) + "\n"


# Formats.


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", delimited(ROWS, ",")),
        ("a.CSV", delimited(ROWS, ";")),
        ("a.csv", delimited(ROWS, "\t")),
        ("a.csv", delimited(ROWS, "|")),
        ("a.csv", b"\xef\xbb\xbf" + delimited(ROWS, ";", end="\r\n").encode()),
        ("a.csv", delimited(ROWS, ",", end="\r")),
        ("a.csv", "\n" + delimited([(f'"{t}"', f'"{n}"') for t, n in ROWS], ",")),
        ("a.csv", delimited([(t, f" {n} ") for t, n in ROWS], ",", ("text", " label "))),
        ("a.csv", delimited([("", n, t) for t, n in ROWS], ",", ("", "label", '"text"'))),
        ("a.tsv", delimited(ROWS, "\t")),
        ("a.tsv", delimited(ROWS, "\t").replace("\n", "\n\n")),
        ("a.jsonl", json_lines(ROWS)),
        ("a.ndjson", b"\xef\xbb\xbf" + json_lines(ROWS).replace("\n", "\r\n").encode()),
    ],
)  # fmt: skip
def test_each_format_gives_the_same_texts_and_labels(name, content, read):
    found = read(content, name=name)
    assert found.texts == tuple(TEXTS)
    assert found.labels.tolist() == [label for _, label in ROWS]
    assert (found.groups, found.notes, found.reads) == (None, (), "text")


def test_a_delimiter_can_be_given(read):
    assert read(delimited(ROWS, "~"), delimiter="~").texts == tuple(TEXTS)
    with pytest.raises(BadData, match="must be one character, not '::'"):
        read(delimited(ROWS, "::"), delimiter="::")


def test_the_delimiter_is_the_one_that_gives_the_columns_that_are_asked_for(read):
    content = delimited([(f"{t}, really", n) for t, n in ROWS], ";", ("a,b", "label"))
    found = read(content, columns=Columns(text="a,b"))
    assert found.texts[0] == "text 0 of many, really"


def test_fields_may_be_longer_than_the_limit_of_csv(read):
    limit = csv.field_size_limit()
    long = "word, " * 50_000
    found = read(replaced(3, f'"{long}",0'))
    assert found.texts[1] == long
    assert csv.field_size_limit() == limit


def test_files_that_cannot_be_read_are_refused(read, tmp_path):
    with pytest.raises(BadData, match="There is no file"):
        labelled.read(tmp_path / "none.csv", NAMES, "single_label")
    with pytest.raises(BadData, match=r"must end in one of \.csv"):
        read("x", name="a.txt")
    with pytest.raises(BadData, match="is UTF-16, not UTF-8"):
        read(delimited(ROWS, ",").encode("utf-16"))
    with pytest.raises(BadData, match="line 1: it is not JSON"):
        read("[\n" + ",\n".join(json_lines(ROWS).splitlines()) + "]", name="a.jsonl")


def test_parquet_without_pyarrow_names_the_extra(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadData, match=r'pip install "\.\[parquet\]"'):
        read(b"PAR1", name="a.parquet")


def test_parquet_is_read_with_pyarrow(read, tmp_path):
    columns = {"text": [*TEXTS, None], "label": [*(n for _, n in ROWS), 1]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    found = read(content, name="b.parquet", skip_bad_rows=True)
    assert found.texts == tuple(TEXTS)
    assert found.labels.tolist() == [n for _, n in ROWS]
    with pytest.raises(BadData, match=r"1 of 25 rows .* row 25: `text` is missing"):
        read(content, name="b.parquet")
    with pytest.raises(BadData, match="cannot be read as Parquet"):
        read(b"PAR1", name="c.parquet")
    lists = {"text": TEXTS, "label": [[i % 2] for i in range(24)]}
    parquet.write_table(pyarrow.table(lists), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    assert read(content, task="multi_label", name="b.parquet").labels[:2].tolist() == [
        [1, 0], [0, 1],
    ]  # fmt: skip


# Columns.


def test_a_text_pair_column_is_read_without_a_flag(read):
    rows = [(text, text[::-1], label) for text, label in ROWS]
    for name, content in (
        ("a.csv", delimited(rows, ",", ("text", "text_pair", "label"))),
        ("a.jsonl", json_lines(rows, ("text", "text_pair", "label"))),
    ):
        found = read(content, name=name)
        assert found.reads == "pair"
        assert found.texts[1] == ("text 1 of many", "ynam fo 1 txet")


def test_labels_may_be_absent_where_the_task_needs_none(read):
    found = read("text\n" + "\n".join(TEXTS), ("x",), "embedding")
    assert (found.texts, found.labels, found.understood) == (tuple(TEXTS), None, "text")
    # A label says something about a pair only.
    assert read(ROWS, ("x",), "embedding").labels is None
    rows = [(text, text, label) for text, label in ROWS]
    header = ("text", "text_pair", "label")
    found = read(delimited(rows, ",", header), ("x",), "embedding")
    assert found.labels[:2].tolist() == [0, 1]
    unscored = [(first, second) for first, second, _ in rows]
    found = read(delimited(unscored, ",", header[:2]), ("x",), "embedding")
    assert (found.reads, found.labels) == ("pair", None)
    with pytest.raises(BadData, match="no column mood"):
        read(ROWS, ("x",), "embedding", columns=Columns(label="mood"))


def test_columns_are_named_by_flags_and_groups_become_numbers(read):
    rows = [(f"q{i // 4}", text, text, label) for i, (text, label) in enumerate(ROWS)]
    found = read(
        delimited(rows, ",", ("qid", "query", "passage", "relevant")), ("score",), "score",
        columns=Columns("query", "passage", "relevant", "qid"),
    )  # fmt: skip
    assert found.groups.tolist() == [i // 4 for i in range(24)]
    assert found.labels[:2].tolist() == [[0.0], [1.0]]
    assert found.texts[0] == (TEXTS[0], TEXTS[0])
    assert found.understood == "query, passage, relevant, qid; labels as values"
    rows[2] = (" ", *rows[2][1:])
    with pytest.raises(BadData, match="line 4: `qid` is empty"):
        read(
            delimited(rows, ",", ("qid", "query", "passage", "relevant")), ("score",), "score",
            columns=Columns("query", "passage", "relevant", "qid"),
        )  # fmt: skip


def test_groups_of_json_are_numbers_or_text(read):
    rows = [(text, label, [0, "0", 1, "1"][i % 4]) for i, (text, label) in enumerate(ROWS)]
    found = read(
        json_lines(rows, ("text", "label", "q")), ("s",), "score", name="a.jsonl",
        columns=Columns(group="q"),
    )  # fmt: skip
    assert found.groups[:4].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("sentence,label", Columns(),
         "has no column text; it has sentence, label. Say what to read: --text COLUMN."),
        ("review,sentiment", Columns(),
         "no column text or label; .* --text COLUMN --label COLUMN"),
        ("Text,Label", Columns(), "it has Text, Label"),
        ("my text,label", Columns(text="my  text"), "it has my text, label"),
        ("a,b", Columns(), r"--text COLUMN --label COLUMN\. A CSV file must name"),
        ("text~label", Columns(), "it has text~label.* --delimiter says what separates them"),
        ("text,label", Columns(pair="other"), "no column other; it has text, label"),
        ("text,label", Columns(group="qid"), "no column qid"),
        ("text;label", Columns(label="y"), "no column y; it has text, label"),
        ("text,label,text", Columns(), "two columns text"),
        ("premise,hypothesis,label", Columns(text="premise"),
         "a second text, hypothesis, which would be left out. Read it with --pair hypothesis"),
        ("text,sentence2,label", Columns(), "--pair sentence2"),
        ("query,passage,label", Columns(), "Say what to read: --text query --pair passage"),
        ("Question,My Answer,Answer,rel", Columns(), "--label COLUMN --text Question --pair Answer|"
         "--text Question --label COLUMN --pair Answer"),
        ("query,passage,label", Columns("query"), "a second text, passage, .* --pair passage"),
        ("text,textB,label", Columns(), "--pair textB"),
        ("Text,Text_Pair,Label", Columns("Text", label="Label"), "--pair Text_Pair"),
        ("", Columns(), r"data\.csv is empty"),
        ("\n \n", Columns(), r"data\.csv is empty"),
    ],
)  # fmt: skip
def test_a_missing_column_is_named_with_those_that_are_there(header, columns, message, read):
    with pytest.raises(BadData, match=message):
        read(f"{header}\n", columns=columns)


@pytest.mark.parametrize(
    "name",
    ["pair", "document", "doc", "answer", "context", "response", "reply", "candidate", "query"],
)
def test_half_of_a_pair_is_not_dropped_in_silence(name, read):
    rows = [(text, f"the other half of {text}", label) for text, label in ROWS]
    content = delimited(rows, ",", ("text", name.upper(), "label"))
    with pytest.raises(BadData, match=f"a second text, {name.upper()}, .* --pair {name.upper()}"):
        read(content)
    found = read(content, columns=Columns(pair=name.upper()))
    assert (found.texts[0], found.notes) == ((TEXTS[0], f"the other half of {TEXTS[0]}"), ())
    for other in ("5", "0.25 kg", "doc-17", "very good"):  # no texts
        rows = [(text, other, label) for text, label in ROWS]
        found = read(delimited(rows, ",", ("text", name, "label")))
        assert (found.texts, found.notes) == (tuple(TEXTS), ())


def test_columns_with_texts_that_are_not_used_are_told(read):
    header = ("id", "at", "text", "title", "label", "score", "kind", "headline")
    rows = [
        (f"id-{i}", f"2024-01-{i + 1:02} 12:00:{i:02}", text, f"Part {i}: it's great", label,
         i / 7, ("very good", "not bad")[i % 2], f"日本語の文章です{i}")
        for i, (text, label) in enumerate(ROWS)
    ]  # fmt: skip
    told = ("Columns of data.csv that are not used: title, headline.",)
    assert read(delimited(rows, ",", header)).notes == told
    told = ("Columns of a.jsonl that are not used: title, headline.",)
    assert read(json_lines(rows, header), name="a.jsonl").notes == told
    assert read(delimited(rows, ",", header), columns=Columns(pair="headline")).notes == (
        "Columns of data.csv that are not used: title.",
    )
    # Few queries for many texts are texts, and no categories.
    many = [(f"what is number {i // 9}", f"{text} {i}", i % 2) for i in range(900) for text in "t"]
    found = read(delimited(many, ",", ("asked", "text", "label")))
    assert found.notes == ("Columns of data.csv that are not used: asked.",)


# Rows.


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("I paid 10,1,0", "3 fields, but the header names 2. A text that contains ','"),
        ("alone", "1 fields, but the header names 2"),
        (",1", "`text` is empty or has no visible character"),
        ("\u200b \u00ad\ufeff\u3164,1", "no visible character"),
        ("fine,", "`label` is empty"),
        ("fine, ", "`label` is empty"),
        ("fine,maybe", r"label 'maybe' is not among the model's: no, yes"),
        ("fine,7", "label '7' is not among"),
        ("fine,-1", "label '-1' is not among"),
        ("fine,no|yes", r"label 'no\|yes' is not among"),
        ("fine,0|1", r"label '0\|1' is not one label, .* `problem_type` to multi_label_class"),
        ('"tis fine,1', "begins with a quote that does not close"),
        ('"tis" fine,1', "begins with a quote that does not close"),
        (r'"he said \"fine\"",1', "begins with a quote that does not close"),
    ],
)
def test_a_wrong_row_is_named_by_its_line_counted_and_left_out_only_on_demand(line, reason, read):
    content = replaced(8, line)
    with pytest.raises(BadData, match=r"1 of 24 rows cannot be used; the first is line 8") as error:
        read(content)
    assert error.match(reason)
    assert error.match("--skip-bad-rows")
    found = read(content, skip_bad_rows=True)
    assert found.texts == tuple(t for t in TEXTS if t != TEXTS[6])
    assert found.labels.tolist() == [n for i, (_, n) in enumerate(ROWS) if i != 6]
    (note,) = found.notes
    assert note.startswith("1 of 24 rows of data.csv were left out; the first is line 8: ")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "ok \\ud800", "label": 0}', "`text` is not valid Unicode"),
        ('{"text": "ok", "label": "\\ud800"}', r"label '\\ud800' is not among"),
        ('{"text": "x"', "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ('["x", 1]', "it must be an object"),
        ('{"label": 1}', "`text` is missing"),
        ('{"text": null, "label": 1}', "`text` is missing"),
        ('{"text": 7, "label": 1}', "`text` is not text but int"),
        ('{"text": "x"}', "`label` is missing"),
        ('{"text": "x", "label": null}', "`label` is empty"),
        ('{"text": "x", "label": [0, 1]}', "is not one label"),
        ('{"text": "x", "label": {"a": 1}}', "is not among"),
    ],
)
def test_a_wrong_line_of_json_is_named(line, reason, read):
    content = json_lines(ROWS[:5]) + f"\n\n{line}\n" + json_lines(ROWS[5:])
    with pytest.raises(BadData, match=r"1 of 25 rows .* line 7: ") as error:
        read(content, name="a.jsonl")
    assert error.match(reason)
    assert read(content, name="a.jsonl", skip_bad_rows=True).texts == tuple(TEXTS)


def test_lines_are_those_where_rows_begin(read):
    rows = [(f'"text {i}\nover, lines"', n) for i, (_, n) in enumerate(ROWS)]
    content = delimited(rows, ",") + "a,b,c\n"
    assert read(delimited(rows, ",")).texts[3] == "text 3\nover, lines"
    with pytest.raises(BadData, match=f"line {2 + 2 * 24}: 3 fields"):
        read(content)


def test_a_byte_that_is_not_utf8_makes_its_row_wrong(read):
    content = replaced(9, "caf?,1").encode().replace(b"?", b"\xe9")
    with pytest.raises(BadData, match="line 9: `text` is not valid Unicode: a byte is not UTF-8"):
        read(content)
    assert len(read(content, skip_bad_rows=True)) == 23


def test_too_few_texts_are_refused_and_bad_rows_do_not_count(read):
    with pytest.raises(BadData, match="has 19 texts"):
        read(ROWS[:19])
    content = delimited(ROWS[:19], ",") + "fine,maybe\n"
    with pytest.raises(BadData, match=r"19 texts without the bad rows.* line 21: label 'maybe'"):
        read(content, skip_bad_rows=True)


# Quotes.


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('"tis fine\t0', '"tis fine'),
        ('"tis" fine\t0', '"tis" fine'),
        ('5" disks\t0', '5" disks'),
        ('"whole"\t0', "whole"),
        ('"say ""hi"""\t0', 'say "hi"'),
        ('"a\tb"\t"0"', "a\tb"),
        ('"two\nlines"\t0', "two\nlines"),
        ('"\t0', '"'),
    ],
)
def test_a_quote_in_tsv_means_quoting_only_if_its_field_closes(line, text, read):
    found = read(replaced(8, line, delimiter="\t"), name="a.tsv")
    assert found.texts == (*TEXTS[:6], text, *TEXTS[7:])
    assert found.labels.tolist() == [n for _, n in ROWS]


def test_lines_that_an_open_quote_would_swallow_are_kept_in_tsv(read):
    rows = [*ROWS]
    rows[4], rows[9] = ('"tis fine', 0), ('size 5"', 1)
    assert read(delimited(rows, "\t"), name="a.tsv").texts == tuple(t for t, _ in rows)


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ('size 5"', 'size 5"'),
        ('so he said "no"', 'so he said "no"'),
        ('"tis closed"', "tis closed"),
        ("nothing", "nothing"),
    ],
)
def test_lines_that_an_open_quote_would_swallow_are_not_lost_in_csv(end, text, read):
    rows = [*ROWS]
    rows[4], rows[9] = ('"tis fine', 0), (end, 1)
    with pytest.raises(BadData, match=r"1 of 24 rows .* line 6: a field begins with a quote"):
        read(delimited(rows, ","))
    texts = read(delimited(rows, ","), skip_bad_rows=True).texts
    assert texts == (*TEXTS[:4], *TEXTS[5:9], text, *TEXTS[10:])


def test_an_open_quote_of_a_row_without_a_label_swallows_nothing_in_tsv(read):
    rows = [*ROWS]
    rows[9] = ('size 5"', 1)
    content = delimited(rows, "\t").replace(f"{TEXTS[4]}\t0", f'"{TEXTS[4]}')
    with pytest.raises(BadData, match=r"1 of 24 rows .* line 6"):
        read(content, name="a.tsv")


LETTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
DIALECTS = ("excel", "excel-tab", "unix")


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.example(text='"tab\tinside\nnewline"', dialect="excel-tab")
@hypothesis.example(text="a,1\nb", dialect="excel")
@hypothesis.given(text=LETTERS.map(lambda text: f"x{text}"), dialect=st.sampled_from(DIALECTS))
def test_what_csv_writes_is_read_back_or_refused(text, dialect, tmp_path_factory):
    """Texts with quotes, delimiters, ends of lines, and all of Unicode."""
    hypothesis.assume(not re.search(r"\t *[01]\.?0*\s", text))  # a row by itself
    written = io.StringIO(newline="")
    rows = [(TEXTS[0], 0), (text, 1), *ROWS[2:]]
    csv.writer(written, dialect).writerows([("text", "label"), *rows])
    delimiter = csv.get_dialect(dialect).delimiter
    folder = tmp_path_factory.mktemp("written")
    file = folder / ("a.tsv" if delimiter == "\t" else "a.csv")
    file.write_text(written.getvalue(), encoding="utf-8", newline="")
    try:
        found = labelled.read(file, NAMES, "single_label")
    except BadData:
        # A line of a text that may be a row by itself; never anything else.
        assert delimiter in text
        assert {"\n", "\r"} & set(text)
        return
    assert found.texts == tuple(text for text, _ in rows)
    assert found.labels.tolist() == [label for _, label in rows]


# What labels mean.


def labels_of(read, given, names=NAMES, task="single_label", **more):
    """The labels that are read where ``given`` are repeated, from CSV; the first ones."""
    rows = [(text, given[i % len(given)]) for i, text in enumerate(TEXTS)]
    found = read(delimited(rows, ","), names, task, **more)
    return found.labels[: len(given)].tolist()


def test_labels_are_names_or_numbers_throughout_the_file(read):
    assert labels_of(read, ["yes", "no"]) == [1, 0]
    assert labels_of(read, [" Yes", "NO "]) == [1, 0]
    assert labels_of(read, ["1", "0"]) == [1, 0]
    assert labels_of(read, ["1.0", "0.0"]) == [1, 0]
    assert labels_of(read, ["1", "0"], ("0", "1")) == [1, 0]
    assert labels_of(read, ["1", "0"], ("LABEL_0", "LABEL_1")) == [1, 0]
    assert labels_of(read, ["us", "US"], ("US", "us")) == [1, 0]
    assert labels_of(read, ["caf\u00e9", "x"], ("cafe\u0301", "X")) == [0, 1]
    # Mixed: those that are fewer are wrong.
    with pytest.raises(BadData, match=r"8 of 24 rows .* line 4: label '1' is not among"):
        labels_of(read, ["yes", "no", "1"])


def test_json_numbers_and_their_texts_mean_the_same(read):
    for given in ([1, 0], ["1", "0"], [1.0, 0.0], [[1], [0]], [1, "0"]):
        content = json_lines([(text, given[i % 2]) for i, text in enumerate(TEXTS)])
        assert read(content, name="a.jsonl").labels[:2].tolist() == [1, 0]


def test_names_that_are_numbers_are_told_from_numbers_or_refused(read):
    rows = [(text, i % 5) for i, text in enumerate(TEXTS)]
    found = read(rows, STARS)
    assert found.labels[:5].tolist() == [0, 1, 2, 3, 4]
    assert "were read as numbers of the model's: 0 is 1, 1 is 2, 2 is 3, …" in found.notes[0]
    assert labels_of(read, [1, 2, 3, 4, 5], STARS) == [0, 1, 2, 3, 4]
    for given in ([1, 2, 3, 4], [0, 1, 2, 3, 4, 5]):
        with pytest.raises(BadData, match=r"label '1' in line \d is .* --label-map 0=1,1=2,"):
            labels_of(read, given, STARS)
    by_number = {"0": "1", "1": "2", "2": "3", "3": "4", "4": "5"}
    assert labels_of(read, [1, 2, 3, 4], STARS, label_map=by_number) == [1, 2, 3, 4]
    by_name = {str(i): str(i) for i in range(1, 6)}
    assert labels_of(read, [1, 2, 3, 4], STARS, label_map=by_name) == [0, 1, 2, 3]


def test_labels_that_begin_at_1_are_refused_even_without_bad_rows(read):
    with pytest.raises(BadData, match=r"begin at 1, .* --label-map 1=0,2=1"):
        labels_of(read, [1, 2], skip_bad_rows=True)
    assert labels_of(read, [1, 2], label_map={"1": 0, "2": 1}) == [0, 1]


def test_a_label_map_gives_names_numbers_or_values(read):
    for given in ({"neg": "no", "POS": "yes"}, {"neg": 0, "POS": 1}, {"neg": "0", "POS": "1"}):
        assert labels_of(read, ["pos", "NEG"], label_map=given) == [1, 0]
    assert labels_of(read, [1, -1], label_map={"1": 1, "-1": 0}) == [1, 0]
    assert labels_of(read, ["a", "b", "c"], label_map={"a": 0, "b": 1, "c": 1}) == [0, 1, 1]
    with pytest.raises(BadData, match="label 'other' is not in --label-map: neg, pos"):
        labels_of(read, ["neg", "other"], label_map={"neg": 0, "pos": 1})
    with pytest.raises(BadData, match="neither names nor numbers of the model's labels: no, yes"):
        labels_of(read, ["neg", "pos"], label_map={"neg": 0, "pos": "good"})
    mapped = labels_of(
        read, ["low", "high"], ("x",), "regression", label_map={"low": 0.5, "high": "2"}
    )
    assert mapped == [[0.5], [2.0]]
    with pytest.raises(BadData, match="this model needs numbers"):
        labels_of(read, ["low"], ("x",), "score", label_map={"low": "bad"})
    with pytest.raises(BadData, match=r"'low' is not a finite number.* --label-map gives words"):
        labels_of(read, ["low"], ("x",), "score")


def test_a_label_map_is_words_or_a_file(tmp_path):
    assert labels.parse_map("neg=0, pos = 1") == {"neg": "0", "pos": "1"}
    assert labels.parse_map("a=b=1") == {"a=b": "1"}
    file = tmp_path / "map.json"
    file.write_text('{"a,b": 0, "c": "yes"}')
    assert labels.parse_map(str(file)) == {"a,b": "0", "c": "yes"}
    for text in ("neg", "neg=0,", "=1", "neg=", "neg=0,neg=1", str(tmp_path / "none.json")):
        with pytest.raises(BadData, match="Give neg=0,pos=1, or a JSON file") as error:
            labels.parse_map(text)
        assert "unpack" not in str(error.value)
    with pytest.raises(BadData, match=r"--label-map no:0: 'no:0' has no =\. Give neg=0,pos=1"):
        labels.parse_map("no:0")
    for content in ('["a"]', "7", "{", '{"a": 0, "a": 1}', '{"a": ""}'):
        file.write_text(content)
        with pytest.raises(BadData, match="Give neg=0,pos=1, or a JSON file") as error:
            labels.parse_map(str(file))
        assert not re.search("unpack|iterable", str(error.value))


def test_an_empty_label_means_none_of_several(read):
    names = ("a", "b", "c")
    found = labels_of(read, ["", "0", "0|2", "1"], names, "multi_label")
    assert found == [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0]]
    given = [[], "", None, ["a", "c"], ["B"], "a|C"]
    content = json_lines([(text, given[i % 6]) for i, text in enumerate(TEXTS)])
    found = read(content, names, "multi_label", name="a.jsonl").labels[:6].tolist()
    assert found == [[0, 0, 0]] * 3 + [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("given", ["a,b", "a; c", "B / c"])
def test_labels_with_another_separator_are_told_the_right_one(given, read):
    with pytest.raises(BadData, match=f"line 2: label '{given}': several labels are separated by"):
        labels_of(read, [f'"{given}"', "a|b"], ("a", "b", "c"), "multi_label")
    names = ("a", "b", "c", given.casefold())  # it is a label itself
    assert labels_of(read, [f'"{given}"', "a"], names, "multi_label")[0] == [0, 0, 0, 1]


def test_several_labels_for_a_model_of_one_name_the_field_for_several(read):
    told = "is not one label, .* `problem_type` to multi_label_classification in config.json"
    with pytest.raises(BadData, match=rf"line 2: label 'a\|b' {told}"):
        labels_of(read, ["a|b", "c"], ("a", "b", "c"))
    content = json_lines([(text, ["a", "b"]) for text in TEXTS])
    with pytest.raises(BadData, match=rf"line 1: label \['a', 'b'\] {told}"):
        read(content, ("a", "b", "c"), name="a.jsonl")


def test_0_or_1_for_each_label_is_not_taken_for_numbers_of_labels(read):
    for width, given in ((3, [[0, 1, 0], [1, 0, 1]]), (2, [[0, 1], [1, 1]])):
        content = json_lines([(text, given[i % 2]) for i, text in enumerate(TEXTS)])
        with pytest.raises(BadData, match="holds a label twice"):
            read(content, tuple("abc"[:width]), "multi_label", name="a.jsonl")


def test_names_may_contain_the_separator(read):
    assert labels_of(read, ["yes|no", "other"], ("yes|no", "other")) == [0, 1]
    names = ("yes|no", "other", "a|b|c")
    found = labels_of(read, ["yes|no", "a|b|c|other", "other | yes|no"], names, "multi_label")
    assert found == [[1, 0, 0], [0, 1, 1], [1, 1, 0]]
    with pytest.raises(BadData, match=r"line 2: 'a\|b' can be separated in two ways"):
        labels_of(read, ["a|b", "a"], ("a", "b", "a|b"), "multi_label")


@pytest.mark.parametrize(
    ("task", "names", "given"),
    [
        ("single_label", NAMES, ["yes"]),
        ("single_label", NAMES, ["0"]),
        ("multi_label", NAMES, [""]),
        ("multi_label", NAMES, ["yes|no"]),
        ("score", ("x",), ["0"]),
    ],
)
def test_data_with_one_label_only_is_refused(task, names, given, read):
    with pytest.raises(BadData, match="all texts have the same label"):
        labels_of(read, given, names, task)


def test_groups_in_which_any_order_is_right_are_refused(read):
    def grouped(groups, relevance):
        rows = [(t, groups(i), relevance(i)) for i, t in enumerate(TEXTS)]
        content = delimited(rows, ",", ("text", "qid", "label"))
        return read(content, ("x",), "score", columns=Columns(group="qid"))

    assert grouped(lambda i: i // 4, lambda i: i % 3).labels[:3].tolist() == [[0], [1], [2]]
    for groups, relevance in ((lambda i: i, lambda i: i % 2), (lambda i: i % 2, lambda i: i % 2)):
        with pytest.raises(BadData, match="no group has texts of different relevance"):
            grouped(groups, relevance)
    with pytest.raises(BadData, match="a degree of relevance is below 0"):
        grouped(lambda i: i // 4, lambda i: i % 3 - 1)


def test_names_that_cannot_be_told_apart_are_no_words(read):
    assert labels_of(read, ["b", "c"], ("a ", "a", "b", "c")) == [2, 3]
    with pytest.raises(BadData, match="label 'a' is not among"):
        labels_of(read, ["b", "a"], ("a ", "a", "b", "c"))


def test_values_of_a_regression(read):
    assert labels_of(read, ["0.5", " 1e3 "], ("x",), "regression") == [[0.5], [1000.0]]
    assert labels_of(read, ["1|2", "3|-4"], ("x", "y"), "regression") == [[1, 2], [3, -4]]
    for wrong, reason in (
        ("nan", "is not a finite number"),
        ("0,5", "'0,5' is not a number: use a decimal point, not a comma"),
        ("-1,9", "'-1,9' is not a number: use a decimal point, not a comma"),
        ("1.9 points", "is not a finite number"),
        ("", "is not a finite number"),
        ("1|2", r"is not 1 number\(s\)"),
    ):
        with pytest.raises(BadData, match=f"line 3: .*{reason}"):
            labels_of(read, ["0.5", f'"{wrong}"'], ("x",), "regression")
    with pytest.raises(BadData, match="all labels of target 1 are the same number"):
        labels_of(read, ["1|2", "3|2"], ("x", "y"), "regression")


# The command.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--text", "body"], "need --data"),
        (["--skip-bad-rows"], "need --data"),
        (["--data", "none.csv", "--label-map", "a"], "Give neg=0,pos=1"),
    ],
)
def test_flags_that_cannot_work_end_with_code_2(flags, message, tmp_path, capsys):
    assert cli.main(["optimize", str(tmp_path), "--out", str(tmp_path / "out"), *flags]) == 2
    assert message in capsys.readouterr().err


def test_all_labels_are_integers_or_floats(read):
    assert read(ROWS).labels.dtype == np.int64
    assert read(ROWS, ("x",), "score").labels.dtype == np.float64
