"""Every shape of record that is read, and what it becomes."""

from pathlib import Path
from typing import Any

import pytest

from annotation.errors import AnnotationError
from annotation.models import Origin, Pair, Preference, Project, Prompt, RaterKind
from tests.builders import make_project
from tests.importing_files import CONTAINERS, pair, run, skipping

pytestmark = pytest.mark.django_db

USER = {"role": "user", "content": "Name a colour."}
RED = {"role": "assistant", "content": "Red."}
BLUE = {"role": "assistant", "content": "Blue."}


@pytest.fixture
def project() -> Project:
    return make_project(with_people=False)


def chosen_text() -> str:
    """Return the text of the response that the only preference prefers."""
    preference = Preference.objects.get()
    side = preference.pair.response_a if preference.choice == "a" else preference.pair.response_b
    return side.text


@pytest.mark.parametrize("name", list(CONTAINERS))
def test_two_responses_are_read_from_every_container(project: Project, tmp_path: Path, name: str) -> None:
    texts = ['"Quoted", with\r\nbreaks and\ttabs', "Ünïcode 漢字 👩‍👩‍👧 \u2028 end", "", " leading and trailing "]
    records = [
        pair(id=f"p{number}", prompt=f"Question {number}?", response_a=text, response_b="Another.")
        for number, text in enumerate(texts)
    ]
    report = run(project, tmp_path, CONTAINERS[name](records), name=name)
    assert (report.rows, report.added, report.rejected) == (4, 4, [])
    stored = Pair.objects.in_project(project).with_texts()
    assert [(item.external_id, item.response_a.text) for item in stored] == [
        (f"p{number}", text) for number, text in enumerate(texts)
    ]


def test_own_record_gives_raters_preferences_ratings_and_meta(project: Project, tmp_path: Path) -> None:
    human = [
        {
            "annotator": "w1", "choice": "a", "strength": 2, "rationale": "Warmer.", "shown_swapped": True,
            "time_spent": 12.5, "criteria": {"style": "tie"}, "ratings": {"style": [3, 4], "truth": [1, None]},
            "ranks": {"overall": [1, 2]},
        },
        {"annotator": "w2", "choice": "tie", "strength": 0, "shown_swapped": False},
    ]  # fmt: skip
    meta = {"group": "g1", "category": "colours", "model_a": "m1", "model_b": "m2", "language": "en", "batch": 7}
    report = run(project, tmp_path, [pair(source="set", human=human, judges=[], meta=meta, context="C", reference="R")])
    assert (report.added, report.preferences, report.ratings) == (1, 3, 3)
    stored = Pair.objects.with_texts().get()
    assert (stored.source, stored.meta) == ("set", {"batch": 7})
    assert (stored.response_a.model, stored.response_b.model) == ("m1", "m2")
    prompt = stored.prompt
    assert (prompt.group, prompt.category, prompt.language, prompt.context, prompt.reference) == (
        "g1", "colours", "en", "C", "R",
    )  # fmt: skip
    first, second = Preference.objects.counted().order_by("rater__name")
    assert (first.rater.kind, first.rater.origin) == (RaterKind.PERSON, Origin.RECORDED)
    assert (first.choice, first.strength, first.shown_order, first.seconds, first.rationale) == (
        "a", 2, "ba", 12.5, "Warmer.",
    )  # fmt: skip
    assert first.meta == {"ranks": {"overall": [1, 2]}}
    assert (second.strength, second.shown_order, second.meta) == (None, "ab", {"strength": 0})
    assert any("strength outside 1 to 3" in note and "1 row" in note for note in report.notes)
    style = project.criteria.get(name="style")
    assert (style.scale_min, style.scale_max) == (3, 4)
    assert Preference.objects.get(criterion=style).choice == "tie"
    assert list(stored.ratings.order_by("value").values_list("value", "response__messages__0__content")) == [
        (1, "Red."), (3, "Red."), (4, "Blue."),
    ]  # fmt: skip


def test_group_is_the_prompts_content_where_none_is_given(project: Project, tmp_path: Path) -> None:
    run(project, tmp_path, [pair(), pair(id="p2", response_b="Green."), pair(id="p3", group="story-2")])
    assert Pair.objects.count() == 3
    groups = {prompt.group for prompt in Prompt.objects.all()}
    assert groups == {"story-2", Prompt.objects.exclude(group="story-2").get().content_hash}


CHOSEN_SHAPES: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "Name a colour.", "chosen": "Red.", "rejected": "Blue."},
    "messages": {"prompt": [USER], "chosen": [RED], "rejected": [BLUE]},
    "one message a side": {"messages": [USER], "chosen": RED, "rejected": BLUE},
    "implicit prompt": {"chosen": [USER, RED], "rejected": [USER, BLUE]},
    "prompt as text and whole conversations": {
        "prompt": "Name a colour.",
        "chosen": [USER, RED],
        "rejected": [USER, BLUE],
    },
    "transcripts": {
        "chosen": "\n\nHuman: Name a colour.\n\nAssistant: Red.",
        "rejected": "\n\nHuman: Name a colour.\n\nAssistant: Blue.",
    },
    "sharegpt": {
        "conversations": [{"from": "human", "value": "Name a colour."}],
        "chosen": {"from": "gpt", "value": "Red."},
        "rejected": {"from": "gpt", "value": "Blue."},
    },
    "alpaca": {"instruction": "Name a colour.", "input": "", "chosen": "Red.", "rejected": "Blue."},
}


@pytest.mark.parametrize("shape", list(CHOSEN_SHAPES))
def test_chosen_and_rejected_become_a_pair_with_a_recorded_label(project: Project, tmp_path: Path, shape: str) -> None:
    report = run(project, tmp_path, [CHOSEN_SHAPES[shape]])
    assert (report.added, report.preferences, report.rejected) == (1, 1, [])
    stored = Pair.objects.with_texts().get()
    assert stored.prompt.messages == [USER]
    assert {stored.response_a.text, stored.response_b.text} == {"Red.", "Blue."}
    assert chosen_text() == "Red."
    rater = Preference.objects.get().rater
    assert (rater.name, rater.kind, rater.origin) == ("imported label", RaterKind.PERSON, Origin.RECORDED)


def test_stored_order_does_not_follow_the_label(project: Project, tmp_path: Path) -> None:
    records = [{"prompt": f"Question {n}?", "chosen": f"Good {n}.", "rejected": f"Bad {n}."} for n in range(200)]
    run(project, tmp_path, records)
    chosen_is_a = Preference.objects.filter(choice="a").count()
    # 200 fair draws lie in 70..130 but for one in 50,000.
    assert 70 < chosen_is_a < 130
    other = make_project("flipped", with_people=False)
    run(other, tmp_path, [{"prompt": r["prompt"], "chosen": r["rejected"], "rejected": r["chosen"]} for r in records])
    assert [p.response_a.text for p in Pair.objects.in_project(project)] == [
        p.response_a.text for p in Pair.objects.in_project(other)
    ]


def test_alpaca_joins_input_history_and_system(project: Project, tmp_path: Path) -> None:
    record = {"instruction": "Translate.", "input": "Rot", "system": "Be brief.", "history": [["Hi", "Hello"]]}
    run(project, tmp_path, [{**record, "chosen": "Red.", "rejected": "Blue."}])
    assert [(m["role"], m["content"]) for m in Prompt.objects.get().messages] == [
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Translate.\nRot"),
    ]  # fmt: skip


def test_transcript_keeps_earlier_turns_and_spaces(project: Project, tmp_path: Path) -> None:
    start = "\n\nHuman: One\n\nAssistant:  Two \n\nHuman: Three\n\nAssistant:"
    run(project, tmp_path, [{"chosen": f"{start} Yes\n\nno mark", "rejected": start}])
    assert [m["content"] for m in Prompt.objects.get().messages] == ["One", " Two ", "Three"]
    assert chosen_text() == "Yes\n\nno mark"


def test_label_of_a_judge_is_offered_as_a_judgement_and_not_as_a_persons(project: Project, tmp_path: Path) -> None:
    report = run(project, tmp_path, [CHOSEN_SHAPES["texts"]], field_map={"judge": "=gpt-4"})
    assert (report.added, report.preferences) == (1, 0)


def test_completions_make_all_pairs_with_labels_from_ranks(project: Project, tmp_path: Path) -> None:
    record = {"id": "c", "prompt": "Q?", "completions": ["x", "y", "z"], "ranks": [2, 1, 2], "models": ["m", "n", "o"]}
    report = run(project, tmp_path, [record])
    assert (report.rows, report.added, report.preferences) == (1, 3, 3)
    labels = {}
    for preference in Preference.objects.select_related("pair__response_a", "pair__response_b"):
        a, b = preference.pair.response_a.text, preference.pair.response_b.text
        labels[frozenset((a, b))] = {"a": a, "b": b}.get(preference.choice, preference.choice)
    assert labels == {frozenset("xy"): "y", frozenset("yz"): "y", frozenset("xz"): "tie"}
    assert sorted(Pair.objects.values_list("external_id", flat=True)) == ["c#1", "c#2", "c#3"]


def test_completions_make_adjacent_pairs_by_score_when_asked(project: Project, tmp_path: Path) -> None:
    record = {
        "prompt": "Q?",
        "responses": [{"text": t, "score": s, "model": t} for t, s in (("x", 1), ("y", 9), ("z", 5))],
    }
    report = run(project, tmp_path, [record], field_map={"pairing": "adjacent"})
    assert report.added == 2
    assert {frozenset((p.response_a.text, p.response_b.text)) for p in Pair.objects.with_texts()} == {
        frozenset("yz"), frozenset("zx"),
    }  # fmt: skip


def test_completions_with_the_same_text_make_no_pair_and_say_so(project: Project, tmp_path: Path) -> None:
    report = run(project, tmp_path, [{"prompt": "Q?", "completions": ["x", "x", "y"]}])
    assert report.added + report.already_there == 2
    assert any("same text is left out" in note for note in report.notes)


def test_map_joins_prompts_and_makes_each_choice_column_a_person(project: Project, tmp_path: Path) -> None:
    record = {
        "n": 3,
        "task": "Translate.",
        "text": "Rot",
        "one": "Red.",
        "two": "Blue.",
        "ann": 2,
        "bob": 0,
        "cy": None,
    }
    mapping = {
        "id": "n", "prompt": "task,text", "response_a": "one", "response_b": "two", "choice": "ann,bob,cy",
        "choices": "1:a,2:b,0:tie", "language": "=en",
    }  # fmt: skip
    report = run(project, tmp_path, [{**record, "extra": [1, 2]}], field_map=mapping)
    stored = Pair.objects.with_texts().get()
    assert (stored.external_id, stored.meta, stored.prompt.language) == ("3", {"extra": [1, 2]}, "en")
    assert stored.prompt.messages == [{"role": "user", "content": "Translate.\n\nRot"}]
    assert dict(Preference.objects.values_list("rater__name", "choice")) == {"ann": "b", "bob": "tie"}
    assert "The column 'extra' is kept with the pair as it is (1 row)." in report.notes


def test_table_without_header_is_mapped_by_number(project: Project, tmp_path: Path) -> None:
    mapping = {"prompt": "1,2", "response_a": "3", "response_b": "4", "choice": "5", "rater": "=ann",
               "choices": "(a):a,(b):b,equal:tie", "missing": "nan"}  # fmt: skip
    report = run(project, tmp_path, b"Q,nan,x,y,(a)\nQ,more,x,y,equal\n", name="pairs.csv", field_map=mapping)
    assert (report.rows, report.added) == (2, 2)
    assert [p.messages[0]["content"] for p in Prompt.objects.order_by("id")] == ["Q", "Q\n\nmore"]
    assert sorted(Preference.objects.values_list("rater__name", "choice")) == [("ann", "a"), ("ann", "tie")]


def test_map_looks_into_objects(project: Project, tmp_path: Path) -> None:
    record = {"data": {"q": "Q?"}, "x": "1", "y": "2"}
    run(project, tmp_path, [record], field_map={"prompt": "data.q", "response_a": "x", "response_b": "y"})
    assert Prompt.objects.get().messages[0]["content"] == "Q?"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"colour": "x"}, "'colour', which is no field"),
        ({"response_a": "x"}, "names response_a but not response_b"),
        ({"rejected": "x"}, "names rejected but not chosen"),
        ({"choices": "1=a"}, "is not value:choice"),
        ({"choices": "1:best"}, "is not value:choice"),
        ({"pairing": "some"}, "choose one of all, adjacent"),
        ({"judge_choice": "x"}, "needs the judge's name"),
        ({"id": "1"}, "the file has no header"),
    ],
)
def test_map_that_cannot_work_is_refused(
    project: Project, tmp_path: Path, mapping: dict[str, str], message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        run(project, tmp_path, [pair()], field_map=mapping)


@pytest.mark.parametrize(
    ("record", "field", "reason"),
    [
        ({"question": "Q", "answer1_id": 1, "answer2_id": 2}, "", "named by identifier only (answer1_id, answer2_id)"),
        ({"prompt": "Q", "completion": "x", "label": True}, "", "There is one response a row"),
        ({"passage": "P", "questions": {"0": {}}}, "", "'questions' (nested)"),
        ({"chosen": "x", "rejected": "y"}, "prompt", "is missing"),
        ({"prompt": "Q", "chosen": "x"}, "rejected", "is missing"),
        ({"prompt": "Q", "response_a": "x"}, "response_b", "is missing"),
        ({"response_a": "x", "response_b": "y"}, "prompt", "is missing"),
        ({"prompt": "Q", "chosen": [USER, RED], "rejected": "x"}, "chosen", "messages that are not the prompt"),
        ({"chosen": [USER, RED], "rejected": [RED, RED]}, "chosen", "share no prompt"),
        ({"chosen": [USER, RED], "rejected": [USER, RED, USER]}, "chosen", "ends where the other"),
        ({"chosen": [USER, USER, RED], "rejected": [USER, RED]}, "chosen", "parts from the other"),
        (
            {"chosen": "\n\nHuman: Q\n\nAssistant: x", "rejected": "\n\nHuman: Q"},
            "rejected",
            "does not end with a turn",
        ),
        ({"prompt": "Q", "completions": ["x"]}, "completions", "has 1 completions"),
        ({"prompt": "Q", "completions": ["x", "y"], "ranks": [1]}, "ranks", "has 1 values for 2"),
        ({"prompt": "Q", "completions": ["x", "y"], "ranks": [1, None]}, "completions", "only 1 of 2"),
        ({"prompt": "Q", "completions": ["x", None]}, "completions[1]", "is missing"),
        ({"prompt": "Q", "completions": ["x", "x"]}, "completions", "all the same"),
        ({"conversations": "Q", "chosen": "x", "rejected": "y"}, "conversations", "not a list of messages"),
        ({"instruction": "Q", "history": [["a"]], "chosen": "x", "rejected": "y"}, "history[0]", "question and answer"),
    ],
)
def test_record_that_is_no_pair_says_what_is_missing(
    project: Project, tmp_path: Path, record: dict[str, Any], field: str, reason: str
) -> None:
    report = skipping(project, tmp_path, [record, pair()])
    assert (report.added, report.rejected_count) == (1, 1)
    assert (report.rejected[0].line, report.rejected[0].field) == (1, field)
    assert reason in report.rejected[0].reason
