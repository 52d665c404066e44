"""The annotator's pages in every language: nothing missing, nothing left in English; managers' stay English."""

import json
import re
from collections.abc import Collection, Iterator
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.conf import settings
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.management import CommandError, call_command
from django.template import engines
from django.template.base import Node, Template
from django.template.defaultfilters import floatformat
from django.templatetags.i18n import BlockTranslateNode, TranslateNode
from django.test import Client
from django.utils import timezone, translation

from annotation import translating
from annotation.answering import DRAFT_LIMIT, Answer
from annotation.assigning import Opening, next_assignment, open_tasks, submit
from annotation.configuring import configure
from annotation.creating import create_project
from annotation.guiding import revise_guidelines
from annotation.limiting import set_limits
from annotation.models import (
    Assignment,
    Criterion,
    Membership,
    Pair,
    Project,
    Rater,
    RaterKind,
    Response,
    Role,
    SkipReason,
    User,
)
from annotation.pausing import pause_person, resume_person
from annotation.promising import set_people_budget
from annotation.scoring import Rule
from annotation.templatetags.asking import ago
from annotation.translating import catalog_path, check_catalogs, extracted, read_catalog, write_catalogs
from annotation.wording import WORDS
from tests.annotation.outside_visits import visit_crowd, visit_joining
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt, make_response, make_user

pytestmark = pytest.mark.either_database

ROOT = Path(settings.BASE_DIR)
LANGUAGES = translating.languages()
HTMX = {"HX-Request": "true"}
HERE = "/annotate/helpfulness/"


# --- The catalogs ---------------------------------------------------------------------------------------------------


def test_every_text_is_translated_into_every_language_and_compiled() -> None:
    assert LANGUAGES == ["de", "es", "ar", "zh-hans"]
    assert [str(fault) for fault in check_catalogs(ROOT)] == []


def test_texts_are_found_in_code_and_in_templates() -> None:
    found = {message.id for message in extracted(ROOT) if message.id}
    assert len(found) > 300
    assert {"Next one.", "Which response is better?", "[image: %s]", "The prompt is unclear"} <= found
    assert {"Skip…", "Your projects", "Nothing is here", "Sign in"} <= found
    assert ("%(n)s earlier turn", "%(n)s earlier turns") in found


def _marked_in(template: Template) -> Iterator[str]:
    nodes: list[Node] = template.nodelist.get_nodes_by_type((TranslateNode, BlockTranslateNode))  # type: ignore[arg-type]
    for node in nodes:
        if isinstance(node, BlockTranslateNode):
            yield node.render_token_list(node.singular)[0]
        elif isinstance(node, TranslateNode):
            yield str(node.filter_expression.var.literal or node.filter_expression.var)


def test_nothing_that_a_template_marks_is_overlooked() -> None:
    known = {message.id if isinstance(message.id, str) else message.id[0] for message in extracted(ROOT) if message.id}
    known = {" ".join(text.split()) for text in known}
    pages = [path for path in translating.source_files(ROOT) if path.suffix == ".html"]
    assert len(pages) > 30
    for path in pages:
        template = engines["django"].from_string(path.read_text())
        marked = {" ".join(text.split()) for text in _marked_in(template.template)}  # type: ignore[attr-defined]
        assert marked - known == set(), path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with sources of three texts, all translated everywhere."""
    (tmp_path / "annotation").mkdir()
    (tmp_path / "templates" / "annotation").mkdir(parents=True)
    (tmp_path / "annotation" / "words.py").write_text(
        '# Translators: a verb\nw = _("Copy %(name)s")\nx = f"{_(\'Open\')}"\n'
    )
    page = "{% blocktranslate count n=n %}{{ n }} turn{% plural %}{{ n }} turns{% endblocktranslate %}"
    (tmp_path / "templates" / "annotation" / "page.html").write_text(f"{{% load i18n %}}<p>{page}</p>")
    assert {fault.what for fault in write_catalogs(tmp_path)} == {"is not translated"}
    for language in LANGUAGES:
        path = catalog_path(tmp_path, language)
        text = re.sub(r'msgid "(.+)"\nmsgstr ""', r'msgid "\1"\nmsgstr "\1"', path.read_text())
        path.write_text(re.sub(r'(msgstr\[\d\]) ""', r'\1 "%(n)s"', text))
    assert write_catalogs(tmp_path) == []
    assert check_catalogs(tmp_path) == []
    return tmp_path


def _edited(tree: Path, before: str, after: str, *, language: str = "de") -> list[tuple[str, str, str]]:
    path = catalog_path(tree, language)
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    catalog_path(tree, language, ".mo").write_bytes(translating.compiled(read_catalog(tree, language)))
    return [tuple(fault) for fault in check_catalogs(tree)]  # type: ignore[misc]


def test_a_new_text_is_missing_until_it_is_translated(tree: Path) -> None:
    with (tree / "annotation" / "words.py").open("a") as file:
        file.write('y = pgettext("a window", "Close")\n')
    assert [str(fault) for fault in check_catalogs(tree)] == [
        f"{code}: 'Close' is not in the catalog" for code in LANGUAGES
    ]
    assert {fault.what for fault in write_catalogs(tree)} == {"is not translated"}
    assert 'msgctxt "a window"\nmsgid "Close"\nmsgstr ""' in catalog_path(tree, "ar").read_text()
    assert "fuzzy" not in catalog_path(tree, "ar").read_text()


def test_a_text_that_is_gone_is_obsolete_until_the_catalogs_are_brought_up(tree: Path) -> None:
    (tree / "annotation" / "words.py").write_text('x = _("Open")\n')
    assert {(fault.text, fault.what) for fault in check_catalogs(tree)} == {
        ("Copy %(name)s", "is in no source any more")
    }
    assert write_catalogs(tree) == []
    assert "Copy" not in catalog_path(tree, "es").read_text()


@pytest.mark.parametrize(
    ("before", "after", "text", "what"),
    [
        ('msgstr "Open"', 'msgstr ""', "Open", "is not translated"),
        ('msgstr "Open"', 'msgstr " Auf "', "Open", "begins or ends with a blank"),
        ('msgid "Open"', '#, fuzzy\nmsgid "Open"', "Open", "is marked as unsure (fuzzy)"),
        (
            'msgstr "Copy %(name)s"',
            'msgstr "%(Name)s kopieren"',
            "Copy %(name)s",
            "has the placeholders %(Name)s, not %(name)s",
        ),
        ('msgstr "Copy %(name)s"', 'msgstr "Kopieren"', "Copy %(name)s", "has the placeholders (none), not %(name)s"),
        ('msgstr[1] "%(n)s"', 'msgstr[1] "viele"', "%(n)s turn", "has the placeholders (none), not %(n)s"),
        ('msgstr[1] "%(n)s"', 'msgstr[1] ""', "%(n)s turn", "is not translated"),
        ('msgid_plural "%(n)s turns"', 'msgid_plural "%(n)s goes"', "%(n)s turn", "has another plural in the sources"),
    ],
)
def test_a_text_that_is_not_right_is_named(tree: Path, before: str, after: str, text: str, what: str) -> None:
    assert _edited(tree, before, after) == [("de", text, what)]


def test_one_may_be_a_word_in_a_plural(tree: Path) -> None:
    assert _edited(tree, 'msgstr[0] "%(n)s"', 'msgstr[0] "einer"') == []


def test_what_is_compiled_of_an_older_catalog_is_found(tree: Path) -> None:
    path = catalog_path(tree, "es")
    path.write_text(path.read_text().replace('msgstr "Open"', 'msgstr "Abrir"'))
    assert [str(fault) for fault in check_catalogs(tree)] == [
        "es: 'django.mo' is not compiled from the catalog: run make messages"
    ]
    write_catalogs(tree)
    assert check_catalogs(tree) == []


def test_bringing_the_catalogs_up_twice_changes_nothing(tree: Path) -> None:
    before = catalog_path(tree, "ar").read_text()
    write_catalogs(tree)
    assert catalog_path(tree, "ar").read_text() == before
    assert "#. a verb" in before


def test_the_command_fails_where_something_is_missing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BASE_DIR", tree)
    call_command("messages", "--check")
    (tree / "annotation" / "words.py").write_text('x = _("Open")\ny = _("Close")\n')
    with pytest.raises(CommandError, match="8 texts"):
        call_command("messages", "--check")


# --- Nothing hard-coded ---------------------------------------------------------------------------------------------


class Said(HTMLParser):
    """What a page says: its texts, and the attributes that are read out or shown."""

    SILENT = {"script", "style"}
    SHOWN = {"aria-label", "title", "placeholder", "alt", "data-found", "data-none"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: dict[str, str] = {}
        self._silent = 0
        self.feed(html)
        # What people wrote may be long; what pages say is not.
        self.texts = [" ".join(text.split()) for text in self.texts if text.strip() and len(text) < 1_000]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in self.SILENT
        named = {name: value or "" for name, value in attrs}
        self.texts += [value for name, value in named.items() if name in self.SHOWN]
        if tag == "html":
            self.attributes = named

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in self.SILENT

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.texts.append(data)


# The names of things, keys and languages, which are the same everywhere.
NAMES = {
    "Tiebreak",
    "tiebreak",
    "Enter",
    "Esc",
    "Ctrl",
    "Strg",
    "NUL",
    "AI",
    "English",
    "Deutsch",
    "Español",
    "ben",
} | {"Prolific", "Mechanical", "Turk", "fay"}
WORD = re.compile(r"[A-Za-zÀ-ÿ]{2,}")


@pytest.mark.parametrize(
    "path", [path for path in translating.source_files(ROOT) if path.suffix == ".html"], ids=lambda path: path.stem
)
def test_a_template_says_nothing_that_cannot_be_translated(path: Path) -> None:
    source = re.sub(r"{%\s*comment.*?endcomment\s*%}", "", path.read_text(), flags=re.DOTALL)
    source = re.sub(r"{%\s*blocktrans.*?endblocktrans\w*\s*%}", "", source, flags=re.DOTALL)
    source = re.sub(r"{%\s*block \w+_class.*?endblock.*?%}", "", source)
    source = re.sub(r"{%.*?%}|{{.*?}}", "", source, flags=re.DOTALL)
    said = {word for text in Said(source).texts for word in WORD.findall(text)}
    allowed = NAMES | ({"optional"} if path.parent.name == "components" else set())  # of managers' forms
    assert said - allowed == set()


def test_the_reasons_for_skipping_are_translated() -> None:
    with translation.override("de"):
        assert str(SkipReason.UNCLEAR.label) == "Die Anfrage ist unklar"
    assert str(SkipReason.UNCLEAR.label) == "The prompt is unclear"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_of_the_scripts_are_complete(language: str) -> None:
    english = {name: str(word) for name, word in WORDS.items()}
    with translation.override(language):
        words = {name: str(word) for name, word in WORDS.items()}
    assert [name for name, word in words.items() if word == english[name] and name != "progress"] == []
    used = set()
    for path in (ROOT / "static" / "js" / "annotating").glob("*.js"):
        calls = re.findall(r"\bword\(([^;]*?)[,)]", re.sub(r'=== "\w+"', "", path.read_text()))
        used |= {name for call in calls for name in re.findall(r'"([a-z_]+)"', call)}
    assert len(used) > 40
    assert used - set(words) == set()


# --- The pages ------------------------------------------------------------------------------------------------------

TITLE, TEXT = "한글", "하나 둘 셋."
EVERYTHING: dict[str, Any] = {
    "repeat_percent": 0,
    "reasons": ["가", "나"],
    "content_flags": ["다"],
    "confidence": True,
    "spans": True,
    "show_reference": True,
    "images": True,
}


KOREAN: dict[str, Any] = {
    "practice": [
        {"prompt": TEXT, "response_a": "가", "response_b": "", "answer": "a", "why": "나"},
        {"prompt": TEXT, "response_a": "가", "response_b": "다", "answer": ["a", "tie", "both_bad"], "why": "나"},
    ],
    "gate": {
        "questions": [
            {"question": "마;", "options": ["가", "나"], "correct": 1, "why": "다"},
            {"question": "바;", "options": ["가", "나", "다"], "correct": [0, 2], "why": "라"},
        ],
        "pass_mark": 1.0,
        "tries": 2,
    },
}


class Visits(list[tuple[str, str]]):
    """What a person got at their browser, each page or message with its name."""

    def __init__(self, client: Client, *, kept: "Visits | None" = None) -> None:
        super().__init__()
        self.client = client
        self.kept = self if kept is None else kept

    def get(self, name: str, path: str, **headers: str) -> str:
        return self._keep(name, self.client.get(path, headers=headers, follow=True))

    def post(self, name: str, path: str, data: dict[str, Any] | None = None, **headers: str) -> str:
        return self._keep(name, self.client.post(path, data or {}, headers=headers, follow=True))

    def _keep(self, name: str, response: Any) -> str:
        html: str = response.content.decode()
        is_message = response.headers.get("Content-Type", "").startswith("application/json")
        self.kept.append((name, json.loads(html).get("message", "") if is_message else html))
        return html


def make_korean(slug: str, template: str = "pairwise", *, responses: int = 2, tasks: int = 1, **screen: Any) -> Project:
    """Return a project that says nothing in Latin letters, with open tasks of so many responses."""
    project = make_project(slug, title=TITLE, guidelines=TEXT)
    for position, name in enumerate(("자", "차")):
        Criterion.objects.create(project=project, name=name, position=position, description=TEXT if position else "")
    configure(project, template=template, settings={"repeat_percent": 0, **screen})
    for number in range(tasks):
        turns = [
            ("system", TEXT),
            ("user", "가"),
            ("assistant", "나"),
            ("developer", "라"),
            ("tool", "라"),
            ("user", f"{number} 다"),
        ]
        messages = [{"role": role, "content": content} for role, content in turns]
        prompt = make_prompt(project, messages=messages, context="마", reference="바")
        said = ["", *(f"{number} {one} ![](https://127.0.0.1/아)" for one in range(1, responses))]
        texts = [make_response(prompt, text) for text in said]
        pairs = [
            Pair.objects.create(
                project=project, prompt=prompt, response_a=one, response_b=other, external_id=f"{number}-{at}-{to}"
            )
            for at, one in enumerate(texts)
            for to, other in enumerate(texts[at + 1 :])
        ]
        open_tasks(project, [Opening(pairs[0].pk, float(-number))], votes_wanted=1)
    return project


def held_in(project: Project, username: str = "ben") -> Assignment:
    held = next_assignment(project, make_person(project, username), now=timezone.now()).assignment
    assert held is not None
    return held


def visit_everything(client: Client, language: str) -> Visits:
    """Go to every page there is for somebody who reads a language, and do most things wrong once."""
    ben = make_user("ben", interface={"language": language})
    client.force_login(ben)
    visits = Visits(client)
    visits.get("no projects", "/annotate/")
    visit_choices(visits)
    visit_other_screens(visits)
    visit_judged(visits)
    visit_waiting(visits)
    visit_course(visits)
    visit_short_courses(visits)
    visits.get("projects", "/annotate/")
    visits.get("nothing there", "/annotate/nowhere/")
    visits.post("settings that cannot be", "/annotation-settings/", {"theme": "7"})
    visits.post("keys that cannot be", "/annotation-settings/", {"key-help": "u"})
    visits.post("keys that cannot be, by a script", "/annotation-settings/", {"key-help": "u"}, **HTMX)
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(ben)
    visits.append(("a form without its token", careful.post("/annotation-settings/").content.decode()))
    signed_out = Visits(Client(headers={"Accept-Language": language}))
    signed_out.get("signing in", "/sign-in/")
    signed_out.get("signing in for a page", "/annotate/full/")
    signed_out.post("signing in with the wrong password", "/sign-in/", {"username": "ben", "password": "1"})
    visits.extend(signed_out)

    def browser() -> Visits:
        return Visits(Client(headers={"Accept-Language": language}), kept=visits)

    project = make_korean("outside", tasks=2)
    visit_crowd(browser, project)
    visit_joining(browser, visits, project)
    return visits


def visit_choices(visits: Visits) -> None:
    project = make_korean("full", tasks=4, **EVERYTHING)
    here = "/annotate/full/"
    visits.get("a pair with everything", here)
    Project.objects.filter(pk=project.pk).update(rationale_required=True)
    visits.get("a pair that wants a reason", here)
    first = f"{here}{held_in(project).pk}/"
    good = {"answer": "first3", "confidence": "2", "rationale": "사"}
    spans = json.dumps([{"side": "A", "start": n, "end": n + 1, "text": "가"} for n in range(41)])
    wrong: dict[str, dict[str, Any]] = {
        "nothing": {},
        "no such choice": {"answer": "third"},
        "not how sure": {"answer": "tie"},
        "no reason": {**good, "rationale": ""},
        "a long reason": {**good, "rationale": "가" * 20_001},
        "answers to other questions": {**good, "asks": "1"},
        "a NUL": {**good, "rationale": "\x00"},
        "a broken quote": {**good, "spans": "7"},
        "many quotes": {**good, "spans": spans},
        "a negative time": {**good, "seconds": "-1"},
        "a time that is none": {**good, "seconds": "가"},
    }
    for name, sent in wrong.items():
        visits.post(name, f"{first}submit/", sent)
        visits.post(f"{name}, by a script", f"{first}submit/", sent, **HTMX)
    visits.post("skipping without a reason", f"{first}skip/", {})
    visits.post("a long note", f"{first}skip/", {"reason": "unclear", "note": "가" * 2_001}, **HTMX)
    visits.post("a draft that is none", f"{first}draft/", {"answer": "third"}, **HTMX)
    half = "가" * (DRAFT_LIMIT // 2 + 1)
    visits.post("a long draft", f"{first}draft/", {"rationale": half, "spans": half}, **HTMX)
    visits.post("an answer", f"{first}submit/", good)
    visits.post("another answer", f"{first}submit/", {**good, "answer": "tie"}, **HTMX)
    visits.post("skipping what was answered", f"{first}skip/", {"reason": "unclear"}, **HTMX)
    visits.post("renewing what was answered", f"{first}renew/", {}, **HTMX)
    visits.get("changing an answer", first)
    visits.get("an answer, by a script", first, **HTMX)
    visits.post("a changed answer", f"{first}submit/", {**good, "answer": "tie", "revises": "1"})
    visits.get("the last answers", f"{here}recent/")
    visits.get("the last answers, by a script", f"{here}recent/", **HTMX)
    skipped = held_in(project)
    second = f"{here}{skipped.pk}/"
    visits.post("skipping", f"{second}skip/", {"reason": "unclear"}, **HTMX)
    visits.get("what was skipped", second)
    for act in ("submit", "draft", "renew"):
        visits.post(f"{act} of what was skipped", f"{second}{act}/", good, **HTMX)
    visits.post("changing what was skipped", f"{second}submit/", {**good, "revises": "1"}, **HTMX)
    lapsed = held_in(project)
    Assignment.objects.filter(pk=lapsed.pk).update(state="expired", slot=None, place=None, promised_usd=0)
    visits.post("renewing what ran out", f"{here}{lapsed.pk}/renew/", {}, **HTMX)
    visits.post("a break", f"{here}break/")
    visits.get("what is somebody else's", f"{here}{held_in(project, 'cyd').pk}/")
    visits.post("far too much", f"{first}submit/", {f"field{number}": "1" for number in range(1_001)})


def visit_other_screens(visits: Visits) -> None:
    ratings = make_korean("ratings", "ratings", by_criterion=True)
    visits.get("ratings", "/annotate/ratings/")
    make_korean("alone", "ratings", spans=True)
    visits.get("ratings on the whole alone", "/annotate/alone/")
    visits.post("an open rating", f"/annotate/ratings/{held_in(ratings).pk}/submit/", {}, **HTMX)
    make_korean("both", "pairwise_ratings", by_criterion=True, points=3, both_bad=False, unsure=False, rationale=False)
    visits.get("ratings and a choice", "/annotate/both/")
    make_korean("plain", response_format="plain", content_flags=["가"], rationale=False)
    visits.get("flags alone", "/annotate/plain/")
    make_korean("code", response_format="code")
    visits.get("code", "/annotate/code/")
    chips = make_korean("chips", reasons=["가"], reasons_required=True)
    visits.post("no chip", f"/annotate/chips/{held_in(chips).pk}/submit/", {"answer": "first1"}, **HTMX)
    ranking = make_korean("ranking", "ranking", responses=4, rank_ties=False, tasks=2)
    visits.get("a ranking", "/annotate/ranking/")
    ranks = {f"rank-{letter}": "1" for letter in "ABCD"}
    visits.post("one rank twice", f"/annotate/ranking/{held_in(ranking).pk}/submit/", ranks, **HTMX)
    ranks = {f"rank-{letter}": str(number) for number, letter in enumerate("ABCD", start=1)}
    visits.post("a ranking sent", f"/annotate/ranking/{held_in(ranking).pk}/submit/", ranks)
    visits.get("the last rankings", "/annotate/ranking/recent/")
    best = make_korean("best", "best_worst", responses=3)
    visits.get("best and worst", "/annotate/best/")
    visits.post("best is worst", f"/annotate/best/{held_in(best).pk}/submit/", {"best": "A", "worst": "A"}, **HTMX)


def visit_judged(visits: Visits) -> None:
    project = make_korean("judged", tasks=2)
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="judge")
    configure(project, settings={"repeat_percent": 0, "suggestion": "judge"})
    for answer in ("tie", "second1"):
        held = held_in(project)
        make_preference(held.task.pair, judge, "tie")
        visits.get("what differs", f"/annotate/judged/{held.pk}/differences/", **HTMX)
        visits.post(f"a judge said a tie, ben {answer}", f"/annotate/judged/{held.pk}/submit/", {"answer": answer})
    long = [{"role": "assistant", "content": "가 " * 20_001}]
    Response.objects.filter(pk=held.task.pair.response_a_id).update(messages=long)
    visits.get("what differs in long texts", f"/annotate/judged/{held.pk}/differences/", **HTMX)


def visit_waiting(visits: Visits) -> None:
    project = make_korean("waiting", tasks=1)
    held_in(project, "cyd")
    visits.get("all held by others", "/annotate/waiting/")
    make_korean("empty", tasks=0)
    visits.get("nothing to answer", "/annotate/empty/")
    visits.get("no last answers", "/annotate/empty/recent/")
    done = make_korean("done", tasks=1)
    submit(held_in(done).pk, make_person(done), Answer("a", 1), now=timezone.now() - timedelta(hours=3))
    visits.get("all answered", "/annotate/done/")
    for minutes in (0, 1, 5, 60, 300, 24 * 60, 72 * 60):
        moment = timezone.now() - timedelta(minutes=minutes, seconds=20)
        Assignment.objects.filter(task__project=done).update(finished_at=moment)
        visits.get(f"last answers of {minutes} minutes ago", "/annotate/done/recent/")
    paused = make_korean("paused", tasks=1)
    Project.objects.filter(pk=paused.pk).update(status="paused")
    visits.get("paused", "/annotate/paused/")
    visit_stopped(visits)
    for name, reason in (("known", Rule.GOLD), ("checks", Rule.ATTENTION)):
        ruled = make_korean(name, tasks=1)
        pause_person(make_person(ruled), reason=reason, now=timezone.now())
        visits.get(f"somebody paused by a rule: {name}", f"/annotate/{name}/")


def visit_stopped(visits: Visits) -> None:
    stopped = make_korean("stopped", tasks=2)
    held = held_in(stopped)
    pause_person(make_person(stopped), reason=TITLE, now=timezone.now())
    visits.get("a paused person", "/annotate/stopped/")
    visits.post("an answer of a paused person", f"/annotate/stopped/{held.pk}/submit/", {"answer": "tie"}, **HTMX)
    resume_person(make_person(stopped))
    set_people_budget(stopped, Decimal(0))
    visits.get("the budget is spent", "/annotate/stopped/")
    visits.post("a late answer and no money", f"/annotate/stopped/{held.pk}/submit/", {"answer": "tie"}, **HTMX)
    set_people_budget(stopped, None)
    submit(held_in(stopped).pk, make_person(stopped), Answer("a", 1), now=timezone.now())
    set_limits(stopped, {"most_answers": 1})
    visits.get("a share that is done", "/annotate/stopped/")
    set_limits(stopped, {"most_answers": None, "most_answers_a_day": 1})
    visits.get("a day's share that is done", "/annotate/stopped/")


def visit_course(visits: Visits) -> None:
    project = create_project(slug="course", title=TITLE, guidelines=TEXT, training=KOREAN)
    Membership.objects.create(project=project, user=User.objects.get(username="ben"), role=Role.ANNOTATOR)
    here = "/annotate/course/"
    visits.get("guidelines to read", here)
    visits.post("guidelines of a version that is not there", f"{here}guidelines/read/", {"number": "9"})
    visits.post("guidelines were read", f"{here}guidelines/read/", {"number": "1"})
    visits.post("a script sends to what is not open yet", f"{here}break/", {}, **HTMX)
    visits.post("practice without a choice", f"{here}practice/", {"number": "1"})
    visits.post("practice with an odd choice", f"{here}practice/", {"number": "1", "choice": "c"})
    visits.post("practice of another pair", f"{here}practice/", {"number": "9", "choice": "a"})
    visits.post("practice gone wrong", f"{here}practice/", {"number": "1", "choice": "b"})
    visits.post("practice gone right", f"{here}practice/", {"number": "2", "choice": "a"})
    visits.get("practice done", f"{here}practice/")
    visits.post("practice again", f"{here}practice/again/", {"number": "1", "choice": "a"})
    visits.get("the questions", f"{here}gate/")
    key = re.search(r'name="key" value="([^"]+)"', visits[-1][1])
    assert key is not None
    wrong = {"key": key[1], "question0": "0", "question1": ["0", "2"]}
    visits.post("questions left out", f"{here}gate/", {"number": "1", "key": key[1]})
    visits.post("other questions", f"{here}gate/", {**wrong, "number": "1", "key": "0"})
    visits.post("a try that failed", f"{here}gate/", {**wrong, "number": "1", "question1": "1"})
    visits.post("the same try", f"{here}gate/", {**wrong, "number": "1"})
    Rater.objects.filter(project=project).update(gate_tries=0)
    visits.post("a try that went better", f"{here}gate/", {**wrong, "number": "1"})
    visits.post("the last try", f"{here}gate/", {**wrong, "number": "2"})
    rater = Rater.objects.get(project=project, user__username="ben")
    Rater.objects.filter(pk=rater.pk).update(gate_answers={})
    visits.get("no try left", f"{here}gate/")
    Rater.objects.filter(pk=rater.pk).update(gate_extra=1)
    visits.post("a try that passed", f"{here}gate/", {**wrong, "number": "3", "question0": "1"})
    lines = [f"{number}." for number in range(20)]
    revise_guidelines(project, text="\n\n".join(lines), note="라")
    revise_guidelines(project, text="\n\n".join([*lines[1:], "마"]))
    visits.get("guidelines that changed", f"{here}guidelines/")
    visits.get("guidelines as they were first", f"{here}guidelines/1/")
    visits.get("guidelines as they were", f"{here}guidelines/2/")
    open_tasks(project, [Opening(make_pair(project, prompt="가", response_a="나", response_b="다").pk)], votes_wanted=1)
    visits.get("a pair after the guidelines changed", here)
    visits.post("the change was read", f"{here}guidelines/read/", {"number": "3"}, **HTMX)
    Project.objects.filter(pk=project.pk).update(guidelines="")
    visits.get("no guidelines", f"{here}guidelines/")
    pair = held_in(project)
    Rater.objects.filter(project=project).update(gate_passed_at=None, practice_done=0)
    visits.post("something new to learn", f"{here}{pair.pk}/skip/", {"reason": "unclear"}, **HTMX)


def visit_short_courses(visits: Visits) -> None:
    question = KOREAN["gate"]["questions"][:1]
    for slug, training in {
        "practice": {"practice": KOREAN["practice"]},
        "gate": {"gate": {"questions": question, "pass_mark": 1.0, "tries": 1}},
    }.items():
        project = create_project(slug=slug, title=TITLE, training=training)
        Membership.objects.create(project=project, user=User.objects.get(username="ben"), role=Role.ANNOTATOR)
        visits.get(f"a course of {slug} alone", f"/annotate/{slug}/")
    for number in (1, 2):
        visits.post(f"practice alone, {number}", "/annotate/practice/practice/", {"number": number, "choice": "a"})
    visits.get("practice alone, done", "/annotate/practice/practice/")


class Left(NamedTuple):
    """An English text and how it shows on a page: whole or, where it is too long for an accident, within others."""

    text: str
    whole: re.Pattern[str]
    is_long: bool


def english_texts(language: str) -> list[Left]:
    """Return the texts of the sources that read otherwise in a language."""
    catalog = read_catalog(ROOT, language)
    found = []
    for message in catalog:
        ids = (message.id,) if isinstance(message.id, str) else message.id
        strings = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
        for text in ids:
            if text and text not in strings:
                parts = [re.escape(part) for part in re.split(translating.PLACEHOLDER, text)]
                plain = re.sub(translating.PLACEHOLDER, "", text)
                found.append(Left(text, re.compile(".+?".join(parts)), len(WORD.findall(plain)) > 2))
    return found


def left_in_english(said: Collection[str], texts: list[Left]) -> set[str]:
    """Return which of the English texts are among what was said."""
    return {
        one.text
        for one in texts
        if any((one.whole.search if one.is_long else one.whole.fullmatch)(text) for text in said)
    }


@pytest.mark.django_db
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_shows_english_to_who_reads_another_language(client: Client, language: str) -> None:
    visits = visit_everything(client, language)
    assert len(visits) > 90
    pages = {name: Said(html) for name, html in visits}
    where: dict[str, str] = {text: name for name, page in pages.items() for text in page.texts}
    texts = english_texts(language)
    assert len(texts) > 300
    assert left_in_english(where, texts) == set()
    if language in {"ar", "zh-hans"}:
        # No words in Latin letters either, whether or not they could have been translated.
        latin = {(name, word) for text, name in where.items() for word in WORD.findall(text)}
        assert {(name, word) for name, word in latin if word not in NAMES | {"https", language}} == set()
    whole = {name: page.attributes for name, page in pages.items() if page.attributes}
    assert len(whole) > 50
    direction = "rtl" if language == "ar" else "ltr"
    assert [name for name, one in whole.items() if (one["lang"], one["dir"]) != (language, direction)] == []
    words = re.search(r'<script id="words" type="application/json">(.*?)</script>', dict(visits)["ratings"])
    assert words is not None
    with translation.override(language):
        assert json.loads(words[1]) == {name: str(word) for name, word in WORDS.items()}


# What no visit meets: said where two things happen at the same moment, to who sends by hand, or to managers.
UNSEEN = {
    "Hello %(name)s,\n\nthis link signs you in, once, within a quarter of an hour:\n\n%(link)s\n\n"
    "If you did not ask for it, do nothing: without the link nobody gets in.",
    "No mail can be sent right now. Try again in a minute.",
    "Thank you for trying. One step is left: end your visit, and hand in where you came from what it gives you.",
    "This link has expired. Open the study on Prolific again: that makes a new one.",
    "This link was used before. Open the study on Prolific again: that makes a new one.",
    "This project takes nobody by itself. Ask its manager for an invitation.",
    "You gave %(answers)s answers; they are stored.",
    "Somebody with this name signs in at the same moment. Try again.",
    "Your link to sign in",
    "Your second step cannot be read any more. Ask the operator of this site to end it.",
    "Your submission is over on Prolific, so there is nothing more to do here.",
    "%(right)s of %(total)s answers was right.",
    "Both responses need a rating all in all. Give them, then submit.",
    "Changed.",
    "Differences are shown between two responses.",
    "In your last try %(right)s of %(total)s answers were right; %(needed)s are needed, and there is no try left.",
    "Nothing was suggested to you on this pair.",
    "Saved.",
    "The %(field)s contains a NUL character. Remove it and send again.",
    "The %(field)s contains half of a broken character (a lone surrogate). Remove it.",
    "This answer is not among your last %(number)d any more, so it stays as it is.",
    "This pair is not held for you. Open the project again to get one.",
    "This task was opened with other questions than these. Reload the page to see the ones it asks.",
    "You have answered this pair before, in another task. Go on to the next.",
    "quote",
    "the prompt inside the box for the reason",
    "the question above the choices",
}


@pytest.mark.django_db
def test_the_visits_see_nearly_every_text(client: Client) -> None:
    said = {text for _name, html in visit_everything(client, "en") for text in Said(html).texts}
    unseen = set()
    for message in extracted(ROOT):
        for text in filter(None, (message.id,) if isinstance(message.id, str) else message.id):
            pattern = re.compile(".+?".join(re.escape(one) for one in re.split(translating.PLACEHOLDER, text)))
            if not any(pattern.search(one) for one in said):
                unseen.add(text)
    assert unseen - {str(word) for word in WORDS.values()} - UNSEEN == set()


def test_the_search_for_english_finds_it() -> None:
    texts = english_texts("de")
    for html, found in {
        "<p>Skip this pair</p>": {"Skip this pair"},
        '<a title="Copy the text">x</a>': {"Copy the text"},
        "<p>· 3 answered, held by others</p>": set(),
        "<p>3 answered</p>": {"%(done)s answered"},
        "<p>Dann: Back to the project!</p>": {"Back to the project"},
        "<p>Zurück zum Projekt</p><script>Back to the project</script>": set(),
    }.items():
        assert left_in_english(Said(html).texts, texts) == found


# --- Which language it is -------------------------------------------------------------------------------------------


def page_of(client: Client, path: str, **headers: str) -> tuple[str, str]:
    """Return the language and the text of a page."""
    response = client.get(path, headers=headers)
    assert response.status_code in {200, 404}
    html = response.content.decode()
    return Said(html).attributes["lang"], html


@pytest.mark.django_db
def test_the_language_that_was_chosen_goes_before_the_browsers(client: Client) -> None:
    ben = make_user("ben")
    client.force_login(ben)
    german = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}
    assert page_of(client, "/annotate/")[0] == "en"
    assert page_of(client, "/annotate/", **german)[0] == "de"
    assert page_of(client, "/annotate/", **{"Accept-Language": "zh-CN"})[0] == "zh-hans"
    assert page_of(client, "/annotate/", **{"Accept-Language": "tlh"})[0] == "en"
    assert client.post("/annotation-settings/", {"language": "es"}, headers=HTMX).status_code == 204
    language, html = page_of(client, "/annotate/", **german)
    assert (language, "Sus proyectos" in html) == ("es", True)
    assert client.post("/annotation-settings/", {"language": ""}, headers=HTMX).status_code == 204
    assert page_of(client, "/annotate/", **german)[0] == "de"


@pytest.mark.django_db
def test_the_choice_of_language_holds_for_pages_that_fail(client: Client) -> None:
    client.force_login(make_user("ben", interface={"language": "ar"}))
    language, html = page_of(client, "/annotate/nowhere/")
    assert (language, "لا شيء هنا" in html) == ("ar", True)
    assert page_of(client, "/projects/nowhere/")[0] == "en"
    assert page_of(client, "/nowhere/")[0] == "en"


@pytest.mark.django_db
def test_managers_pages_stay_english_with_english_numbers(client: Client) -> None:
    project = make_project()
    prompt = make_prompt(project)
    first = make_response(prompt, "first")
    others = Response.objects.bulk_create(
        Response(prompt=prompt, content_hash=str(number), messages=[]) for number in range(1_234)
    )
    Pair.objects.bulk_create(
        Pair(project=project, prompt=prompt, response_a=first, response_b=other, external_id=other.content_hash)
        for other in others
    )
    User.objects.filter(username="ada").update(interface={"language": "de"})
    client.force_login(User.objects.get(username="ada"))
    assert page_of(client, "/annotate/")[0] == "de"
    for path in ("/", "/projects/helpfulness/", "/projects/helpfulness/people/"):
        language, html = page_of(client, path, **{"Accept-Language": "ar"})
        assert (language, Said(html).attributes["dir"]) == ("en", "ltr"), path
        assert "Sign out" in html
        assert "Abmelden" not in html
        assert "1.234" not in html
        assert "1,234" in html or path.endswith("people/")


@pytest.mark.django_db
def test_who_only_answers_comes_to_their_own_list(client: Client) -> None:
    make_project()
    client.force_login(User.objects.get(username="ben"))
    assert client.get("/")["Location"] == "/annotate/"
    client.force_login(User.objects.get(username="ada"))
    assert client.get("/").status_code == 200


# --- Numbers and times ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "million", "half"),
    [
        ("en", "1,234,567", "1,234.50"),
        ("de", "1.234.567", "1.234,50"),
        ("es", "1.234.567", "1.234,50"),
        ("ar", "1,234,567", "1,234.50"),
        ("zh-hans", "1,234,567", "1,234.50"),
    ],
)
def test_numbers_look_as_in_the_browser(language: str, million: str, half: str) -> None:
    with translation.override(language):
        assert intcomma(1_234_567) == million
        assert floatformat(1234.5, "2g") == half


@pytest.mark.django_db
def test_a_time_on_its_way_through_the_page_keeps_its_point(client: Client) -> None:
    project = make_korean("full")
    held = held_in(project)
    Assignment.objects.filter(pk=held.pk).update(draft={"answer": "tie", "seconds": 1234.5, "reading_seconds": 2.25})
    User.objects.filter(username="ben").update(interface={"language": "de"})
    client.force_login(User.objects.get(username="ben"))
    html = client.get("/annotate/full/").content.decode()
    assert re.search(r'name="seconds" value="1234\.5"', html)
    assert re.search(r'name="reading_seconds" value="2\.25"', html)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["just now", "1 minute ago", "2 hours ago", "3 days ago"]),
        ("de", ["gerade eben", "vor 1 Minute", "vor 2 Stunden", "vor 3 Tagen"]),
        ("ar", ["الآن", "قبل دقيقة", "قبل ساعتين", "قبل 3 أيام"]),
        ("zh-hans", ["刚刚", "1 分钟前", "2 小时前", "3 天前"]),
    ],
)
def test_how_long_ago_is_said_in_one_unit(language: str, said: list[str]) -> None:
    now = timezone.now()
    past = [timedelta(seconds=50), timedelta(seconds=119), timedelta(hours=2.9), timedelta(days=3.9)]
    with translation.override(language):
        assert [ago(now - one) for one in past] == said
