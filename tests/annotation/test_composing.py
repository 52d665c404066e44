"""A pair that is drawn from a skeleton is, letter by letter, the pair that its templates draw."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.template import Context
from django.utils import translation
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation import composing
from annotation.composing import draw_task
from annotation.forms import CONFIDENCES
from annotation.models import Criterion, Project, Prompt, Response, SkipReason, Template
from annotation.questionnaires import Questionnaire, read_questionnaire
from annotation.questions import Asked
from annotation.showing import Screen, sample_screen

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("pairwise", {}),
    ("pairwise", {"response_format": "code", "confidence": True, "show_reference": True, "mask_models": False}),
    ("pairwise", {"response_format": "plain", "images": True, "reasons": ["Clear", "<b>True</b>"], "spans": True}),
    ("best_worst", {"keys": {"skip": "z"}, "words": {"rationale": "Why {{ x }}?"}}),
]
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["", " \n", "**bold** <b>&amp;</b>", "```python\nx = 1\n```", "שלום", "$x^2$", "![p](https://x.example/p.png)"]
    ),
)
TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": TEXTS}),
    min_size=1,
    max_size=4,
)


@pytest.fixture(autouse=True)
def _no_skeletons() -> Iterator[None]:
    composing._skeletons.clear()
    yield
    composing._skeletons.clear()


def context_of(project: Project, asks: Questionnaire, token: str) -> Context:
    return Context(
        {
            "project": project,
            "asks": asks,
            "keys": asks.key_of,
            "skip_reasons": SkipReason.choices,
            "confidences": CONFIDENCES,
            "csrf_token": token,
        }
    )


def screen_of(asks: Questionnaire, prompt: Prompt, responses: list[Response], seconds_left: int = 600) -> Screen:
    asked = Asked(asks, (), len(responses))
    return sample_screen(prompt, responses, asked)._replace(assignment_id=uuid4(), seconds_left=seconds_left)


def both_ways(project: Project, asks: Questionnaire, screen: Screen, token: str = "t&'") -> tuple[str, str]:
    """Return a screen as it is drawn for a person, and as its templates draw it."""
    context = context_of(project, asks, token)
    return draw_task(context, screen), composing._drawn(context, screen, token)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_the_texts_are(data: st.DataObject) -> None:
    template, chosen = data.draw(st.sampled_from(SETTINGS))
    asks = read_questionnaire(template, chosen)
    project = Project(slug="p", title="P", rationale_required=data.draw(st.booleans()))
    many = 3 if template == Template.BEST_WORST else 2
    with translation.override(data.draw(st.sampled_from(["en", "ar"]))):
        # The second is most often drawn from the skeleton of the first.
        shape = data.draw(TURNS)
        for number in range(2):
            turns = [{**turn, "content": data.draw(TEXTS)} for turn in shape]
            prompt = Prompt(messages=turns, context=data.draw(TEXTS), reference=data.draw(TEXTS))
            responses = [Response(messages=data.draw(TURNS), model="gpt") for _ in range(many)]
            drawn, plain = both_ways(project, asks, screen_of(asks, prompt, responses, 600 - number), f"token{number}")
            assert drawn == plain


def simple(asks: Questionnaire, text: str, role: str = "assistant") -> Screen:
    prompt = Prompt(messages=[{"role": "user", "content": f"{text}?"}])
    return screen_of(asks, prompt, [Response(messages=[{"role": role, "content": f"{text} {side}"}]) for side in "ab"])


def test_pairs_of_one_shape_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asks, project = read_questionnaire("pairwise", {}), Project(slug="p")
    drawn: list[Screen] = []
    plain = composing._drawn

    def counting(context: Context, screen: Screen, token: str) -> str:
        drawn.append(screen)
        return plain(context, screen, token)

    monkeypatch.setattr(composing, "_drawn", counting)
    pages = [draw_task(context_of(project, asks, f"token-{text}"), simple(asks, text)) for text in ("one", "two")]
    assert len(drawn) == 1
    assert "one a" in pages[0]
    assert "token-one" in pages[0]
    assert "two a" in pages[1]
    assert "token-two" in pages[1]
    assert "one a" not in pages[1]
    assert "token-one" not in pages[1]


@pytest.mark.parametrize(
    "changed",
    [
        lambda asks, project: (read_questionnaire("pairwise", {"points": 3}), project, "assistant"),
        lambda asks, project: (asks, Project(slug="other"), "assistant"),
        lambda asks, project: (asks, Project(slug="p", rationale_required=True), "assistant"),
        lambda asks, project: (asks, Project(slug="p", lease_seconds=77), "assistant"),
        lambda asks, project: (asks, project, "tool"),
    ],
)
def test_what_differs_is_not_drawn_from_anothers_skeleton(changed: Any) -> None:
    asks, project = read_questionnaire("pairwise", {}), Project(slug="p")
    before = draw_task(context_of(project, asks, "t"), simple(asks, "one"))
    asks, project, role = changed(asks, project)
    drawn, plain = both_ways(project, asks, simple(asks, "one", role))
    assert drawn == plain
    assert drawn != before


def test_what_a_criterion_says_is_drawn_as_it_says_it_now() -> None:
    asks, project = read_questionnaire("pairwise", {"by_criterion": True}), Project(slug="p")
    prompt, response = Prompt(messages=[]), Response(messages=[{"role": "assistant", "content": "one"}])
    for says in ("Who reads it understands it.", "It is short."):
        asked = Asked(asks, (Criterion(name="clear", description=says, position=1),), 2)
        screen = sample_screen(prompt, [response, response], asked)._replace(assignment_id=uuid4())
        drawn, plain = both_ways(project, asks, screen)
        assert drawn == plain
        assert says in drawn


def test_a_form_knows_by_what_name_the_whole_goes_now() -> None:
    asks, project = read_questionnaire("pairwise", {"by_criterion": True}), Project(slug="p")
    prompt, response = Prompt(messages=[]), Response(messages=[{"role": "assistant", "content": "one"}])
    for name in ("overall", "on the whole"):
        asked = Asked(asks, (Criterion(name=name, position=0), Criterion(name="clear", position=1)), 2)
        screen = sample_screen(prompt, [response, response], asked)._replace(assignment_id=uuid4())
        drawn, plain = both_ways(project, asks, screen)
        assert drawn == plain
        assert asked.key in drawn


def test_another_language_is_drawn_anew() -> None:
    asks, project = read_questionnaire("pairwise", {}), Project(slug="p")
    draw_task(context_of(project, asks, "t"), simple(asks, "one"))
    with translation.override("de"):
        drawn, plain = both_ways(project, asks, simple(asks, "one"))
    assert drawn == plain
    assert "Abschicken" in drawn or "Antwort" in drawn


def test_what_somebody_began_is_drawn_with_it() -> None:
    asks, project = read_questionnaire("pairwise", {}), Project(slug="p")
    draw_task(context_of(project, asks, "t"), simple(asks, "one"))
    begun = simple(asks, "one")._replace(draft={"rationale": "so far"})
    assert "so far" in draw_task(context_of(project, asks, "t"), begun)
    assert "not this" in draw_task(context_of(project, asks, "t"), simple(asks, "one"), "not this")
    assert "data-revises" in draw_task(context_of(project, asks, "t"), simple(asks, "one")._replace(revises=True))
