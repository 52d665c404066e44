"""Which words of a text name a language model or its maker, and how sure a word alone can be.

A list of known names, and the forms that a stored identifier ("meta-llama/Llama-2-70b-chat-hf") has in prose. Whether a
name tells who is speaking is not decided here but in `annotation.masking`. Pure.
"""

import re
from collections.abc import Collection, Iterator
from enum import IntEnum
from functools import lru_cache
from heapq import merge
from typing import NamedTuple


class Sort(IntEnum):
    """How much a name says by itself, from the most."""

    IDENTIFIER = 1  # "zephyr-7b-beta", as stored with this very pair: nothing else is called so
    DISTINCT = 2  # "ChatGPT", "Llama 2", "OpenAI": a model or its maker, whoever speaks
    PERSONA = 3  # "Claude", "Gemini": also people and things, but what an assistant introduces itself as
    WORD = 4  # "Falcon", "Phi", "Dolly": mostly something else
    MAKER = 5  # "Google", "Meta": firms with other business


class Name(NamedTuple):
    """A name's place in a text. `key` is the same for all its forms; `own` says that a model of the pair has it."""

    start: int
    end: int
    text: str
    key: str
    sort: Sort
    own: bool


# A hyphen as typed or as typeset.
_DASH = "[-\u2010\u2011]"
_JOINT = rf"(?:{_DASH}| |_)?"

DISTINCT = (
    rf"chat{_JOINT}gpt",
    rf"(?:instruct|web|code|yandex)?gpt(?:{_DASH}(?:neo|neox|j))?",
    rf"text{_DASH}(?:davinci|curie|bison)",
    r"open ?ai",
    r"anthropic",
    r"google (?:ai|bard|deepmind|gemini|gemma|assistant)",
    r"deepmind",
    r"palm[ -]?2",
    r"lamda",
    r"(?:code ?)?llama[ -]?v?[1-9](?:[.p]\d+)*",
    r"llama[- ]chat",
    r"meta (?:ai|llama)",
    r"mistral ?ai",
    r"mi[xn]i?tral",
    r"codestral",
    r"qwen",
    r"qwq",
    r"tongyi(?: qianwen)?",
    r"deepseek",
    r"chat ?glm",
    r"zhipu(?: ?ai)?",
    r"ernie ?bot",
    r"baichuan",
    r"internlm",
    r"wizard(?:lm|coder|math)",
    r"lmsys",
    r"stable ?(?:lm|vicuna|beluga)",
    r"open ?assistant",
    r"laion",
    r"command[ -]r(?:\+|\b)",
    r"command (?:light|nightly)",
    r"c4ai",
    r"x\.ai",
    r"hunyuan",
    r"moonshot ?ai",
    r"kimi (?:ai|chat|k\d)",
    r"doubao",
    r"minimax",
    r"olmo",
    r"t[uü]lu[ -]\d",
    r"allen ?ai",
    r"allen institute for ai",
    r"ai2",
    r"eleuther ?ai",
    r"bigscience",
    r"bloomz",
    r"rwkv",
    r"nemotron",
    r"dbrx",
    r"smollm",
    r"gigachat",
    r"bing (?:chat|ai)",
    r"(?:github|microsoft) copilot",
    r"nous ?research",
    r"openhermes",
    r"01\.ai",
    r"inflection ?ai",
    r"ai21(?: labs)?",
    r"stability ?ai",
    r"hugging ?face(?:h4|tb)?",
    r"databricks",
    r"technology innovation institute",
)
# "xAI" and "LLaMA" are names as they are written; in other letters they are not.
AS_WRITTEN = ("xAI", "LLaMA", "TII", "PaLM")
PERSONA = ("claude", "bard", "gemini", "grok", "copilot", "mistral", "vicuna", "kimi")
WORD = (
    "llama",
    "alpaca",
    "koala",
    "dolly",
    "falcon",
    "zephyr",
    "phi",
    "yi",
    "tulu",
    "gemma",
    "bing",
    "ernie",
    "moonshot",
    "guanaco",
    "bloom",
    "pythia",
    "palm",
    "orca",
    "hermes",
    "nova",
    "titan",
    "granite",
    "solar",
    "jamba",
    "aya",
    "cerebras",
    "bart",
)
MAKER = (
    r"google(?: research| brain)?",
    r"microsoft(?: research)?",
    r"meta(?: platforms)?",
    r"facebook(?: ai)?",
    r"amazon",
    r"apple",
    r"ibm",
    r"nvidia",
    r"alibaba(?: cloud)?",
    r"baidu",
    r"tencent",
    r"bytedance",
    r"huawei",
    r"cohere(?: for ai)?",
    r"perplexity",
    r"inflection",
    r"stanford(?: university)?",
    r"uc berkeley",
)
# Names in other scripts have no word boundary: Chinese writes none, and Arabic joins prefixes.
_OTHER_SCRIPTS = {
    Sort.DISTINCT: (
        "文心一言|通义千问|通義千問|通义|讯飞星火|智谱清言|智谱(?:AI)?|百川(?:智能|大模型)|月之暗面|深度求索|"
        "腾讯混元|混元|豆包|达摩院|(?:شات|تشات) ?جي ?بي ?تي|أوبن ?إيه ?آي|أوبن ?إي ?آي|أنثروبيك|챗GPT|チャットGPT"
    ),
    Sort.MAKER: (
        "谷歌|微软|阿里巴巴|阿里云|阿里|百度|腾讯|字节跳动|华为|清华大学"
        "|جوجل|غوغل|مايكروسوفت|علي بابا|グーグル|구글|Яндекс"
    ),
}
# What versions are made of: "-4-0613", " 3.5 Turbo", "-7b-beta", " Opus 4".
_TAIL = (
    rf"(?:(?:{_JOINT}v?\d+(?:\.\d+)*(?:x\d+)?[a-z]?(?![a-z\d])"
    rf"|(?:{_DASH}| )(?:turbo|mini|nano|pro|ultra|flash|instant|opus|sonnet|haiku|coder|vision)(?![a-z\d])"
    rf"|{_DASH}(?:chat|instruct|beta|alpha|base|hf|it|large|medium|small|plus|max|preview|latest|dpo|sft)(?![a-z\d])){{0,6}})"
)
_START, _END = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
_KEY = re.compile(r"[^\W\d_]+")
_HAS_DIGIT = re.compile(r"\d")


def _latin(names: Collection[str], *, tail: str = _TAIL) -> str:
    return rf"{_START}(?:{'|'.join(names)}){tail}{_END}"


# On text in folded letters: a pattern that ignores case itself takes six times as long.
_KNOWN = re.compile(
    rf"{_START}(?:(?P<DISTINCT>(?:{'|'.join(DISTINCT)}){_TAIL})|(?P<PERSONA>(?:{'|'.join(PERSONA)}){_TAIL})"
    rf"|(?P<WORD>(?:{'|'.join(WORD)}){_TAIL})|(?P<MAKER>{'|'.join(MAKER)})){_END}"
)
_KNOWN_IN_OTHER_SCRIPTS = re.compile(
    rf"(?P<DISTINCT>{_OTHER_SCRIPTS[Sort.DISTINCT].casefold()})|(?P<MAKER>{_OTHER_SCRIPTS[Sort.MAKER].casefold()})"
)
_KNOWN_AS_WRITTEN = re.compile(rf"(?P<DISTINCT>{_latin([f'(?-i:{name})' for name in AS_WRITTEN])})", re.IGNORECASE)


def names_in(text: str, models: Collection[str] = ()) -> Iterator[Name]:
    """Yield the names in a text in order, none inside another; `models` are the stored identifiers of its pair."""
    forms = _forms_of(tuple(sorted({model.strip() for model in models})))
    folded = _folded(text)
    mine = forms.pattern.finditer(folded) if forms.pattern else iter(())
    waiting: Name | None = None
    # The pair's own go first where both begin at the same place: they say more.
    for match in merge(mine, *_known_in(text, folded), key=lambda match: match.start()):
        name = _name_of(match, text, forms)
        if waiting is None or name.start >= waiting.end:
            if waiting is not None:
                yield waiting
            waiting = name
        elif name.sort < waiting.sort:  # "Google Gemini-Pro" where "gemini-pro" is stored
            end = max(waiting.end, name.end)
            waiting = name._replace(start=waiting.start, end=end, text=text[waiting.start : end])
    if waiting is not None:
        yield waiting


def _known_in(text: str, folded: str) -> list[Iterator[re.Match[str]]]:
    """Return the matches of the list's names, of each kind in order, in a text and the same without capital letters."""
    found = [_KNOWN.finditer(folded)]
    if any(name in text for name in AS_WRITTEN):
        found.insert(0, _KNOWN_AS_WRITTEN.finditer(text))
    return found if text.isascii() else [*found, _KNOWN_IN_OTHER_SCRIPTS.finditer(folded)]


def _folded(text: str) -> str:
    """Return a text without capital letters, each letter at its place: "ß" and its like, which fold into two, stay."""
    folded = text.casefold()
    if len(folded) == len(text):
        return folded
    return "".join(fold if len(fold := letter.casefold()) == 1 else letter for letter in text)


def key_of(name: str) -> str:
    """Return what all forms of a name share: its first word of letters, in lower case."""
    word = _KEY.search(name)
    key = word[0].casefold() if word else name.casefold()
    return "chatgpt" if key == "chat" else key


def _name_of(match: re.Match[str], whole: str, forms: "_Forms") -> Name:
    text = whole[match.start() : match.end()]
    sort = Sort[match.lastgroup or "WORD"]
    # "Llama 2", "Falcon-40B": no animal has a version.
    if sort in (Sort.PERSONA, Sort.WORD) and _HAS_DIGIT.search(text):
        sort = Sort.DISTINCT
    key = key_of(text)
    return Name(match.start(), match.end(), text, key, sort, match.re is forms.pattern or key in forms.keys)


# --- Stored identifiers ---------------------------------------------------------------------------------------------


class _Forms(NamedTuple):
    """What the pair's identifiers look like in a text: a pattern (groups IDENTIFIER and WORD), and their keys."""

    pattern: re.Pattern[str] | None
    keys: frozenset[str]


# Words that describe a response's origin without naming it: "AI-generated", "model-one", "fine-tuned", "human".
_PLAIN_WORDS = """
    a accounts ai aligned an anonymous answer assistant augmented b base based baseline best better candidate chat
    chosen control default demo dpo draft edited eight expert few final fine finetuned first five four ft generated
    gold good greedy ground hf high human instruct large latest left llm lm lora low machine made model models my
    new nine non of old one online open original our output person policy post ppo pre preview prompt qlora ref
    reference rejected response right rl rlhf sample sampled second self seven sft shot six small student system
    teacher temperature ten test text the third three tool top train trained truth tuned two unknown user v variant
    version worst writer written zero
"""
_PLAIN = frozenset(_PLAIN_WORDS.split())
_BETWEEN = re.compile(r"[-_ ]+|(?<=[a-z])(?=\d)", re.IGNORECASE)
_SIZE = re.compile(r"\d+(?:\.\d+)?[bm]", re.IGNORECASE)
_MOST_LETTERS = 200


@lru_cache(maxsize=256)
def _forms_of(models: tuple[str, ...]) -> _Forms:
    """Return the forms of identifiers as they are in a text without capital letters."""
    identifiers: dict[str, None] = {}
    families: dict[str, None] = {}
    keys: set[str] = set()
    for model in models:
        path = model[:_MOST_LETTERS].split("/")
        # The account that hosts a model is not always its maker, but it tells.
        for form in (model[:_MOST_LETTERS], path[-1]):
            for shorter in (form, re.sub(r"\s*\(.*?\)", "", form), _up_to_size(form)):
                if _is_identifier(shorter):
                    identifiers[_loosely(_folded(shorter))] = None
        parts = [part.replace("_", "-") for part in path]
        known = {key_of(name[0]) for part in parts for names in _known_in(part, _folded(part)) for name in names}
        keys |= known
        if not known and (family := _family(path[-1])):
            families[re.escape(_folded(family))] = None
            keys.add(family.casefold())
    patterns = []
    if identifiers:
        longest_first = sorted(identifiers, key=len, reverse=True)
        patterns.append(rf"(?P<IDENTIFIER>{_latin(longest_first)})")
    if families:
        patterns.append(rf"(?P<WORD>{_latin(list(families))})")
    return _Forms(re.compile("|".join(patterns)) if patterns else None, frozenset(keys))


def _is_identifier(form: str) -> bool:
    """Say whether a form can mean nothing but a model: made of several parts or numbered, and not of plain words."""
    words = [word.casefold() for word in _KEY.findall(form)]
    if len(form) < 4 or not words or all(word in _PLAIN or len(word) == 1 for word in words):
        return False
    return bool(_HAS_DIGIT.search(form)) or bool(re.search(r"\w[-_/]\w", form))


def _up_to_size(form: str) -> str:
    """Return "zephyr-7b" of "zephyr-7b-beta"; '' where there is no size."""
    size = _SIZE.search(form)
    return form[: size.end()] if size else ""


def _loosely(form: str) -> str:
    """Return a pattern that takes "GPT 4" and "GPT4" for "gpt-4", but neither "phi 2" nor "command r" for a model."""
    words = _BETWEEN.split(form.strip("-_ "))
    ambiguous = words[0].casefold() in (*PERSONA, *WORD, "opt", "command") and not any(map(_KEY.search, words[1:]))
    joint = _JOINT if _HAS_DIGIT.search(form) and not ambiguous else f"(?:{_DASH}|_)"
    return f"{re.escape(form)}|{joint.join(map(re.escape, words))}"


def _family(form: str) -> str:
    """Return the word that an unknown model's name begins with, unless it says nothing."""
    word = _KEY.search(form)
    if word is None or len(word[0]) < 3 or word[0].casefold() in _PLAIN:
        return ""
    return word[0]
