"""What the bench of the annotation screen does inside the application: fills a world, signs people in, counts, queries.

Each step is a process of its own with the database of its environment (DATABASE_URL), and prints one JSON object:

    python bench/screen_worlds.py fill --pairs 10000 --votes 1 --history 0

A world is a project whose pairs are all open to people, each with a prompt of 20-400 words and responses of 50-600 in
Markdown. Bodies come from a pool, but no two texts are the same, so nothing is rendered once for many pairs. With a
history each of the 32 people has answered the same first pairs of the queue, which still want votes: the longest way
to the next pair that there can be. A second project has pairs of single words; it weighs the screen without the texts.
"""

import argparse
import json
import os
import random
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.screen_people import Annotator, Reply

if TYPE_CHECKING:
    from django.db.models import Model
    from django.test import Client

    from annotation.models import Project, Rater

SLUG, BARE_SLUG = "bench", "bare"
PEOPLE = 32
PAIRS_AT_ONCE = 1000
BARE_PAIRS = 20
# A pair of the history wants more votes than there are people, so that it stays in everybody's queue.
HISTORY_VOTES = PEOPLE + 8
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


# --- Texts ----------------------------------------------------------------------------------------------------------

WORDS = re.findall(
    r"\w+",
    """
    a about after again also always and answer any are as ask at be because before better between but by can case
    change check clear code compare count data does each either enough every example explain fact few file find first
    for from function get give go good has have how if in instead into is it its keep kind know large last later less
    like list long look make many may mean measure method model more most much must name need never new next no not
    note number of often old on once one only or order other our out over own part people place point possible problem
    question quick rather read reason record result right rule same say second see set short should show side simple
    since small so some step still such sure take than that the their them then there these they thing this those time
    to together too under until up use useful value very way we well were what when where which while who why will
    with without word work would write wrong year yes yet you your
    """,
)
CODE = """def count_words(text):
    words = {}
    for word in text.split():
        words[word] = words.get(word, 0) + 1
"""


def sentences(rng: random.Random, words: int) -> Iterator[str]:
    """Return sentences of about so many words in all."""
    left = words
    while left > 0:
        length = min(left, rng.randint(6, 22))
        chosen = rng.choices(WORDS, k=length)
        if length > 8 and rng.random() < 0.2:
            chosen[length // 2] = f"**{chosen[length // 2]}**"
        yield f"{' '.join(chosen).capitalize()}."
        left -= length


def prompt_text(rng: random.Random) -> str:
    """Return what a person typed: one to three paragraphs of 20 to 400 words together."""
    said = list(sentences(rng, rng.randint(20, 400)))
    cut = len(said) // 2
    return "\n\n".join(" ".join(part) for part in (said[:cut], said[cut:]) if part)


def response_text(rng: random.Random) -> str:
    """Return what a model wrote: 50 to 600 words in paragraphs, half of the time with a list, at times with code."""
    said = list(sentences(rng, rng.randint(50, 600)))
    parts = [" ".join(said[start : start + 4]) for start in range(0, len(said), 4)]
    if len(parts) > 2 and rng.random() < 0.5:
        parts[1:3] = ["### What to look at", "\n".join(f"- {line}" for line in said[4:12])]
    if rng.random() < 0.2:
        parts.insert(1, f"```python\n{CODE * rng.randint(1, 3)}```")
    return "\n\n".join(parts)


class Pool:
    """Bodies of texts as they stand between the quotes of JSON; a number in front makes each text one of its own."""

    def __init__(self, seed: int, size: int = 3000) -> None:
        self.rng = random.Random(seed)
        self._prompts = [json.dumps(prompt_text(self.rng))[1:-1] for _ in range(size)]
        self._responses = [json.dumps(response_text(self.rng))[1:-1] for _ in range(size)]

    def prompt(self, number: int) -> str:
        """Return the messages of a prompt as canonical JSON."""
        return messages("user", f"Case {number}. {self.rng.choice(self._prompts)}")

    def response(self, number: int, side: str) -> str:
        """Return the messages of a response as canonical JSON."""
        return messages("assistant", f"Answer {number}{side}. {self.rng.choice(self._responses)}")


def messages(role: str, escaped: str) -> str:
    """Return one message as the canonical JSON that `annotation.models.pairs.content_hash` hashes."""
    return f'[{{"content":"{escaped}","role":"{role}"}}]'


# --- Rows -----------------------------------------------------------------------------------------------------------


class Table:
    """Rows of a model, written past the ORM: what is not given takes the model's own defaults."""

    def __init__(self, model: "type[Model]", **same: Any) -> None:
        from django.db import connection
        from django.db.models.expressions import DatabaseDefault

        blank = model(**same)
        self._usual: dict[str, Any] = {}
        for field in model._meta.concrete_fields:
            value = None if field.generated else field.pre_save(blank, add=True)
            if not field.generated and not isinstance(value, DatabaseDefault):
                self._usual[str(field.column)] = field.get_db_prep_save(value, connection)
        self._name = model._meta.db_table
        self._on_postgres = connection.vendor == "postgresql"

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store rows given by column; caller holds a transaction."""
        from django.db import connection

        columns = ", ".join(f'"{column}"' for column in self._usual)
        filled = ([*{**self._usual, **row}.values()] for row in rows)
        with connection.cursor() as cursor:
            if self._on_postgres:
                with cursor.copy(f'COPY "{self._name}" ({columns}) FROM STDIN') as copy:
                    for row in filled:
                        copy.write_row(row)
            else:
                marks = ", ".join("?" for _ in self._usual)
                assert connection.connection is not None
                connection.connection.executemany(f'INSERT INTO "{self._name}" ({columns}) VALUES ({marks})', filled)


class Filler:
    """Writes one project's pairs and tasks in batches."""

    def __init__(self, project: "Project", *, votes: int) -> None:
        from django.db import connection

        from annotation.models import Pair, Prompt, Response, Task

        self.tables = {
            "prompts": Table(Prompt, project=project, messages=[], language="en"),
            "responses": Table(Response, messages=[]),
            "pairs": Table(Pair, project=project),
            "tasks": Table(Task, project=project, votes_wanted=votes),
        }
        self._spell: Callable[[UUID], Any] = (
            (lambda one: one) if connection.vendor == "postgresql" else (lambda one: one.hex)
        )

    def new_id(self) -> Any:
        """Return an id as the database takes it."""
        from annotation.ids import new_id

        return self._spell(new_id())

    def write(self, made: Iterable[tuple[int, str, str, str, Mapping[str, Any]]]) -> None:
        """Store pairs: number, messages of the prompt and of both responses, and what is special of the task."""
        from django.db import transaction

        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self.tables}
        for number, prompt, first, second, task in made:
            digest = sha256(prompt.encode()).hexdigest()
            prompt_id, pair_id = self.new_id(), self.new_id()
            rows["prompts"].append({"id": prompt_id, "messages": prompt, "content_hash": digest, "group": digest})
            sides = {"response_a_id": first, "response_b_id": second}
            ids = {name: self.new_id() for name in sides}
            rows["responses"] += [
                {
                    "id": ids[name],
                    "prompt_id": prompt_id,
                    "messages": text,
                    "content_hash": sha256(text.encode()).hexdigest(),
                    "model": f"model-{name[9]}",
                }
                for name, text in sides.items()
            ]
            rows["pairs"].append({"id": pair_id, "prompt_id": prompt_id, **ids, "external_id": f"pair-{number}"})
            rows["tasks"].append({"id": self.new_id(), "pair_id": pair_id, **task})
        with transaction.atomic():
            for name, table in self.tables.items():
                table.write(rows[name])


def fill(options: argparse.Namespace) -> dict[str, Any]:
    """Migrate an empty database and fill it."""
    from django.core.management import call_command
    from django.db import connection

    from annotation.creating import create_project

    call_command("migrate", verbosity=0)
    projects = [
        create_project(slug=slug, title="Bench", guidelines="Choose the better answer.") for slug in (BARE_SLUG, SLUG)
    ]
    raters = [make_people(project) for project in projects]
    Filler(projects[0], votes=PEOPLE).write(
        (number, messages("user", f"Why {number}?"), messages("assistant", "Yes"), messages("assistant", "No"), {})
        for number in range(BARE_PAIRS)
    )
    pool = Pool(seed=options.pairs)
    filler = Filler(projects[1], votes=options.votes)
    for start in range(0, options.pairs, PAIRS_AT_ONCE):
        numbers = range(start, min(start + PAIRS_AT_ONCE, options.pairs))
        filler.write(
            (
                number,
                pool.prompt(number),
                pool.response(number, "a"),
                pool.response(number, "b"),
                task_of(number, options, pool.rng),
            )
            for number in numbers
        )
    if options.history:
        write_history(projects[1], raters[1])
    with connection.cursor() as cursor:
        # As autovacuum would have done by the time people come.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "PRAGMA wal_checkpoint(TRUNCATE)")
    return {"pairs": options.pairs}


def task_of(number: int, options: argparse.Namespace, rng: random.Random) -> dict[str, Any]:
    """Return what is special of a task: its priority; the first ones of a history are answered by everybody."""
    if number >= options.history:
        return {"priority": rng.random()}
    return {"priority": 1 + rng.random(), "votes_wanted": HISTORY_VOTES, "taken": PEOPLE, "answered": PEOPLE}


def make_people(project: "Project") -> "list[Rater]":
    """Make the people, on first use, and let them annotate in a project."""
    from annotation.assigning import rater_for
    from annotation.models import Membership, Role, User

    raters = []
    for number in range(PEOPLE):
        user, _ = User.objects.get_or_create(username=f"person{number:02}")
        Membership.objects.create(project=project, user=user, role=Role.ANNOTATOR)
        raters.append(rater_for(project, user))
    # They know the guidelines: what is measured begins after that.
    project.raters.update(guidelines_read=project.guidelines_number)
    return raters


def write_history(project: "Project", raters: "Sequence[Rater]") -> None:
    """Store an answer of everybody to each task that counts one of everybody."""
    from django.db import transaction

    from annotation.models import Assignment, AssignmentState, EntryKind, LedgerEntry, Preference, ShownOrder, Task

    answered = Task.objects.filter(project=project, answered=PEOPLE).values_list("id", "pair_id")
    with transaction.atomic():
        for task_id, pair_id in list(answered):
            given = [Preference(pair_id=pair_id, rater=rater, choice="a", shown_order="ab") for rater in raters]
            Preference.objects.bulk_create(given)
            Assignment.objects.bulk_create(
                Assignment(
                    id=uuid4(),
                    task_id=task_id,
                    rater_id=one.rater_id,
                    state=AssignmentState.SUBMITTED,
                    slot=slot,
                    shown_order=ShownOrder.AB,
                    leased_at=NOW,
                    lease_until=NOW,
                    finished_at=NOW,
                    promised_usd=project.pay_per_answer_usd,
                    preference=one,
                )
                for slot, one in enumerate(given)
            )
        book = [
            LedgerEntry(
                project=project,
                key=f"answer:{one.pk}",
                kind=EntryKind.ANSWER,
                amount_usd=project.pay_per_answer_usd,
                rater_id=one.rater_id,
                assignment=one,
                at=NOW,
            )
            for one in Assignment.objects.filter(task__project=project, state=AssignmentState.SUBMITTED)
        ]
        LedgerEntry.objects.bulk_create(book, batch_size=5000)


# --- Steps of a run -------------------------------------------------------------------------------------------------


def upgrade(_: argparse.Namespace) -> dict[str, Any]:
    """Bring a kept world to this version of the application."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    return {}


def begin(_: argparse.Namespace) -> dict[str, Any]:
    """Sign everybody in; return the cookie's name, a session each and the answers there are."""
    from django.conf import settings

    from annotation.models import User

    users = User.objects.filter(username__startswith="person").order_by("username")
    return {
        "slug": SLUG,
        "cookie": settings.SESSION_COOKIE_NAME,
        "sessions": [session_of(user) for user in users],
        **count(argparse.Namespace()),
    }


def session_of(user: Any) -> str:
    """Return the key of a new session of a person who has signed in."""
    from importlib import import_module

    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def count(_: argparse.Namespace) -> dict[str, Any]:
    """Count the answers stored, those that came too late, and the tasks that have more votes or leases than wanted."""
    from django.db.models import Count, F

    from annotation.models import Assignment, AssignmentState, Preference

    # A hidden repeat asks a person again on a task that has its votes; it holds none.
    holding = Assignment.objects.filter(
        state__in=(AssignmentState.LEASED, AssignmentState.SUBMITTED), repeats__isnull=True, gold__isnull=True
    )
    over = holding.values("task").annotate(held=Count("id")).filter(held__gt=F("task__votes_wanted"))
    answers = Preference.objects.filter(rater__project__slug=SLUG)
    return {"answers": answers.count(), "extras": answers.filter(is_extra=True).count(), "over": over.count()}


# --- Queries --------------------------------------------------------------------------------------------------------

CONTROL = re.compile(r"\s*(?:BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET)\b", re.IGNORECASE)
TABLE = re.compile(r'\b(?:FROM|INTO|UPDATE)\s+"(\w+)"')


def statement_kind(sql: str) -> str:
    """Return what a statement does to which table: SELECT, LOCK (for update), COUNT, INSERT ... and its first table."""
    verb = sql.split(None, 1)[0].upper()
    if verb == "SELECT":
        verb = "LOCK" if " FOR " in sql and " UPDATE" in sql else "COUNT" if "COUNT(" in sql[:40] else verb
    table = TABLE.search(sql)
    return f"{verb} {table[1] if table else ''}".strip()


class InProcess:
    """Django's test client as a way to the server."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.cookies: dict[str, str] = {}

    def get(self, path: str) -> Reply:
        """Fetch a page."""
        self._bring_cookies()
        return self._reply(self.client.get(path))

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """Send a form."""
        self._bring_cookies()
        return self._reply(self.client.post(path, dict(fields), headers=dict(headers)))

    def _bring_cookies(self) -> None:
        for name, value in self.cookies.items():
            self.client.cookies[name] = value

    def _reply(self, response: Any) -> Reply:
        return Reply(response.status_code, response.content.decode(), len(response.content), 0, dict(response.headers))


class Asked(NamedTuple):
    """The statements of one cycle by kind: how many, and their milliseconds at the database."""

    kinds: Counter[str]
    ms: dict[str, float]
    control: int


def queries(options: argparse.Namespace) -> dict[str, Any]:
    """Run cycles in this process and count their statements; the first few warm caches and connections."""
    from django.conf import settings
    from django.test import Client

    from annotation.models import User

    annotator = Annotator(InProcess(Client(enforce_csrf_checks=True, SERVER_NAME="127.0.0.1")), SLUG)
    annotator.sign_in(settings.SESSION_COOKIE_NAME, session_of(User.objects.get(username="person00")))
    annotator.open()
    for _ in range(3):
        annotator.submit()
    cycles = [asked(annotator.submit) for _ in range(options.cycles)]
    totals = [cycle.kinds.total() for cycle in cycles]
    kinds = sorted({kind for cycle in cycles for kind in cycle.kinds})
    return {
        "most": max(totals),
        "usual": statistics.median(totals),
        "control": statistics.median(cycle.control for cycle in cycles),
        "kinds": {
            kind: {
                "queries": statistics.fmean(cycle.kinds[kind] for cycle in cycles),
                "ms": statistics.fmean(cycle.ms.get(kind, 0.0) for cycle in cycles),
            }
            for kind in kinds
        },
        # Beside the statements: Django asks whether a kept connection still works, or opens a new one.
        "connection": "health check" if settings.DATABASES["default"].get("CONN_HEALTH_CHECKS") else "opened anew",
    }


def asked(work: Callable[[], Any]) -> Asked:
    """Do something and return the statements it took."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        work()
    kinds: Counter[str] = Counter()
    ms: defaultdict[str, float] = defaultdict(float)
    control = 0
    for query in captured.captured_queries:
        if CONTROL.match(query["sql"]):
            control += 1
        else:
            kinds[statement_kind(query["sql"])] += 1
            ms[statement_kind(query["sql"])] += 1000 * float(query["time"])
    return Asked(kinds, dict(ms), control)


def main() -> None:
    """Do one step and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    steps = {"fill": fill, "upgrade": upgrade, "begin": begin, "count": count, "queries": queries}
    parser.add_argument("step", choices=steps)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--votes", type=int, default=1)
    parser.add_argument("--history", type=int, default=0)
    parser.add_argument("--cycles", type=int, default=20)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django
    from django.db import connections

    django.setup()
    found = steps[options.step](options)
    # So that SQLite puts its journal into the file, which is copied next.
    connections.close_all()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
