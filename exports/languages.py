"""Languages as cards name them: by codes of ISO 639. The Hub refuses a card with any other word there."""

import re
import string

import langcodes
from langcodes.tag_parser import LanguageTagError

from annotation.models import Project

# Two letters where ISO 639-1 has the language, else three. The range is kept free for private use.
CODE = re.compile(r"(?!q[a-t][a-z]$)[a-z]{2,3}")
# No name of a language has them; what has would be read as the name that is nearest.
ODD = set(string.punctuation + string.digits) - set("'()-")
SHORTEST_NAME = 4
# What tables say for nothing and for everything, and a name of code, although there are languages of such codes.
NO_LANGUAGE = {"nan", "na", "all", "any", "javascript"}


def language_code(said: str) -> str | None:
    """Return the code of what a file calls a language ("en-US", "zh_Hant", "English", "Deutsch"); None: not known."""
    said = said.strip()
    if said.casefold() in NO_LANGUAGE:
        return None
    try:
        language = langcodes.Language.get(said)
    except LanguageTagError:
        if ODD & set(said) or not said.isprintable() or (said.isascii() and len(said) < SHORTEST_NAME):
            return None
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
