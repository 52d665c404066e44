"""Writing pairs of a file in batches: a few queries a batch, however many rows."""

import json
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from annotation.gilding import set_golds
from annotation.models import (
    Criterion,
    GoldSource,
    Pair,
    Preference,
    Project,
    Prompt,
    Rater,
    RaterKind,
    Rating,
    Response,
)
from annotation.recognising import LABEL_RATER
from annotation.records import PairRecord, Reading, RecordedAnswer, RejectedRow, RowProblem
from annotation.suppressing import Suppressed

PROMPT_REMARK = "the prompt is known with another language, category, reference or context; the first is kept"
SUPPRESSED_REMARK = "answers of somebody who was erased from this project are left out"
LONGEST_NAME = 200
GOLD_REMARK = "the pair was here before, so its known answer (gold) is not read again; set it on the pair's page"
KNOWN_REMARK = "the pair was here before, so its judgements (judges) are not read again"


class Stored(NamedTuple):
    """A pair of the database, as far as an import needs it."""

    pair_id: uuid.UUID
    response_a_id: uuid.UUID
    response_b_id: uuid.UUID
    content: tuple[str, ...]


class Sifted(NamedTuple):
    """A batch, sorted: pairs to store, answers to add to pairs that are there, and rows that contradict."""

    new: list[PairRecord]
    known: list[tuple[Stored, list[RecordedAnswer]]]
    already_there: int
    rejected: list[RejectedRow]


class Counts(NamedTuple):
    """Rows written."""

    preferences: int
    ratings: int


class PairStore:
    """Sorts and writes the batches of one reading of one file. Memory: about 200 bytes a pair read."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.remarks: Counter[str] = Counter()
        self.notes: list[str] = []
        # Digest of an id -> line and checksum of the labels, in one integer since there may be a million.
        self._seen: dict[bytes, int] = {}
        self._raters: dict[str, Rater | None] = {}
        self._suppressed = Suppressed(project)
        self._criteria: dict[str, Criterion] = {}
        self._scales: dict[str, tuple[float, float]] = {}
        self._scales_before: dict[str, tuple[float, float]] = {}

    # --- Sorting ----------------------------------------------------------------------------------------------------

    def sift(self, rows: list[Reading]) -> Sifted:
        """Sort a batch against the file so far and the database. Reads only; three queries at most.

        What erased people said is left out before anything else is asked of it.
        """
        rows = [row._replace(pairs=[self._without_erased(pair) for pair in row.pairs]) for row in rows]
        stored = self._stored({pair.external_id for row in rows for pair in row.pairs})
        choices = self._stored_choices([pair.pair_id for pair in stored.values()])
        self._load_raters({answer.rater for row in rows for pair in row.pairs for answer in pair.answers})
        sifted = Sifted([], [], 0, [])
        already_there = 0
        for row in rows:
            new: list[PairRecord] = []
            known: list[tuple[Stored, list[RecordedAnswer]]] = []
            repeats = 0
            try:
                for pair in row.pairs:
                    self._check_raters(pair)
                    if self._is_repeat(pair):
                        repeats += 1
                    elif there := stored.get(pair.external_id):
                        known.append((there, self._added_answers(pair, there, choices)))
                        self.remarks[GOLD_REMARK] += pair.known is not None
                        self.remarks[KNOWN_REMARK] += bool(pair.record.get("judges"))
                    else:
                        new.append(pair)
            except RowProblem as problem:
                sifted.rejected.append(RejectedRow(row.pairs[0].line, problem.field, problem.reason))
                continue
            sifted.new.extend(new)
            sifted.known.extend(known)
            already_there += len(row.pairs) - len(new)
            if repeats:
                self.remarks["the pair stands in the file before, with the same labels"] += 1
        return sifted._replace(already_there=already_there)

    def _without_erased(self, pair: PairRecord) -> PairRecord:
        """Return a pair without what erased people said, and without their names in columns that nothing reads."""
        if not self._suppressed:
            return pair
        meta = {key: value for key, value in pair.meta.items() if not self._names_erased(value)}
        # Where such a column names them, the row's label is theirs.
        theirs = {LABEL_RATER} if len(meta) < len(pair.meta) else set()
        kept = tuple(
            answer for answer in pair.answers if answer.rater not in theirs and answer.rater not in self._suppressed
        )
        if len(meta) == len(pair.meta) and len(kept) == len(pair.answers):
            return pair
        self.remarks[SUPPRESSED_REMARK] += 1
        # Gold that a label of theirs gave goes with it.
        return pair._replace(answers=kept, meta=meta, known=pair.known if kept or not pair.answers else None)

    def _names_erased(self, value: object) -> bool:
        return isinstance(value, str) and len(value) <= LONGEST_NAME and value in self._suppressed

    def _stored(self, external_ids: set[str]) -> dict[str, Stored]:
        rows = Pair.objects.filter(project=self.project, external_id__in=external_ids).values_list(
            "external_id",
            "id",
            "response_a_id",
            "response_b_id",
            "prompt__content_hash",
            "prompt__group",
            "response_a__content_hash",
            "response_b__content_hash",
            "response_a__model",
            "response_b__model",
        )
        return {row[0]: Stored(row[1], row[2], row[3], tuple(row[4:])) for row in rows}

    def _stored_choices(self, pair_ids: list[uuid.UUID]) -> dict[tuple[uuid.UUID, str], str]:
        if not pair_ids:
            return {}
        preferences = Preference.objects.counted().filter(pair__in=pair_ids, rater__kind=RaterKind.PERSON)
        return {
            (pair_id, name): choice
            for pair_id, name, choice in preferences.values_list("pair", "rater__name", "choice")
        }

    def _load_raters(self, names: set[str]) -> None:
        wanted = names - self._raters.keys()
        if wanted:
            found = Rater.objects.filter(project=self.project, kind=RaterKind.PERSON, name__in=wanted)
            self._raters |= dict.fromkeys(wanted) | {rater.name: rater for rater in found}

    def _check_raters(self, pair: PairRecord) -> None:
        for answer in pair.answers:
            rater = self._raters[answer.rater]
            if rater is not None and rater.origin != answer.origin:
                raise RowProblem(
                    "annotator",
                    f"{answer.rater!a} is the name of somebody who answers here "
                    f"({rater.get_origin_display().lower()}); give the recorded person another name",
                )

    def _added_answers(
        self, pair: PairRecord, there: Stored, choices: dict[tuple[uuid.UUID, str], str]
    ) -> list[RecordedAnswer]:
        """Return the answers of a stored pair that are new. A changed text or answer is a contradiction."""
        if there.content != pair.content:
            raise RowProblem("id", f"{pair.external_id!a} is in the project already with other content")
        added = []
        for answer in pair.answers:
            before = choices.get((there.pair_id, answer.rater))
            if before is None:
                added.append(answer)
            elif before != answer.choice:
                raise RowProblem(
                    "choice",
                    f"{answer.rater!a} says {answer.choice!r} of {pair.external_id!a}, but said {before!r} before",
                )
        return added

    def _is_repeat(self, pair: PairRecord) -> bool:
        """Say whether the file held this pair before. An id may stand in a file once."""
        key = blake2b(pair.external_id.encode(), digest_size=12).digest()
        labels = "" if pair.id_given else repr(pair.answers) + json.dumps(pair.record["judges"])
        checksum = zlib.crc32(labels.encode())
        before = self._seen.get(key)
        if before is None:
            self._seen[key] = pair.line << 32 | checksum
            return False
        line = before >> 32
        if pair.id_given:
            raise RowProblem("id", f"{pair.external_id!a} was used before, in line {line}")
        if before & 0xFFFFFFFF != checksum:
            raise RowProblem("", f"the same pair stands in line {line} with another label")
        return True

    # --- Writing ----------------------------------------------------------------------------------------------------

    def write(self, sifted: Sifted) -> tuple[list[Pair], Counts]:
        """Store a sorted batch; return the new pairs, in the order of `sifted.new`. Caller holds the transaction."""
        self._scales_before = dict(self._scales)
        prompts = self._prompts(sifted.new)
        responses = self._responses(sifted.new, prompts)
        pairs = []
        answered: list[tuple[Stored, Iterable[RecordedAnswer]]] = list(sifted.known)
        for record in sifted.new:
            prompt = prompts[record.prompt_hash, record.group]
            response_a = responses[prompt, record.hash_a, record.model_a]
            response_b = responses[prompt, record.hash_b, record.model_b]
            pair = Pair(
                project=self.project,
                prompt_id=prompt,
                response_a_id=response_a,
                response_b_id=response_b,
                external_id=record.external_id,
                source=record.source,
                meta=record.meta,
            )
            pairs.append(pair)
            answered.append((Stored(pair.id, response_a, response_b, ()), record.answers))
        Pair.objects.bulk_create(pairs)
        known = [(pair, record.known) for pair, record in zip(pairs, sifted.new, strict=True) if record.known]
        if known:
            set_golds(self.project, known, source=GoldSource.FILE)
        return pairs, self._write_answers(answered)

    def _prompts(self, records: list[PairRecord]) -> dict[tuple[str, str], uuid.UUID]:
        """Return the ids of the prompts by content and group; those that are missing are made."""
        found: dict[tuple[str, str], uuid.UUID] = {}
        beside: dict[tuple[str, str], tuple[str, ...]] = {}
        rows = Prompt.objects.filter(project=self.project, content_hash__in={record.prompt_hash for record in records})
        for pk, digest, group, *rest in rows.values_list(
            "id", "content_hash", "group", "language", "category", "reference", "context"
        ):
            found[digest, group] = pk
            beside[digest, group] = tuple(rest)
        missing = []
        for record in records:
            key = record.prompt_hash, record.group
            said = record.language, record.category, record.reference, record.context
            if key in found:
                self.remarks[PROMPT_REMARK] += beside[key] != said
                continue
            prompt = Prompt(
                project=self.project,
                messages=record.prompt,
                content_hash=record.prompt_hash,
                group=record.group,
                language=record.language,
                category=record.category,
                reference=record.reference,
                context=record.context,
            )
            missing.append(prompt)
            found[key] = prompt.id
            beside[key] = said
        Prompt.objects.bulk_create(missing)
        return found

    def _responses(
        self, records: list[PairRecord], prompts: dict[tuple[str, str], uuid.UUID]
    ) -> dict[tuple[uuid.UUID, str, str], uuid.UUID]:
        """Return the ids of the responses by prompt, content and model; those that are missing are made."""
        used = {prompts[record.prompt_hash, record.group] for record in records}
        hashes = {digest for record in records for digest in (record.hash_a, record.hash_b)}
        rows = Response.objects.filter(prompt__in=used, content_hash__in=hashes)
        found = {
            (prompt, digest, model): pk
            for pk, prompt, digest, model in rows.values_list("id", "prompt_id", "content_hash", "model")
        }
        missing = []
        for record in records:
            prompt = prompts[record.prompt_hash, record.group]
            for messages, digest, model in (
                (record.response_a, record.hash_a, record.model_a),
                (record.response_b, record.hash_b, record.model_b),
            ):
                if (prompt, digest, model) not in found:
                    response = Response(prompt_id=prompt, messages=messages, content_hash=digest, model=model)
                    missing.append(response)
                    found[prompt, digest, model] = response.id
        Response.objects.bulk_create(missing)
        return found

    def _write_answers(self, answered: list[tuple[Stored, Iterable[RecordedAnswer]]]) -> Counts:
        self._make_raters({answer.rater: answer.origin for _, answers in answered for answer in answers})
        self._make_criteria(
            {
                name
                for _, answers in answered
                for answer in answers
                for name in (*(name for name, _ in answer.criteria), *(name for name, _, _ in answer.ratings))
            }
        )
        preferences: list[Preference] = []
        ratings: list[Rating] = []
        for pair, answers in answered:
            for answer in answers:
                preferences += self._preferences(pair, answer)
                ratings += self._ratings(pair, answer)
        Preference.objects.bulk_create(preferences)
        Rating.objects.bulk_create(ratings)
        return Counts(len(preferences), len(ratings))

    def _make_raters(self, origins: dict[str, str]) -> None:
        missing = [
            Rater(project=self.project, kind=RaterKind.PERSON, origin=origin, name=name)
            for name, origin in sorted(origins.items())
            if self._raters.get(name) is None
        ]
        if missing:
            Rater.objects.bulk_create(missing)
            self._raters |= {rater.name: rater for rater in missing}

    def _make_criteria(self, names: set[str]) -> None:
        if not names - self._criteria.keys():
            return
        # Read again: a consumer may have made some of them for an earlier batch.
        self._criteria = {item.name: item for item in Criterion.objects.filter(project=self.project)}
        missing = [
            Criterion(project=self.project, name=name, position=len(self._criteria) + index)
            for index, name in enumerate(sorted(names - self._criteria.keys()))
        ]
        Criterion.objects.bulk_create(missing)
        self._criteria |= {item.name: item for item in missing}

    def _preferences(self, pair: Stored, answer: RecordedAnswer) -> list[Preference]:
        """Return the answer on the whole pair and those by criterion."""
        rater, criteria = self._raters[answer.rater], self._criteria
        whole = Preference(
            pair_id=pair.pair_id,
            rater=rater,
            choice=answer.choice,
            strength=answer.strength,
            shown_order=answer.shown_order,
            seconds=answer.seconds,
            rationale=answer.rationale,
            rationale_timing=answer.timing,
            basis=answer.basis,
            confidence=answer.confidence,
            reasons=[{"side": side, "reason": reason} for side, reason in answer.reasons],
            content_flags=list(answer.content_flags),
            meta=answer.meta,
        )
        return [
            whole,
            *(
                Preference(
                    pair_id=pair.pair_id,
                    rater=rater,
                    criterion=criteria[name],
                    choice=choice,
                    shown_order=answer.shown_order,
                )
                for name, choice in answer.criteria
            ),
        ]

    def _ratings(self, pair: Stored, answer: RecordedAnswer) -> list[Rating]:
        rater, criteria, found = self._raters[answer.rater], self._criteria, []
        for name, *scores in answer.ratings:
            for response, value in zip((pair.response_a_id, pair.response_b_id), scores, strict=True):
                if value is not None:
                    low, high = self._scales.get(name, (value, value))
                    self._scales[name] = min(low, value), max(high, value)
                    found.append(
                        Rating(
                            rater=rater,
                            response_id=response,
                            criterion=criteria[name],
                            pair_id=pair.pair_id,
                            value=value,
                        )
                    )
        return found

    def forget_created(self) -> None:
        """Read raters and criteria again: the batch that made some of them was rolled back."""
        self._scales = self._scales_before
        names = set(self._raters)
        self._raters.clear()
        self._load_raters(names)
        self._criteria = {}

    def write_scales(self) -> None:
        """Give criteria the scale that was seen; one that has a scale is widened where a rating lies outside it."""
        self._make_criteria(set(self._scales))
        for name, (low, high) in self._scales.items():
            criterion = self._criteria[name]
            scale_min = low if criterion.scale_min is None else min(low, criterion.scale_min)
            scale_max = high if criterion.scale_max is None else max(high, criterion.scale_max)
            if (scale_min, scale_max) != (criterion.scale_min, criterion.scale_max):
                Criterion.objects.filter(pk=criterion.pk).update(scale_min=scale_min, scale_max=scale_max)
                self.notes.append(f"The criterion {name!a} has the scale {scale_min:g} to {scale_max:g}, as seen.")
