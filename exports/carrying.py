"""What an export carries to make its project again: every pair, answer and label, and what people were asked.

```
project/project.json    title, guidelines, screen, method
project/pairs.jsonl     the project's own record, as `import_pairs` reads it
project/labels.jsonl    the label of each pair
```

People stand under the export's pseudonyms. Left out on purpose: accounts, money, known answers (gold) and the gate's
questions, which would spoil them; what files said beside an answer, which may name people.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from annotation.configuring import settings_of
from annotation.criteria import OVERALL
from annotation.models import Choice, Origin, Pair, Preference, Project, RaterKind, Rating
from exports.grouping import Groups
from exports.pseudonymising import pseudonym
from exports.screening import Gate
from judges.averaging import VerdictValues, settle
from judges.models import JudgeVersion, Order, Verdict, VerdictState
from judges.recording import MODEL_LIMIT, PROTOCOL_LIMIT
from judges.settling import TIE_BAND
from routing.labels.resolving import PUBLISHED, ROUTED
from routing.models import Label

FORMAT = "tiebreak-project/1"
SETTINGS, PAIRS, LABELS = "project/project.json", "project/pairs.jsonl", "project/labels.jsonl"
# Fields of a project that its answers depend on; money, limits and people are this site's own.
FIELDS = ("title", "guidelines", "aggregation", "votes_wanted", "needs_language", "needs_domain", "seed")
LABEL_FIELDS = ("source", "choice", "prob_a", "p_correct", "strength", "n_votes", "agreement")
# What of a label's provenance names nothing of this database.
PLAIN = (
    "rule", "method", "contested", "suspected_flip", "judge", "judge_version", "prompt_hash", "second_judge",
    "withheld", "p_correct_from", *ROUTED,
)  # fmt: skip
PAIRS_PER_READ = 2000
Row = dict[str, Any]


def carry_project(folder: Path, project: Project, *, key: bytes, gate: Gate, groups: Groups) -> dict[str, int]:
    """Write the project below `folder` and return its files with their rows. Five queries for 2,000 pairs.

    Caller holds the consistent read; `key` is that of the export's pseudonyms. Texts and what is told of people are as
    in the rows (`gate`, `groups`).
    """
    (folder / "project").mkdir(parents=True)
    # A suggestion is a judge's of this site.
    settings = {
        "format": FORMAT,
        **gate.replaced({name: getattr(project, name) for name in FIELDS}, "prompts"),
        "screen": {name: value for name, value in settings_of(project).items() if name != "suggestion"},
    }
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, indent=2)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8", newline="\n")
    counts = {SETTINGS: 0, PAIRS: 0, LABELS: 0}
    judges = _judge_names(project)
    with (
        (folder / PAIRS).open("w", encoding="utf-8", newline="\n") as pairs_file,
        (folder / LABELS).open("w", encoding="utf-8", newline="\n") as labels_file,
    ):
        for batch in _batches(project):
            for row in (_safe(row, gate, groups) for row in _pair_rows(batch, judges, key)):
                pairs_file.write(json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
                counts[PAIRS] += 1
            for row in _label_rows(batch):
                labels_file.write(json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
                counts[LABELS] += 1
    return counts


def _batches(project: Project) -> Iterator[list[Pair]]:
    """Yield the pairs in the order of their external ids, sorted here since databases sort texts differently."""
    ids = [pk for _, pk in sorted(Pair.objects.filter(project=project).values_list("external_id", "id").iterator())]
    for start in range(0, len(ids), PAIRS_PER_READ):
        found = Pair.objects.with_texts().in_bulk(ids[start : start + PAIRS_PER_READ])
        yield [found[pk] for pk in ids[start : start + PAIRS_PER_READ]]


def _safe(row: Row, gate: Gate, groups: Groups) -> Row:
    """Return a pair's row with its texts screened, and without what too few people share."""
    return {
        **gate.replaced(row, "prompts"),
        "id": row["id"],
        "meta": gate.replaced(groups.limited(row["meta"], row["language"]), "prompts"),
        **{name: gate.replaced(row[name], "responses") for name in ("response_a", "response_b")},
        **{name: gate.replaced(row[name], "rationales") for name in ("human", "judges")},
    }


def _judge_names(project: Project) -> dict[UUID, tuple[str, str, JudgeVersion]]:
    """Return model and protocol by which each version's answers are recorded, by its rater; no two are alike."""
    versions = list(JudgeVersion.objects.filter(judge__project=project).select_related("judge").order_by("number"))
    seen: set[tuple[str, str]] = set()
    named = {}
    for version in versions:
        name, protocol = version.judge.name[:MODEL_LIMIT], version.protocol[:PROTOCOL_LIMIT]
        if (name, protocol) in seen:
            ending = f" v{version.number}"
            name = name[: MODEL_LIMIT - len(ending)] + ending
        seen.add((name, protocol))
        named[version.rater_id] = (name, protocol, version)
    return named


def _pair_rows(
    pairs: Sequence[Pair], judges: Mapping[UUID, tuple[str, str, JudgeVersion]], key: bytes
) -> Iterator[Row]:
    people: dict[UUID, list[Row]] = defaultdict(list)
    answers = Preference.objects.current().filter(pair__in=pairs, is_extra=False).select_related("rater", "criterion")
    by_criterion: dict[tuple[UUID, UUID], dict[str, str]] = defaultdict(dict)
    for answer in answers:
        if answer.criterion is not None:
            by_criterion[answer.pair_id, answer.rater_id][answer.criterion.name] = answer.choice
    ratings = _ratings(pairs)
    judged: dict[UUID, list[Preference]] = defaultdict(list)
    for answer in answers:
        if answer.criterion is not None:
            continue
        if answer.rater.kind == RaterKind.JUDGE:
            judged[answer.pair_id].append(answer)
            continue
        who = answer.pair_id, answer.rater_id
        people[answer.pair_id].append(_answer_row(answer, key, dict(by_criterion[who]), ratings[who]))
    verdicts = _verdicts(pairs)
    for pair in pairs:
        yield {
            "id": pair.external_id,
            "source": pair.source,
            "prompt": pair.prompt.messages,
            "group": pair.prompt.group,
            "language": pair.prompt.language,
            "category": pair.prompt.category,
            "reference": pair.prompt.reference,
            "context": pair.prompt.context,
            "response_a": pair.response_a.messages,
            "response_b": pair.response_b.messages,
            "model_a": pair.response_a.model,
            "model_b": pair.response_b.model,
            "meta": pair.meta,
            "human": sorted(people[pair.pk], key=lambda row: str(row["annotator"])),
            "judges": sorted(
                (
                    row
                    for answer in judged[pair.pk]
                    if answer.rater_id in judges
                    for row in _judge_rows(
                        answer,
                        judges[answer.rater_id],
                        verdicts[pair.pk, judges[answer.rater_id][2].pk],
                        by_criterion[pair.pk, answer.rater_id],
                        ratings[pair.pk, answer.rater_id],
                    )
                ),
                key=lambda row: (row["model"], row["protocol"], str(row["swapped"])),
            ),
        }


def _ratings(pairs: Sequence[Pair]) -> dict[tuple[UUID, UUID], dict[str, list[float | None]]]:
    """Return the scores that each rater gave within a pair: by pair and rater, a name and a's and b's."""
    sides = {pair.pk: (pair.response_a_id, pair.response_b_id) for pair in pairs}
    found: dict[tuple[UUID, UUID], dict[str, list[float | None]]] = defaultdict(dict)
    rows = Rating.objects.filter(pair__in=pairs).values_list("pair", "rater", "response", "criterion__name", "value")
    for pair_id, rater_id, response_id, name, value in rows:
        scores = found[pair_id, rater_id].setdefault(name, [None, None])
        scores[sides[pair_id].index(response_id)] = value
    return found


def _verdicts(pairs: Sequence[Pair]) -> dict[tuple[UUID, UUID], list[Verdict]]:
    found: dict[tuple[UUID, UUID], list[Verdict]] = defaultdict(list)
    done = Verdict.objects.filter(pair__in=pairs, state=VerdictState.DONE, order__in=[Order.AB, Order.BA, Order.NONE])
    for verdict in done.order_by("order"):
        if verdict.pair_id is not None:
            found[verdict.pair_id, verdict.version_id].append(verdict)
    return found


def _answer_row(
    answer: Preference, key: bytes, by_criterion: dict[str, str], ratings: dict[str, list[float | None]]
) -> Row:
    return {
        "annotator": pseudonym(key, answer.rater.name),
        "simulated": answer.rater.origin == Origin.SIMULATED,
        "choice": answer.choice,
        "strength": answer.strength,
        "rationale": answer.rationale,
        "rationale_timing": answer.rationale_timing,
        "shown_swapped": _swapped(answer.shown_order),
        "basis": answer.basis,
        "time_spent": answer.seconds,
        "confidence": answer.confidence,
        "reasons": answer.reasons,
        "content_flags": answer.content_flags,
        "criteria": by_criterion,
        "ratings": ratings,
    }


def _judge_rows(
    answer: Preference,
    named: tuple[str, str, JudgeVersion],
    verdicts: Sequence[Verdict],
    by_criterion: dict[str, str],
    ratings: dict[str, list[float | None]],
) -> list[Row]:
    """Return a judge's verdicts where they come to its answer again when they are read, else the answer as one."""
    if verdicts and _comes_to(answer, verdicts):
        said = [(one.order, one.choice, one.prob_a, [one.score_a, one.score_b], one.rationale) for one in verdicts]
    else:
        scores = ratings.get(OVERALL, [None, None])
        said = [(answer.shown_order, answer.choice, answer.prob_a, scores, answer.rationale)]
    return [
        {
            "model": named[0],
            "protocol": named[1],
            "swapped": _swapped(order),
            "choice": choice,
            "prob_a": prob_a,
            "score_a": score_a,
            "score_b": score_b,
            "rationale": rationale,
            # Once is enough: several would be averaged.
            "criteria": by_criterion if number == 0 else {},
        }
        for number, (order, choice, prob_a, (score_a, score_b), rationale) in enumerate(said)
    ]


def _comes_to(answer: Preference, verdicts: Sequence[Verdict]) -> bool:
    orders = [verdict.order for verdict in verdicts]
    if len(set(orders)) < len(orders) or any(verdict.choice not in Choice.values for verdict in verdicts):
        return False
    both = {Order.AB, Order.BA} <= set(orders)
    settled = settle(
        [VerdictValues(one.order, one.choice, one.prob_a) for one in verdicts], tie_band=TIE_BAND if both else 0.0
    )
    said = "" if settled.rationale_from is None else verdicts[settled.rationale_from].rationale
    return (settled.choice, settled.prob_a, said) == (answer.choice, answer.prob_a, answer.rationale)


def _label_rows(pairs: Sequence[Pair]) -> Iterator[Row]:
    labels = {label.pair_id: label for label in Label.objects.filter(pair__in=pairs)}
    for pair in pairs:
        if label := labels.get(pair.pk):
            provenance = {name: label.provenance[name] for name in PLAIN if name in label.provenance}
            yield {
                "id": pair.external_id,
                **{name: getattr(label, name) for name in LABEL_FIELDS},
                "provenance": {**provenance, PUBLISHED: True},
            }


def _swapped(order: str) -> bool | None:
    return None if order not in (Order.AB, Order.BA) else order == Order.BA
