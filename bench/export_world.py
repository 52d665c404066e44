"""A made-up project of any size, written fast: what `bench/export.py` exports.

A pair a prompt with texts of 60 to 240 words, an answer with a reason of one of forty people, and a second answer on
every tenth pair; each is flipped with a chance of .15. The rows go in as tuples beside Django's models, whose defaults
they take: making a million of each as objects would take longer than their export.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from django.db import connection, models, transaction

from annotation.models import Origin, Pair, Preference, Project, Prompt, Rater, Response
from annotation.models.pairs import draw_of

PEOPLE = 40
PAIRS_PER_TRANSACTION = 10_000
WORDS, POOL = 5000, 20_000
# Of so many pairs one has a second answer.
DOUBLY = 10
FLIPPED = 0.15
PROMPT, RESPONSE, PAIR, ANSWER = range(1, 5)


def fill_project(pairs: int, *, seed: int = 0) -> Project:
    """Write a project with so many pairs; some 10,000 in memory at a time. Its labels are left to be resolved."""
    project = Project.objects.create(slug="bench", title="Bench")
    people = [
        Rater.objects.create(project=project, kind="person", name=f"person-{number}", origin=Origin.RECORDED)
        for number in range(PEOPLE)
    ]
    world = _World(np.random.default_rng(seed), [rater.pk.hex for rater in people])
    prompts, responses, drawn, preferences = _tables(project, people[0])
    for start in range(0, pairs, PAIRS_PER_TRANSACTION):
        numbers = range(start, min(start + PAIRS_PER_TRANSACTION, pairs))
        with transaction.atomic():
            prompts.insert(world.prompt(number) for number in numbers)
            responses.insert(side for number in numbers for side in world.responses(number))
            drawn.insert(
                (
                    _id(PAIR, number),
                    _id(PROMPT, number),
                    _id(RESPONSE, 2 * number),
                    _id(RESPONSE, 2 * number + 1),
                    f"p{number}",
                )
                for number in numbers
            )
            preferences.insert(answer for number in numbers for answer in world.answers(number))
    return project


class _World:
    """Draws the varying values of rows. Texts of responses come from a pool and differ by a number at their end."""

    def __init__(self, rng: np.random.Generator, people: list[str]) -> None:
        letters = np.array(list("abcdefghijklmnoprstuvw"))
        self._rng, self._people = rng, people
        self._words = ["".join(rng.choice(letters, size=n)) for n in rng.integers(2, 10, WORDS)]
        self._pool = [self._text(n) for n in rng.integers(60, 240, POOL).tolist()]

    def prompt(self, number: int) -> tuple[Any, ...]:
        asked = self._text(10 + number % 30)
        digest = f"{number:064x}"
        return _id(PROMPT, number), _messages("user", f"{asked} {number}"), digest, digest, draw_of(digest), "en"

    def responses(self, number: int) -> Iterator[tuple[str, ...]]:
        for side, place in enumerate(self._rng.integers(0, POOL, 2).tolist()):
            own = 2 * number + side
            told = _messages("assistant", f"{self._pool[place]} {own}")
            yield _id(RESPONSE, own), _id(PROMPT, number), told, f"{own:064x}", ("one", "two")[side]

    def answers(self, number: int) -> Iterator[tuple[Any, ...]]:
        for place in range(2 if number % DOUBLY == 0 else 1):
            flipped = self._rng.random() < FLIPPED
            choice = "ab"[(number + flipped) % 2]
            rater = self._people[(number // DOUBLY + number + place) % PEOPLE]
            why = f"The response that was chosen says more, and says it {'twice' if flipped else 'once'}."
            yield _id(ANSWER + place, number), _id(PAIR, number), rater, choice, 1 + number % 3, why

    def _text(self, words: int) -> str:
        return " ".join([self._words[word] for word in self._rng.integers(0, WORDS, words).tolist()])


def _messages(role: str, text: str) -> str:
    """Return a conversation of one turn as JSON; the made-up words need no escapes."""
    return f'[{{"role": "{role}", "content": "{text}"}}]'


def _id(kind: int, number: int) -> str:
    """Return an id that sorts by number, as a real one does by time."""
    return f"{kind:08x}{number:024x}"


class _Table:
    """Rows of one model: some columns vary, the others are those of a template, an instance that is not saved."""

    def __init__(self, template: models.Model, varying: Sequence[str]) -> None:
        meta, quoted = template._meta, connection.ops.quote_name
        by_name = {field.attname: field for field in meta.concrete_fields}
        fixed = [field for name, field in by_name.items() if name not in varying]
        self._fixed = tuple(field.get_db_prep_save(field.pre_save(template, add=True), connection) for field in fixed)
        columns = ", ".join(quoted(str(field.column)) for field in [*(by_name[name] for name in varying), *fixed])
        places = ", ".join(["%s"] * (len(varying) + len(fixed)))
        self._statement = f"INSERT INTO {quoted(meta.db_table)} ({columns}) VALUES ({places})"

    def insert(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows of the varying columns, as the database takes them."""
        with connection.cursor() as cursor:
            cursor.executemany(self._statement, [(*row, *self._fixed) for row in rows])


def _tables(project: Project, rater: Rater) -> tuple[_Table, _Table, _Table, _Table]:
    prompt = Prompt(project=project)
    response = Response(prompt=prompt)
    pair = Pair(project=project, prompt=prompt, response_a=response, response_b=response)
    return (
        _Table(prompt, ["id", "messages", "content_hash", "group", "draw", "language"]),
        _Table(response, ["id", "prompt_id", "messages", "content_hash", "model"]),
        _Table(pair, ["id", "prompt_id", "response_a_id", "response_b_id", "external_id"]),
        _Table(Preference(pair=pair, rater=rater), ["id", "pair_id", "rater_id", "choice", "strength", "rationale"]),
    )
