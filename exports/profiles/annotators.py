"""What each person and judge said, never aggregated; and two public shapes of the same.

Pairs stand here whatever became of their label, so that ties, doubt and disagreement can be studied. Answers that a
manager took out of the count, and answers to gold, are left out as everywhere.
"""

from collections.abc import Iterable, Iterator
from statistics import fmean

from annotation.models import Choice
from exports.deciding import Entry
from exports.leaving_out import LeftOut
from exports.profiles.columns import (
    COMPLETION,
    INTEGER,
    MAYBE_INTEGER,
    MESSAGES,
    NUMBER,
    SHARE,
    TERMS_KIND,
    TEXT,
    TEXTS,
    Column,
    Kind,
    Row,
    list_of,
    one_of,
)
from exports.profiles.contract import Context, Profile, each_pair
from exports.profiles.pairing import IDENTITY, PROMPT, identity
from exports.records import PROTOCOL_MARK, Aspect, Judgement, Record, Scores, Vote

CHOICES = ("a", "b", "tie", "both_bad", "unsure")
ANNOTATIONS_COLUMNS = (
    PROMPT,
    Column("response_a", COMPLETION, "one response, in the stored order"),
    Column("response_b", COMPLETION, "the other"),
    *IDENTITY,
    Column("pair", TEXT, "`id` of the pair in the other profiles"),
    Column("model_a", TEXT, "the model that wrote `response_a`"),
    Column("model_b", TEXT, "the model that wrote `response_b`"),
    Column("terms_a", TERMS_KIND, "whether others may train on that model's outputs, as the export was told"),
    Column("terms_b", TERMS_KIND, "the same of the model that wrote `response_b`"),
    Column("annotator_id", TEXT, "pseudonym of the person, or the judge with its version"),
    Column("annotator_type", one_of("human", "judge"), "`human` or `judge`"),
    Column("annotator_origin", TEXT, "`live`, `recorded` or `simulated` for people; the judge's kind"),
    Column("criterion", TEXT, "the criterion asked about; empty: the whole"),
    Column("form", one_of("choice", "scores"), "`choice`, or `scores` where somebody scored and did not choose"),
    Column("choice", one_of(*CHOICES, ""), "`a`, `b`, `tie`, `both_bad` or `unsure`; empty where only scored"),
    Column(
        "value",
        Kind("int64", MAYBE_INTEGER.arrow, {"type": ["integer", "null"], "minimum": -3, "maximum": 3}),
        "-3 (b much better) to 3; 0 for a tie; null where the strength was not said",
    ),
    Column("strength", MAYBE_INTEGER, "1 slightly, 2 better, 3 much better, where it was said"),
    Column("prob_a", SHARE, "a judge's probability that a is better"),
    Column("score_a", NUMBER, "the score given to a on this criterion"),
    Column("score_b", NUMBER, "the same of b"),
    Column("rationale", TEXT, "the reason given; empty without one"),
    Column("rationale_timing", TEXT, "`before` or `after` the choice; empty where not known"),
    Column("shown_order", TEXT, "`ab` or `ba`: what stood first; empty where not known"),
    Column("basis", TEXT, "`choice`, `ratings`, `ranking` or `best_worst`: how a person was asked"),
    Column("seconds", NUMBER, "active seconds, where timed"),
    Column("confidence", MAYBE_INTEGER, "1 unsure to 3 sure, where asked"),
    Column("reasons_a", TEXTS, "reasons from the project's list marked for a"),
    Column("reasons_b", TEXTS, "the same for b"),
    Column("content_flags", TEXTS, "what the content was marked with"),
    Column("judge_prompt_hash", TEXT, "hash of the judge's prompt; empty for people or where not known"),
)
_SCORE = Kind("int64", INTEGER.arrow, {"type": "integer", "minimum": -3, "maximum": 3})
HELPSTEER3_COLUMNS = (
    Column("domain", TEXT, "category of the prompt, where known"),
    Column("language", TEXT, "language of the prompt, where known"),
    Column("context", MESSAGES, "the prompt"),
    Column("response1", TEXT, "response a"),
    Column("response2", TEXT, "response b"),
    Column("overall_preference", _SCORE, "-3 (response 1 much better) to 3 (response 2), mean of people, rounded"),
    Column(
        "individual_preference",
        list_of(score=_SCORE, reasoning=TEXT, feedback1=TEXT, feedback2=TEXT),
        "each person's, in the order of their pseudonyms; feedback is what they marked for a side",
    ),
    Column("id", TEXT, "`id` of the pair in the other profiles"),
    Column("prompt_id", TEXT, "hash of prompt and group"),
    Column("prompt_group", TEXT, "pairs of one group are on one side of the split"),
)
_PREFS = one_of("A-is-clearly-better", "A-is-slightly-better", "Tie", "B-is-slightly-better", "B-is-clearly-better")
_CONFIDENCES = {1: "not-confident", 2: "fairly-confident", 3: "absolutely-confident", None: ""}
_ANNOTATION = list_of(
    evaluator=TEXT,
    overall_pref=_PREFS,
    overall_confidence=one_of(*_CONFIDENCES.values()),
    overall_own_reason=TEXT,
    overall_checked_reasons=TEXTS,
    aspects=list_of(criterion=TEXT, pref=_PREFS),
    time_spent=NUMBER,
)
MULTIPREF_COLUMNS = (
    Column("comparison_id", TEXT, "`id` of the pair in the other profiles"),
    Column("prompt_id", TEXT, "hash of prompt and group"),
    Column("text", TEXT, "the prompt"),
    Column("completion_a", TEXT, "response a"),
    Column("completion_b", TEXT, "response b"),
    Column("model_a", TEXT, "the model that wrote it"),
    Column("model_b", TEXT, "the model that wrote it"),
    Column("source", TEXT, "the data set it comes from"),
    Column("category", TEXT, "category of the prompt, where known"),
    Column("normal_worker_annotations", _ANNOTATION, "each person's"),
    Column("expert_worker_annotations", _ANNOTATION, "each expert's"),
    Column("prompt_group", TEXT, "pairs of one group are on one side of the split"),
)


def build_annotations(entry: Entry, context: Context) -> Iterator[Row | LeftOut]:
    """Yield a row for each answer of a person or a judge, on the whole and by criterion."""
    record = entry.record
    shared = {
        "prompt": record.prompt,
        "response_a": record.a.messages,
        "response_b": record.b.messages,
        "pair": record.id,
        "model_a": record.a.model,
        "model_b": record.b.model,
        "terms_a": context.settings.terms_of(record.a.model),
        "terms_b": context.settings.terms_of(record.b.model),
    }
    told = list(_told(record))
    if not told:
        yield LeftOut.NO_ANSWERS
    for one in told:
        row_id = f"{record.id}-{one['annotator_id']}-{one['criterion']}"
        yield {**shared, **identity(record, row_id, context), **one}


def _told(record: Record) -> Iterator[Row]:
    """Yield each answer with its scores; scores without an answer by the same criterion stand alone."""
    scores = {(one.by, one.criterion): one for one in record.scores}
    people = {vote.person: vote.origin for vote in record.votes}
    judges = {full_name(one): one.kind for one in record.judgements}
    for vote in record.votes:
        yield {**_plain(vote.person, True, vote.origin), **_of_vote(vote)}
    for judgement in record.judgements:
        yield {**_plain(full_name(judgement), False, judgement.kind), **_of_judgement(judgement)}
    for aspect in record.aspects:
        origin = (people if aspect.is_person else judges).get(aspect.by, "")
        given = scores.pop((aspect.by, aspect.criterion), None)
        yield {**_plain(aspect.by, aspect.is_person, origin), **_of_aspect(aspect), **_of_scores(given)}
    for (by, criterion), given in scores.items():
        origin = (people if given.is_person else judges).get(by, "")
        yield {
            **_plain(by, given.is_person, origin),
            "criterion": criterion,
            "form": "scores",
            "choice": "",
            "value": None,
            **_of_scores(given),
        }


def _plain(by: str, is_person: bool, origin: str) -> Row:
    """Return a row about a rater with nothing said yet."""
    return {
        "annotator_id": by,
        "annotator_type": "human" if is_person else "judge",
        "annotator_origin": origin,
        "criterion": "",
        "form": "choice",
        "strength": None,
        "prob_a": None,
        "score_a": None,
        "score_b": None,
        "rationale": "",
        "rationale_timing": "",
        "shown_order": "",
        "basis": "",
        "seconds": None,
        "confidence": None,
        "reasons_a": [],
        "reasons_b": [],
        "content_flags": [],
        "judge_prompt_hash": "",
    }


def _of_vote(vote: Vote) -> Row:
    return {
        **_of_choice(vote.choice, vote.strength),
        "rationale": vote.rationale,
        "rationale_timing": vote.timing,
        "shown_order": vote.shown_order,
        "basis": vote.basis,
        "seconds": vote.seconds,
        "confidence": vote.confidence,
        "reasons_a": _marked(vote, Choice.A),
        "reasons_b": _marked(vote, Choice.B),
        "content_flags": list(vote.content_flags),
    }


def _of_judgement(judgement: Judgement) -> Row:
    return {
        **_of_choice(judgement.choice, judgement.strength),
        "prob_a": judgement.prob_a,
        "rationale": judgement.rationale,
        "rationale_timing": judgement.timing,
        "shown_order": judgement.shown_order,
        "judge_prompt_hash": judgement.prompt_hash,
    }


def _of_aspect(aspect: Aspect) -> Row:
    return {**_of_choice(aspect.choice, aspect.strength), "criterion": aspect.criterion}


def _of_scores(scores: Scores | None) -> Row:
    return {"score_a": scores.a, "score_b": scores.b} if scores else {}


def _of_choice(choice: str, strength: int | None) -> Row:
    return {"choice": choice, "strength": strength, "value": signed(choice, strength)}


def signed(choice: str, strength: int | None) -> int | None:
    """Return an answer as a number from -3 (b much better) to 3; None where it has no strength or no answer."""
    if choice in (Choice.TIE, Choice.BOTH_BAD):
        return 0
    if choice == Choice.UNSURE or strength is None:
        return None
    return strength if choice == Choice.A else -strength


def _marked(vote: Vote, side: str) -> list[str]:
    return [reason for marked, reason in vote.reasons if marked == side]


def full_name(judgement: Judgement) -> str:
    """Return a judge as files name it among annotators: with its protocol and version."""
    named = f"{judgement.judge}{PROTOCOL_MARK}{judgement.protocol}" if judgement.protocol else judgement.judge
    return f"{named} v{judgement.version}"


def build_helpsteer3(entry: Entry, _: Context) -> Iterable[Row | LeftOut]:
    """Return the pair's row with every person who said how strong their preference is."""
    record = entry.record
    said = [(vote, value) for vote in record.votes if (value := signed(vote.choice, vote.strength)) is not None]
    if not said:
        return [LeftOut.NO_STRENGTH if record.votes else LeftOut.NO_ANSWERS]
    individual = [
        {
            "score": -value,
            "reasoning": vote.rationale,
            "feedback1": "; ".join(_marked(vote, Choice.A)),
            "feedback2": "; ".join(_marked(vote, Choice.B)),
        }
        for vote, value in said
    ]
    return [
        {
            "domain": record.category,
            "language": record.language,
            "context": record.prompt,
            "response1": record.a.text,
            "response2": record.b.text,
            "overall_preference": round(fmean(-value for _, value in said)),
            "individual_preference": individual,
            "id": record.id,
            "prompt_id": record.prompt_id,
            "prompt_group": record.prompt_group,
        }
    ]


def build_multipref(entry: Entry, _: Context) -> Iterable[Row | LeftOut]:
    """Return the pair's row; its prompt is one turn of a user, since the shape has one text."""
    record = entry.record
    if [message["role"] for message in record.prompt] != ["user"]:
        return [LeftOut.SHAPE]
    said = [vote for vote in record.votes if signed(vote.choice, vote.strength) is not None]
    if not said:
        return [LeftOut.NO_STRENGTH if record.votes else LeftOut.NO_ANSWERS]
    normal, expert = (
        [_multipref(vote, record) for vote in said if vote.is_expert == is_expert] for is_expert in (False, True)
    )
    return [
        {
            "comparison_id": record.id,
            "prompt_id": record.prompt_id,
            "text": record.prompt[0]["content"],
            "completion_a": record.a.text,
            "completion_b": record.b.text,
            "model_a": record.a.model,
            "model_b": record.b.model,
            "source": record.source,
            "category": record.category,
            "normal_worker_annotations": normal,
            "expert_worker_annotations": expert,
            "prompt_group": record.prompt_group,
        }
    ]


def _multipref(vote: Vote, record: Record) -> Row:
    by_criterion = [
        {"criterion": aspect.criterion, "pref": _pref(value)}
        for aspect in record.aspects
        if aspect.by == vote.person and (value := signed(aspect.choice, aspect.strength)) is not None
    ]
    return {
        "evaluator": vote.person,
        "overall_pref": _pref(signed(vote.choice, vote.strength) or 0),
        "overall_confidence": _CONFIDENCES[vote.confidence],
        "overall_own_reason": vote.rationale,
        "overall_checked_reasons": [reason for _, reason in vote.reasons],
        "aspects": by_criterion,
        "time_spent": vote.seconds,
    }


def _pref(value: int) -> str:
    if not value:
        return "Tie"
    return f"{'A' if value > 0 else 'B'}-is-{'slightly' if abs(value) == 1 else 'clearly'}-better"


ANNOTATIONS = Profile(
    "annotations",
    2,
    "every answer of every person and judge, never aggregated",
    ANNOTATIONS_COLUMNS,
    each_pair(build_annotations),
)
HELPSTEER3 = Profile(
    "helpsteer3",
    1,
    "code for HelpSteer3: a row a pair with each person's score",
    HELPSTEER3_COLUMNS,
    each_pair(build_helpsteer3),
)
MULTIPREF = Profile(
    "multipref",
    1,
    "code for MultiPref: a row a pair with each person's words",
    MULTIPREF_COLUMNS,
    each_pair(build_multipref),
)
