"""Bad values and bad files: a message with line and field; nothing half-written, on either database."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.models import Pair, Preference, Project, Prompt
from tests.builders import make_project
from tests.importing_files import CONTAINERS, jsonl_bytes, pair, run, skipping, table_bytes

pytestmark = pytest.mark.django_db

NESTED: Any = "x"
for _ in range(40):
    NESTED = [NESTED]

# What a column may hold that is no response, and a part of the reason given.
BAD_RESPONSES: dict[str, tuple[Any, str]] = {
    "null": (None, "is missing"),
    "true": (True, "is true or false"),
    "number": (3, "is a number"),
    "float": (0.5, "is a number"),
    "empty list": ([], "list without a message"),
    "list of texts": (["x"], "not a message with role and content"),
    "no content": ([{"role": "assistant"}], "is missing"),
    "content null": ([{"role": "assistant", "content": None}], "is null, not a text"),
    "unknown role": ([{"role": "narrator", "content": "x"}], "is no known role"),
    "user first": ([{"role": "user", "content": "x"}], "begins with a message of the role 'user'"),
    "user inside": (
        [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],
        "holds a message that is not the model's",
    ),
    "same as the other": ("Blue.", "nothing to compare"),
    "NUL": ("a\x00b", "NUL (position 2)"),
    "surrogate": ("ab\ud83d", "U+D83D, position 3"),
    "nested": (NESTED, "levels deep"),
    "image": ([{"role": "assistant", "content": [{"type": "image", "url": "x"}]}], "not a text"),
}

BAD_FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no prompt": ({"prompt": None}, "prompt", "is missing"),
    "empty prompt": ({"prompt": "  \n"}, "prompt", "is empty"),
    "prompt a number": ({"prompt": 5}, "prompt", "is a number"),
    "only a system message": ({"prompt": [{"role": "system", "content": "x"}]}, "prompt", "is empty"),
    "prompt with NUL": ({"prompt": "a\x00"}, "prompt", "NUL"),
    "role in prompt": ({"prompt": [{"role": "wizard", "content": "x"}]}, "prompt[0].role", "'wizard' is no known role"),
    "id empty": ({"id": ""}, "id", "is empty"),
    "id true": ({"id": True}, "id", "is true or false"),
    "id fraction": ({"id": 1.5}, "id", "is a number"),
    "id long": ({"id": "x" * 201}, "id", "201 characters long; the limit is 200"),
    "id with NUL": ({"id": "a\x00"}, "id", "NUL"),
    "source long": ({"source": "x" * 201}, "source", "limit is 200"),
    "meta a list": ({"meta": []}, "meta", "is a list, not an object"),
    "group long": ({"meta": {"group": "x" * 201}}, "group", "limit is 200"),
    "language long": ({"meta": {"language": "x" * 17}}, "language", "limit is 16"),
    "model a list": ({"meta": {"model_a": []}}, "model_a", "is a list"),
    "meta huge number": ({"meta": {"n": 2**63}}, "meta.n", "beyond 64 bits"),
    "meta NUL inside": ({"meta": {"n": ["\x00"]}}, "meta.n[0]", "NUL"),
    "meta surrogate key": ({"meta": {"\ud800": 1}}, "meta (a key)", "surrogate"),
    "column with NUL": ({"a\x00": 1}, "(a key)", "NUL"),
    "reference a list": ({"reference": []}, "reference", "is a list"),
    "human an object": ({"human": {}}, "human", "not a list of people's answers"),
    "human a text": ({"human": ["a"]}, "human[0]", "is a text, not an object"),
    "annotator missing": ({"human": [{"choice": "a"}]}, "human[0].annotator", "is missing"),
    "annotator long": ({"human": [{"annotator": "x" * 201, "choice": "a"}]}, "human[0].annotator", "limit is 200"),
    "annotator twice": (
        {"human": [{"annotator": "w", "choice": "a"}, {"annotator": "w", "choice": "a"}]},
        "human[1].annotator", "a second time",
    ),
    "choice missing": ({"human": [{"annotator": "w"}]}, "human[0].choice", "is missing"),
    "choice unknown": ({"human": [{"annotator": "w", "choice": "A"}]}, "human[0].choice", "'A' is no choice"),
    "strength a text": (
        {"human": [{"annotator": "w", "choice": "a", "strength": "2"}]}, "human[0].strength", "not a number",
    ),
    "rationale a list": (
        {"human": [{"annotator": "w", "choice": "a", "rationale": []}]}, "human[0].rationale", "is a list",
    ),
    "swapped a number": (
        {"human": [{"annotator": "w", "choice": "a", "shown_swapped": 1}]},
        "human[0].shown_swapped", "not true or false",
    ),
    "ratings of one": (
        {"human": [{"annotator": "w", "choice": "a", "ratings": {"x": [1]}}]}, "human[0].ratings.x", "two scores",
    ),
    "rating a text": (
        {"human": [{"annotator": "w", "choice": "a", "ratings": {"x": [1, "2"]}}]},
        "human[0].ratings.x[1]", "not a number",
    ),
    "criterion unknown choice": (
        {"human": [{"annotator": "w", "choice": "a", "criteria": {"x": "c"}}]}, "human[0].criteria.x", "is no choice",
    ),
    "criterion name long": (
        {"human": [{"annotator": "w", "choice": "a", "criteria": {"x" * 121: "a"}}]},
        "human[0].criteria." + "x" * 121, "limit is 120",
    ),
}  # fmt: skip


@pytest.fixture
def project() -> Project:
    return make_project(with_people=False)


@pytest.mark.parametrize("container", ["pairs.jsonl", "pairs.json", "pairs.jsonl.gz", "pairs.json.gz"])
@pytest.mark.parametrize("value", list(BAD_RESPONSES))
def test_bad_response_is_named_by_line_and_field(project: Project, tmp_path: Path, value: str, container: str) -> None:
    bad, reason = BAD_RESPONSES[value]
    records = [pair(), pair(id="p2", response_b="Blue.", response_a=bad), pair(id="p3", prompt="Another?")]
    content = CONTAINERS[container](records)
    refused = run(project, tmp_path, content, name=container)
    assert refused.refused
    assert not Prompt.objects.exists()
    report = skipping(project, tmp_path, content, name=container)
    assert (report.added, report.rejected_count) == (2, 1)
    (row,) = report.rejected
    assert row.field.startswith("response_")
    assert reason in row.reason
    plain = gzip.decompress(content) if container.endswith(".gz") else content
    ends = [n for n, line in enumerate(plain.decode().split("\n"), 1) if '"p2"' in line]
    assert row.line == (ends[0] if "jsonl" in container else ends[0] - 1)


@pytest.mark.parametrize("value", list(BAD_FIELDS))
def test_bad_field_is_named_by_its_path(project: Project, tmp_path: Path, value: str) -> None:
    change, field, reason = BAD_FIELDS[value]
    report = skipping(project, tmp_path, [pair(id="good"), {**pair(), **change}])
    assert (report.added, report.rejected_count) == (1, 1)
    row = report.rejected[0]
    assert (row.line, row.field) == (2, field)
    assert reason in row.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{'prompt': 1}", "not valid JSON"),
        (b'{"prompt": "x"', "not valid JSON"),
        (b'{"a": 1} {"a": 2}', "more than one JSON value on the line (column 10)"),
        (b'{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e400}', "not finite"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": 9223372036854775808}', "beyond 64 bits"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", "levels deep"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": "\x00"}', "not valid JSON"),
        (b'{"a": "caf\xe9"}', "not UTF-8: byte 0xE9 at position 11"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b"[1, 2]", "this is a list"),
        (b"null", "this is null"),
        (b'"text"', "this is a text"),
        (b"// comment", "not valid JSON"),
        (b'{"prompt": "Q", "response_a": "' + b"x" * 2000 + b'", "response_b": "y"}', "bytes long; the limit is 1,500"),
    ],
)
def test_bad_line_is_listed_and_its_neighbours_are_stored(
    project: Project, tmp_path: Path, settings: Any, line: bytes, reason: str
) -> None:
    if b"x" * 2000 in line:
        settings.IMPORT_LINE_LIMIT_BYTES = 1500
    content = jsonl_bytes([pair()]) + b"\n" + line + b"\n" + jsonl_bytes([pair(id="p2", prompt="Last?")]).rstrip()
    report = skipping(project, tmp_path, content)
    assert (report.added, report.rejected_count, report.rows) == (2, 1, 3)
    assert report.rejected[0].line == 3
    assert reason in report.rejected[0].reason


GOOD = jsonl_bytes([pair()])
GOOD_ARRAY = json.dumps([pair(), pair(id="p2", prompt="Q?")]).encode()
GOOD_TABLE = table_bytes([pair(), pair(id="p2", prompt="Q?")], ",")
PARQUET = CONTAINERS["pairs.parquet"]([pair()])

BAD_FILES: dict[str, tuple[bytes, str, str]] = {
    "zero bytes": (b"", "p.jsonl", "the file is empty"),
    "blank lines": (b"\n\n \n", "p.jsonl", "holds no rows"),
    "empty array": (b"[]", "p.json", "holds no rows"),
    "header only": (b"prompt,response_a,response_b\n", "p.csv", "holds no rows"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "p.jsonl", "encoded in UTF-16"),
    "UTF-16 without mark": (GOOD.decode().encode("utf-16-le"), "p.jsonl", "encoded in UTF-16"),
    "UTF-32": (GOOD.decode().encode("utf-32"), "p.jsonl", "encoded in UTF-32"),
    "ZIP": (b"PK\x03\x04rest", "p.jsonl", "a ZIP archive"),
    "pickle": (b"\x80\x04\x95rest", "p.jsonl", "a Python pickle, which is never opened"),
    "unknown": (b"hello there", "p.txt", "cannot tell what the file is"),
    "JSON that is none": (b"hello", "p.json", "begins with"),
    "object over lines": (b'{\n "data": []\n}', "p.json", "one JSON object over several lines"),
    "gzip cut off": (gzip.compress(GOOD * 100, mtime=0)[:-20], "p.jsonl.gz", "cut off"),
    "gzip damaged": (gzip.compress(GOOD, mtime=0)[:-8] + b"\x00" * 8, "p.jsonl.gz", "damaged"),
    "gzip twice": (gzip.compress(gzip.compress(GOOD), mtime=0), "p.jsonl.gz", "compressed twice"),
    "array cut off": (GOOD_ARRAY[:-1], "p.json", "the file ends where"),
    "array cut off inside": (GOOD_ARRAY[:-9], "p.json", "not valid JSON"),
    "array with a comma too many": (GOOD_ARRAY[:-1] + b",", "p.json", "the file ends inside the list"),
    "array without a comma": (b'[{"a": 1} {"a": 2}]', "p.json", "where ',' or ']' belongs"),
    "array and more": (GOOD_ARRAY + b" []", "p.json", "something follows"),
    "array with a doubled key": (b'[{"a": 1, "a": 2}]', "p.json", "the key 'a' occurs twice"),
    "array with NaN": (b'[{"a": NaN}]', "p.json", "NaN is not JSON"),
    "array in Latin-1": (b'[{"a": "caf\xe9"}]', "p.json", "not UTF-8: byte 0xE9"),
    "nested array": (b"[" * 100_000, "p.json", "nested too deeply"),
    "table in Latin-1": (GOOD_TABLE + b"caf\xe9,a,b,c\n", "p.csv", "not UTF-8"),
    "table with an open quote": (GOOD_TABLE + b'p3,"open,a,b\n', "p.csv", "not a well-formed table"),
    "table with CR only": (GOOD_TABLE.replace(b"\r\n", b"\r"), "p.csv", "not a well-formed table"),
    "table with a doubled column": (b"prompt,a,a\nx,y,z\n", "p.csv", "the header names 'a' twice"),
    "table with too many columns": (b"a," * 1001 + b"b\n", "p.csv", "the limit is 1,000"),
    "Parquet cut off": (PARQUET[:-20], "p.parquet", "not a readable Parquet file"),
    "Parquet that is none": (GOOD, "p.parquet", "does not begin with PAR1"),
    "Parquet with a broken middle": (PARQUET[:40] + b"\xff" * 60 + PARQUET[100:], "p.parquet", "Parquet"),
}


@pytest.mark.parametrize("case", list(BAD_FILES))
def test_bad_file_is_refused_whole_even_when_bad_rows_may_be_skipped(
    project: Project, tmp_path: Path, case: str
) -> None:
    content, name, reason = BAD_FILES[case]
    report = skipping(project, tmp_path, content, name=name)
    assert report.refused
    assert reason in report.rejected[-1].reason
    assert not Prompt.objects.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\xef\xbb\xbf" + GOOD, "p.jsonl"),
        (GOOD.rstrip(), "p.jsonl"),
        (GOOD.replace(b"\n", b"\r\n"), "p.jsonl"),
        (b"\n\n" + GOOD, "p.ndjson"),
        (GOOD, "no-extension"),
        (GOOD, "misnamed.jsonl.gz"),
        (gzip.compress(GOOD, mtime=0), "misnamed.jsonl"),
        (gzip.compress(GOOD[:50], mtime=0) + gzip.compress(GOOD[50:], mtime=0), "members.jsonl.gz"),
        (b"\xef\xbb\xbf \n" + json.dumps([pair()], indent=2).encode(), "array-called.jsonl"),
        (b"\xef\xbb\xbf" + table_bytes([pair()], ","), "p.csv"),
        (b"id,prompt,response_a,response_b,\r\np1,Q,x,y,0\r\n", "unnamed-column.csv"),
        (PARQUET, "p.bin"),
    ],
)
def test_odd_but_sound_file_is_read(project: Project, tmp_path: Path, content: bytes, name: str) -> None:
    report = run(project, tmp_path, content, name=name)
    assert (report.added, report.rejected) == (1, [])


def test_ragged_row_is_listed_and_the_rest_stored(project: Project, tmp_path: Path) -> None:
    report = skipping(project, tmp_path, GOOD_TABLE + b"p3,short\r\n", name="p.csv")
    assert report.added == 2
    assert (report.rejected[0].line, report.rejected[0].reason) == (4, "the row has 2 fields, the header has 4")


def test_line_of_a_table_row_is_where_it_starts(project: Project, tmp_path: Path) -> None:
    content = table_bytes([pair(response_a="three\nlines\nhere"), pair(id="p2", prompt="")], ",")
    report = skipping(project, tmp_path, content, name="p.csv")
    assert [(row.line, row.field) for row in report.rejected] == [(5, "prompt")]


def test_long_line_is_refused_without_being_held_in_memory(project: Project, tmp_path: Path, settings: Any) -> None:
    settings.IMPORT_LINE_LIMIT_BYTES = 1024**2
    path = tmp_path / "long.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"prompt": "')
        for _ in range(50):
            file.write(bytes(range(97, 123)) * 40_000)
        file.write(b'"}\n' + GOOD)
    report = skipping(project, tmp_path, path.read_bytes(), name="long.jsonl.gz")
    assert report.added == 1
    assert report.rejected[0].reason == "the line is 52,000,015 bytes long; the limit is 1,048,576"


def test_gzip_bomb_is_refused_before_a_row_is_read(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=6) as file:
        for _ in range(100):
            file.write(b'{"a": 1}\n' * 100_000)
    report = skipping(project, tmp_path, path.read_bytes(), name="bomb.jsonl.gz")
    assert (report.rows, report.refused) == (0, True)
    assert "it is a bomb" in report.rejected[0].reason


@pytest.mark.parametrize("name", ["p.json", "p.csv", "p.parquet"])
def test_long_record_is_refused_in_every_format(project: Project, tmp_path: Path, settings: Any, name: str) -> None:
    settings.IMPORT_LINE_LIMIT_BYTES = 100_000
    content = CONTAINERS[f"pairs.{name[2:]}"]([pair(response_a="x" * 3_000_000)])
    report = skipping(project, tmp_path, content, name=name)
    assert report.refused
    assert "100,000" in report.rejected[0].reason


JSON_TEXT = st.text(st.characters(), max_size=60) | st.text(
    st.sampled_from("\x00\x01\u2028\ud800\udfff\r\n\t \u0301é👍"), max_size=8
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=JSON_TEXT, response=JSON_TEXT, ascii_only=st.booleans(), array=st.booleans())
def test_text_is_stored_byte_exact_or_refused(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, response: str, ascii_only: bool, array: bool
) -> None:
    record = pair(prompt=f"Q {prompt}", response_a=response, response_b="something else", meta={"note": response})
    project, _ = Project.objects.get_or_create(slug="fuzz", defaults={"title": "Fuzz"})
    project.prompts.all().delete()
    text = json.dumps([record] if array else record, ensure_ascii=ascii_only)
    content = text.encode("utf-8", "surrogatepass")
    report = run(project, tmp_path_factory.mktemp("fuzz"), content, name="p.json" if array else "p.jsonl")
    storable = not any("\ud800" <= sign <= "\udfff" or sign == "\x00" for sign in prompt + response)
    if storable:
        stored = Pair.objects.with_texts().get(project=project)
        assert (stored.prompt.messages[0]["content"], stored.response_a.text) == (f"Q {prompt}", response)
        assert stored.meta == {"note": response}
    elif report.refused:
        assert not Pair.objects.filter(project=project).exists()
    else:
        # Two halves that were written as escapes next to each other are one character when they are read.
        stored = Pair.objects.with_texts().get(project=project)
        joined = response.encode("utf-16", "surrogatepass").decode("utf-16")
        assert stored.response_a.text == joined


def test_empty_response_is_kept(project: Project, tmp_path: Path) -> None:
    run(project, tmp_path, [pair(response_a="")])
    assert Pair.objects.with_texts().get().response_a.text == ""
    assert not Preference.objects.exists()
