"""Languages as cards name them: by codes of ISO 639. The Hub refuses a card with any other word there."""

import re

import langcodes
from langcodes.tag_parser import LanguageTagError

from annotation.models import Project

# Two letters where ISO 639-1 has the language, else three. The range is kept free for private use.
CODE = re.compile(r"(?!q[a-t][a-z]$)[a-z]{2,3}")


def language_code(said: str) -> str | None:
    """Return the code of what a file calls a language ("en-US", "zh_Hant", "English", "Deutsch"); None: not known."""
    try:
        language = langcodes.Language.get(said)
    except LanguageTagError:
        try:
            language = langcodes.find(said)
        except LookupError:
            return None
    code = language.language or ""
    return code if CODE.fullmatch(code) and language.is_valid() else None


def languages_of(project: Project) -> list[str]:
    """Return the codes of the languages of a project's prompts, where known. One query."""
    said = project.prompts.exclude(language="").order_by().values_list("language", flat=True).distinct()
    return sorted({code for code in map(language_code, said) if code is not None})
