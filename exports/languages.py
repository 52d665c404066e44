"""Languages as cards name them. The Hub refuses a card with a word there that is no code of ISO 639."""

import re
import string

import langcodes
from langcodes.tag_parser import LanguageTagError
from language_data.names import TRIES, name_to_code, normalize_name

from annotation.models import Project

# Two letters where ISO 639-1 has the language, else three. The range is kept free for private use.
CODE = re.compile(r"(?!q[a-t][a-z]$)[a-z]{2,3}")
# The Hub's words for what is no one language.
SPECIAL = {"code": "code", "multilingual": "multilingual", "mul": "multilingual"}
# What tables say for nothing and for everything, and names of code, although there are languages of such codes.
NO_LANGUAGE = {"all", "any", "java", "javascript", "na", "nan", "und", "zxx"}
REMARK = re.compile(r"\s*\([^()]*\)$")
ODD = set(string.punctuation + string.digits) - set("'-")
SHORTEST_NAME = 4


def language_code(said: str) -> str | None:
    """Return the code of what a file calls a language ("en-US", "zh_Hant", "English", "Deutsch"); None: not known."""
    said = said.strip()
    for one in (said, _code_by_name(REMARK.sub("", said))):
        if one.casefold() in SPECIAL:
            return SPECIAL[one.casefold()]
        if (code := _code_of_tag(one)) is not None:
            return code
    return None


def _code_of_tag(tag: str) -> str | None:
    """Return the code of the language of a tag of BCP 47, its older names and three letters brought to today's."""
    try:
        language = langcodes.Language.get(tag)
    except LanguageTagError:
        return None
    code = language.language or ""
    known = CODE.fullmatch(code) and code not in NO_LANGUAGE and tag.casefold() not in NO_LANGUAGE
    return code if known and language.is_valid() else None


def _code_by_name(name: str) -> str:
    """Return the tag of the language that has this very name in some language; nothing where none has."""
    is_short = name.isascii() and len(name) < SHORTEST_NAME
    if is_short or name.casefold() in NO_LANGUAGE or ODD & set(name) or not name.isprintable():
        return ""
    code = name_to_code("language", name)
    # It falls back on the longest name that this one begins with: "Monolingual" is not Mon.
    return code if code and normalize_name(name) in TRIES["und/name_to_language"] else ""


def languages_of(project: Project) -> list[str]:
    """Return the codes of the languages of a project's prompts, where known. One query."""
    said = project.prompts.exclude(language="").order_by().values_list("language", flat=True).distinct()
    return sorted({code for code in map(language_code, said) if code is not None})
