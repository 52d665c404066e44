"""Languages on the card and in the catalog: codes that the Hub takes, whatever the files called them."""

import json
from pathlib import Path

import pytest
import yaml

from annotation.models import Project, Prompt
from exports.languages import language_code
from exports.snapshotting import take_snapshot
from tests.builders import make_pair, make_preference

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("en", "en"),
        ("EN_us", "en"),
        ("zh-Hant-TW", "zh"),
        ("English", "en"),
        ("simplified chinese", "zh"),
        ("Deutsch", "de"),
        ("中文", "zh"),
        ("iw", "he"),
        ("eng", "en"),
        ("tlh", "tlh"),
        ("xx", None),
        ("qaa", None),
        ("und", None),
        ("undetermined", None),
        ("code", "code"),
        ("Multilingual", "multilingual"),
        ("mul", "multilingual"),
        ("Thai", "th"),
        ("urdu", "ur"),
        ("Serbo-Croatian", "sr"),
        ("Roman Urdu", None),
        ("Indian English", None),
        ("Monolingual", None),
        ("Bilingual", None),
        ("(en)", None),
        ("Java", None),
        ("n/a", None),
        ("x-ours", None),
        ("*", None),
        ("English (US)", "en"),
        ("Portuguese (Brazil)", "pt"),
        ("norsk bokmål", "nb"),
        ("हिन्दी", "hi"),
        ("العربية", "ar"),
        ("en,de", None),
        ("en-", None),
        ("English/German", None),
        ("a\0b", None),
        ("C++", None),
        ("JavaScript", None),
        ("NaN", None),
    ],
)
def test_language_is_known_by_any_of_its_names(said: str, code: str | None) -> None:
    assert language_code(said) == code


def test_card_and_catalog_name_each_language_once_by_its_code(project: Project, tmp_path: Path) -> None:
    for number, said in enumerate(("English", "en-GB", "zh-CN", "gibberish", "")):
        pair = make_pair(project, prompt=f"Question {number}?", external_id=f"p{number}")
        Prompt.objects.filter(pk=pair.prompt_id).update(language=said)
        make_preference(pair, "ben", "a")
    take_snapshot(project, out=tmp_path / "export", format="jsonl")
    head = (tmp_path / "export" / "README.md").read_text().removeprefix("---\n").split("---\n", 1)[0]
    assert yaml.safe_load(head)["language"] == ["en", "zh"]
    assert json.loads((tmp_path / "export" / "croissant.json").read_text())["inLanguage"] == ["en", "zh"]
