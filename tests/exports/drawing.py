"""Projects that hypothesis draws: turns of every kind, unicode, ties, empty reasons, tools, scores, judges, gold."""

from typing import Any, NamedTuple

from hypothesis import strategies as st

from annotation.gilding import read_answer, set_gold
from annotation.models import Criterion, GoldSource, Pair, Project, Rating
from annotation.models.pairs import content_hash
from judges.models import JudgeVersion
from tests.builders import make_pair, make_preference, make_project, make_prompt
from tests.judged import judge_pairs, make_judge

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t "), max_size=40)
choices = st.sampled_from(["a", "a", "b", "b", "tie", "both_bad", "unsure"])
LONG = "A question that is long enough to be cut into runs of three words, and to have a twin: number"


class DrawnVote(NamedTuple):
    choice: str
    strength: int | None
    rationale: str
    confidence: int | None
    scores: tuple[int, int] | None


class DrawnPair(NamedTuple):
    prompt: int
    a: str
    b: str
    votes: list[DrawnVote]
    judged: str | None
    has_tools: bool
    is_gold: bool
    is_close: bool


votes = st.builds(
    DrawnVote,
    choice=choices,
    strength=st.none() | st.integers(1, 3),
    rationale=st.just("") | text | st.sampled_from(["Assistant 1 is right.", "It is clearer and says why."]),
    confidence=st.none() | st.integers(1, 3),
    scores=st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
pairs = st.builds(
    DrawnPair,
    prompt=st.integers(0, 7),
    a=text,
    b=text | st.sampled_from(["same", "A long response, shared under several prompts, word for word."]),
    votes=st.lists(votes, max_size=3),
    judged=st.none() | st.sampled_from(["a", "b", "tie", "flip"]),
    has_tools=st.booleans(),
    is_gold=st.sampled_from([False, False, False, True]),
    is_close=st.booleans(),
)
settings = st.fixed_dictionaries(
    {
        "format": st.sampled_from(["jsonl", "parquet", "both"]),
        "gzip": st.booleans(),
        "tie_rule": st.sampled_from(["drop", "both", "judges"]),
        "both_bad_rule": st.sampled_from(["drop", "tie"]),
        "gold_rule": st.sampled_from(["exclude", "mark"]),
        "margin": st.sampled_from(["auto", "none", "strength", "scores", "prob"]),
        "good_from": st.none() | st.just(3.0),
        "criterion_weights": st.just({}) | st.just({"clear": 1.0}),
        "test_share": st.sampled_from([0.0, 0.3, 0.6]),
        "seed": st.integers(0, 3),
    }
    # Labels made from weights have no strength.
).map(lambda drawn: drawn | {"margin": "auto"} if drawn["criterion_weights"] else drawn)
turns = st.lists(text, min_size=8, max_size=8)


def messages(number: int, said: list[str]) -> list[dict[str, str]]:
    """Return a prompt of one of eight kinds."""
    user = {"role": "user", "content": said[number]}
    system = {"role": "system", "content": "Answer briefly."}
    answer = {"role": "assistant", "content": said[0]}
    tool = {"role": "tool", "content": '{"temperature": 21}'}
    near = {"role": "user", "content": f"{LONG} {number}"}
    kinds = [[user], [system, user], [user, answer, user], [user, answer, tool], [system, user, answer, user]]
    return [*kinds, [near], [near], [user]][number]


def build(drawn: list[DrawnPair], said: list[str]) -> Project:
    """Return a project of the drawn pairs, and one of which every profile makes a row."""
    project = make_project(with_people=False)
    criterion = Criterion.objects.create(project=project, name="clear", scale_min=1, scale_max=5)
    judge = make_judge(project)
    prompts = {number: _prompt(project, number, said) for number in {pair.prompt for pair in drawn}}
    sure = DrawnVote("a", 2, "It is clearer and says why.", 3, (5, 2))
    plain = make_pair(project, prompt="A plain question?", response_a="yes", response_b="no", external_id="plain")
    _answer(plain, [sure], "a", judge, criterion)
    for number, one in enumerate(drawn):
        # Responses of one prompt differ by the model that wrote them, so that equal texts stay two responses.
        pair = make_pair(
            project,
            prompt=prompts[one.prompt],
            response_a=one.a,
            response_b=one.a if one.is_close else one.b,
            model_a=f"model-{number % 3}",
            model_b=f"model-{number % 3 + 1}",
            external_id=f"drawn-{number}",
            meta={"tools": [{"type": "function", "function": {"name": "look", "n": number}}]} if one.has_tools else {},
        )
        _answer(pair, one.votes, one.judged, judge, criterion)
        if one.is_gold:
            set_gold(pair, read_answer(["a"], "known"), source=GoldSource.MANAGER)
    return project


def _prompt(project: Project, number: int, said: list[str]) -> Any:
    turns = messages(number, said)
    return make_prompt(project, messages=turns, group=f"{number} {content_hash(turns)}"[:200])


def _answer(pair: Pair, given: list[DrawnVote], judged: str | None, judge: JudgeVersion, criterion: Criterion) -> None:
    for place, vote in enumerate(given):
        told = {"strength": vote.strength if vote.choice in ("a", "b") else None, "confidence": vote.confidence}
        preference = make_preference(pair, f"person-{place}", vote.choice, rationale=vote.rationale, **told)
        if vote.scores:
            sides = zip((pair.response_a, pair.response_b), vote.scores, strict=True)
            for response, value in sides:
                Rating.objects.create(
                    rater=preference.rater, response=response, criterion=criterion, pair=pair, value=value
                )
    if judged:
        judge_pairs(judge, [pair], [judged])
