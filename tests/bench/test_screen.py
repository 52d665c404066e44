"""What the bench of the annotation screen reads and counts by itself."""

import json
import random

import pytest

from annotation.models.pairs import content_hash
from bench.screen import Floor, used_by_each
from bench.screen_people import Annotator, Reply, UnexpectedReply, percentile
from bench.screen_serving import Spec, family, linked_files, read_stat
from bench.screen_worlds import messages, prompt_text, response_text, statement_kind


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.95, 4), (1.0, 4), (0.0, 1)])
def test_percentile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], share) == value


def test_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 0.95) == 0.0


def test_processor_time_is_read_past_a_name_with_spaces_and_brackets() -> None:
    line = "42 (gunicorn: a) b) S 7 42 42 0 -1 4194560 900 0 0 0 250 50 11 12 20 0 9 0 100 1000 10 18446744073709551615"
    assert read_stat(line, ticks=100) == (7, 3.0)


def test_family_is_a_process_with_all_below_it() -> None:
    assert family({2: 1, 3: 2, 4: 3, 5: 1, 6: 5}, 2) == {2, 3, 4}


def test_a_process_that_came_in_between_has_used_all_its_time() -> None:
    assert used_by_each({1: 2.0, 9: 5.0}, {1: 2.5, 2: 1.0}) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ('SELECT "a"."id" FROM "a" WHERE EXISTS(SELECT 1 FROM "b")', "SELECT a"),
        ('SELECT "a"."id" FROM "a" LIMIT 1 FOR NO KEY UPDATE OF "a" SKIP LOCKED', "LOCK a"),
        ('SELECT COUNT(*) AS "__count" FROM "a"', "COUNT a"),
        ('UPDATE "a" SET "x" = 1', "UPDATE a"),
        ('INSERT INTO "a" ("x") VALUES (1)', "INSERT a"),
        ("SELECT 1", "SELECT"),
    ],
)
def test_statements_are_told_apart_by_what_they_do_and_to_which_table(sql: str, kind: str) -> None:
    assert statement_kind(sql) == kind


def test_files_of_the_site_are_found_once_and_those_of_others_left_out() -> None:
    html = (
        '<link rel="icon" href="/a.svg"><script src="/b.js"></script><link href="https://x/c.css"><link href="/a.svg">'
    )
    assert linked_files(html) == ["/a.svg", "/b.js"]


def test_worlds_of_other_content_have_other_names() -> None:
    specs = [Spec(10), Spec(10, votes=3), Spec(10, history=5), Spec(100)]
    assert len({spec.name for spec in specs}) == len(specs)


def test_texts_have_the_words_the_bench_says_and_are_hashed_as_the_application_does() -> None:
    rng = random.Random(0)
    prompts = [len(prompt_text(rng).split()) for _ in range(300)]
    responses = [len(response_text(rng).split()) for _ in range(300)]
    assert 19 < min(prompts) < 60 < 340 < max(prompts) <= 400
    assert 49 < min(responses) < 90 < 500 < max(responses) < 720
    escaped = json.dumps('say "why"\n\nnow')[1:-1]
    stored = messages("user", escaped)
    assert content_hash(json.loads(stored)) == content_hash([{"role": "user", "content": 'say "why"\n\nnow'}])
    assert stored == json.dumps(json.loads(stored), sort_keys=True, separators=(",", ":"))


def test_a_floor_may_be_a_most_or_a_least() -> None:
    assert Floor("most", 20, 20).kept
    assert not Floor("most", 20, 20.1).kept
    assert Floor("least", 100, 100, at_least=True).kept
    assert not Floor("least", 100, 99.9, at_least=True).kept


class Scripted:
    """A server that says the same whatever it is asked."""

    def __init__(self, status: int, text: str) -> None:
        self.cookies: dict[str, str] = {}
        self.reply = Reply(status, text, len(text), 0, {})

    def get(self, path: str) -> Reply:
        return self.reply

    def post(self, path: str, fields: object, headers: object) -> Reply:
        return self.reply


FORM = (
    '<form action="/annotate/x/0f8fad5b-d9cb-469f-a165-70867728950e/submit/">'
    '<input name="csrfmiddlewaretoken" value="t"><input type="radio" name="answer" value="first2"></form>'
)


def test_a_person_who_gets_the_same_pair_again_says_so() -> None:
    annotator = Annotator(Scripted(200, FORM), "x")
    annotator.open()
    assert [form.fields for form in annotator.hand] == [{"csrfmiddlewaretoken", "answer"}]
    with pytest.raises(UnexpectedReply, match="came again"):
        annotator.submit()


@pytest.mark.parametrize(("status", "text"), [(200, "<p>That was the last one</p>"), (409, FORM), (500, "")])
def test_a_reply_without_a_pair_to_answer_is_an_error(status: int, text: str) -> None:
    with pytest.raises(UnexpectedReply):
        Annotator(Scripted(status, text), "x").open()
