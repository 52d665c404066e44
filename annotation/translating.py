"""The catalogs of the annotator's pages: what is to be translated, whether it is, and files that keep up with it.

Babel reads and writes them. It is there in development only: what runs reads the compiled catalogs (`*.mo`).
"""

import ast
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.utils.translation import to_locale
from django.utils.translation.template import templatize

# What annotators see; the other templates are managers', in English.
TEMPLATES = ("annotation/*.html", "components/*.html", "base.html", "400.html", "403.html", "404.html")
# The language of the sources: its texts are the keys, so it has no catalog.
SOURCE = "en"
# Functions that mark a text, each with the places of context (c), text and plural among its arguments.
FUNCTIONS: dict[str, tuple[int | tuple[int, str], ...]] = {
    "_": (1,),
    "gettext": (1,),
    "gettext_lazy": (1,),
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
NOTE = "Translators:"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w+\}")
HEAD = "# What annotators read (docs/translating.md). `make messages` keeps it up; only msgstr is edited by hand."


class Fault(NamedTuple):
    """What is wrong with one text of one catalog."""

    language: str
    text: str
    what: str

    def __str__(self) -> str:
        return f"{self.language}: {self.text!r} {self.what}"


class Found(NamedTuple):
    """A text that a source marks, or its singular and plural, with notes for translators."""

    line: int
    text: str | tuple[str, ...]
    notes: tuple[str, ...]
    context: str | None


class _Plain(Catalog):
    """A catalog whose head says only what is read: dates and versions would make branches clash."""

    @property  # type: ignore[misc]  # nothing sets it
    def mime_headers(self) -> list[tuple[str, str]]:
        return [
            ("Language", str(self.locale_identifier)),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
            ("Plural-Forms", self.plural_forms),
        ]


def languages() -> list[str]:
    """Return the languages that need a catalog."""
    return [code for code, _name in settings.LANGUAGES if code != SOURCE]


def source_files(root: Path) -> list[Path]:
    """Return the files whose texts are translated."""
    code = [path for path in (root / "annotation").rglob("*.py") if "migrations" not in path.parts]
    pages = [path for pattern in TEMPLATES for path in (root / "templates").glob(pattern)]
    return sorted(code) + sorted(pages)


def extracted(root: Path) -> Catalog:
    """Return every text below a folder that is to be translated, with the files it is in."""
    found = _Plain()
    for path in source_files(root):
        where = path.relative_to(root).as_posix()
        for one in _texts_of(path):
            found.add(one.text, locations=[(where, one.line)], auto_comments=one.notes, context=one.context)
    return found


def _texts_of(path: Path) -> Iterator[Found]:
    source = path.read_text()
    yield from _texts_of_page(source, path) if path.suffix == ".html" else _texts_of_code(source)


def _texts_of_page(source: str, path: Path) -> Iterator[Found]:
    # Django turns a template into calls among blanks. Without indents all of it reads as Python.
    calls = "\n".join(line.lstrip() for line in templatize(source, origin=str(path)).splitlines())
    for line, text, notes, context in extract("python", io.BytesIO(calls.encode()), FUNCTIONS, (NOTE,)):
        yield Found(line, text, tuple(note.removeprefix(NOTE).strip() for note in notes), context)


def _texts_of_code(source: str) -> Iterator[Found]:
    """Find marked texts by syntax: by tokens, those inside f-strings would show in some versions of Python only."""
    lines = source.splitlines()
    for call in ast.walk(ast.parse(source)):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in FUNCTIONS):
            continue
        places = FUNCTIONS[call.func.id]
        marked = [one.value for one in call.args[: len(places)] if isinstance(one, ast.Constant)]
        said = [one for one in marked if isinstance(one, str)]
        if len(said) < len(places):
            continue  # a text that is looked up, not marked
        context = said.pop(0) if isinstance(places[0], tuple) else None
        above = lines[call.lineno - 2].strip() if call.lineno > 1 else ""
        notes = (above.partition(NOTE)[2].strip(),) if above.startswith(f"# {NOTE}") else ()
        yield Found(call.lineno, said[0] if len(said) == 1 else tuple(said), notes, context)


def catalog_path(root: Path, language: str, suffix: str = ".po") -> Path:
    """Return where a language's catalog is: its text (`.po`), or what is compiled from it (`.mo`)."""
    return root / "annotation" / "locale" / to_locale(language) / "LC_MESSAGES" / f"django{suffix}"


def read_catalog(root: Path, language: str) -> Catalog:
    """Return a language's catalog; an empty one where it has no file yet."""
    path = catalog_path(root, language)
    text = path.read_bytes() if path.exists() else b""
    return read_po(io.BytesIO(text), locale=to_locale(language))


def updated(catalog: Catalog, sources: Catalog) -> Catalog:
    """Return a catalog with the texts of the sources and no others; new ones are empty.

    Nothing is guessed: a text that was changed is a new one, to be translated again.
    """
    new = _Plain(locale=str(catalog.locale_identifier), header_comment=HEAD, fuzzy=False)
    for source in _texts(sources):
        old = catalog.get(source.id, source.context)
        kept = old.string if old is not None and isinstance(old.id, str) == isinstance(source.id, str) else ""
        new.add(
            source.id,
            kept,
            locations=source.locations,
            flags=old.flags & {"fuzzy"} if old is not None else (),
            auto_comments=source.auto_comments,
            user_comments=old.user_comments if old is not None else (),
            context=source.context,
        )
    return new


def as_text(catalog: Catalog) -> bytes:
    """Return a catalog as its `.po` file: by source file, without line numbers, which change every day."""
    file = io.BytesIO()
    write_po(file, catalog, width=118, sort_by_file=True, include_lineno=False)
    return file.getvalue().rstrip() + b"\n"


def compiled(catalog: Catalog) -> bytes:
    """Return a catalog as its `.mo` file: the same bytes for the same texts."""
    plain = _Plain(locale=str(catalog.locale_identifier), fuzzy=False)
    for message in _texts(catalog):
        if _is_whole(message) and not message.fuzzy:
            plain.add(message.id, message.string, context=message.context)
    file = io.BytesIO()
    write_mo(file, plain)
    return file.getvalue()


def write_catalogs(root: Path) -> list[Fault]:
    """Bring every catalog up to the sources and compile it; return what is left to do by hand."""
    sources = extracted(root)
    faults: list[Fault] = []
    for language in languages():
        catalog = updated(read_catalog(root, language), sources)
        catalog_path(root, language).parent.mkdir(parents=True, exist_ok=True)
        catalog_path(root, language).write_bytes(as_text(catalog))
        catalog_path(root, language, ".mo").write_bytes(compiled(catalog))
        faults += faults_of(language, catalog, sources)
    return faults


def check_catalogs(root: Path) -> list[Fault]:
    """Return what is wrong with the catalogs as they are, and whether what is compiled is older than they."""
    sources = extracted(root)
    faults: list[Fault] = []
    for language in languages():
        catalog = read_catalog(root, language)
        faults += faults_of(language, catalog, sources)
        binary = catalog_path(root, language, ".mo")
        if not binary.exists() or binary.read_bytes() != compiled(catalog):
            faults.append(Fault(language, binary.name, "is not compiled from the catalog: run make messages"))
    return faults


def faults_of(language: str, catalog: Catalog, sources: Catalog) -> list[Fault]:
    """Return what is wrong with a catalog: texts that are missing, unsure, obsolete, or have other placeholders."""
    faults = []
    for source in _texts(sources):
        message = catalog.get(source.id, source.context)
        what = "is not in the catalog" if message is None else _wrong_with(source, message, catalog.num_plurals)
        if what:
            faults.append(Fault(language, _singular(source), what))
    gone = [message for message in _texts(catalog) if sources.get(message.id, message.context) is None]
    gone += catalog.obsolete.values()
    return faults + [Fault(language, _singular(message), "is in no source any more") for message in gone]


def _wrong_with(source: Message, message: Message, plurals: int) -> str:
    if _forms(message.id) != _forms(source.id):
        return "has another plural in the sources"
    if not _is_whole(message):
        return "is not translated"
    if message.fuzzy:
        return "is marked as unsure (fuzzy)"
    forms = _forms(message.string)
    if source.pluralizable and len(forms) != plurals:
        return f"has {len(forms)} plural forms, not {plurals}"
    wanted = set(PLACEHOLDER.findall(" ".join(_forms(source.id))))
    for number, form in enumerate(forms):
        used = set(PLACEHOLDER.findall(form))
        # "One", "two" may be words in a plural; the last form, for many, needs the number.
        if used != wanted and not (source.pluralizable and used < wanted and number < len(forms) - 1):
            return f"has the placeholders {_listed(used)}, not {_listed(wanted)}"
        if form != form.strip():
            return "begins or ends with a blank"
    return ""


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "(none)"


def _texts(catalog: Catalog) -> list[Message]:
    """Return the messages of a catalog but for its head."""
    return [message for message in catalog if message.id]


def _forms(text: str | Sequence[str] | None) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text or ("",))


def _is_whole(message: Message) -> bool:
    return all(_forms(message.string))


def _singular(message: Message) -> str:
    return _forms(message.id)[0]
