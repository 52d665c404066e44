"""Hide what tells which model wrote a response: a name it gives itself, or a stored identifier it holds.

People compare texts, not brands: "I am ChatGPT" on one side decides more than the answer. But a response about alpaca
wool, Claude Monet or OpenAI's history must stay as it is. So a name by itself is hidden only where it is the very
identifier stored with the pair; any other where its sentence speaks of its own author. The grammar for that is small:
a beginning ("I am", "As", "soy", "我是"), then only words that describe assistants and their making, then the name.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

from annotation.naming import Name, Sort, names_in
from annotation.speaking import (
    AM,
    AND,
    APOSTROPHES,
    ARTICLES,
    AS,
    ASSISTANT,
    CLOSING,
    COLONS,
    COMMAS,
    CREATOR,
    DASHES,
    FILLERS,
    FULL_STOPS,
    LINKS,
    LONGEST_PHRASE,
    ME,
    MINE,
    OBJECTS,
    POLICY,
    QUOTES,
    SIGNING,
    SOFT,
    SPEAKING,
    STOPS,
    THING,
    THIS,
    TOKEN,
    TURNS,
    YOUR,
    folded,
    is_making,
    is_nothing,
)

# Letters at both ends and no character with a meaning in Markdown, an address or code: "**GPT-4**" stays bold, a link
# stays a link, "ChatGPT: Yes" becomes no link definition. One mark for all, so that its length tells nothing.
MARK = "MODEL-NAME-HIDDEN"


class Masked(NamedTuple):
    """A text with `MARK` in the place of names, and the names it stands for: as written, each once, in order."""

    text: str
    found: tuple[str, ...]


def mask_names(text: str, *, models: Collection[str] = (), prompt: str = "") -> Masked:
    """Return a response's text without the names that tell who wrote it; all else stays, character by character.

    `models` are the stored identifiers of the pair's responses. What the `prompt` itself talks about gives nothing
    away, so of names in it only an author's own introduction is hidden ("I am ChatGPT" to "Who are you, ChatGPT?"),
    and none where the prompt hands out the part ("You are Claude, a butler"). Pure; time grows with the text's length.
    """
    names = list(names_in(text, models))
    if not names:
        return Masked(text, ())
    asked = _Asked.about(prompt, models)
    hidden = [name for name in _telling(text, names, asked) if name.key not in asked.assigned]
    if not hidden:
        return Masked(text, ())
    pieces, done = [], 0
    for name in hidden:
        pieces += [text[done : name.start], MARK]
        done = name.end
    found = {name.text.casefold(): name.text for name in reversed(hidden)}
    return Masked("".join([*pieces, text[done:]]), tuple(reversed(found.values())))


class _Asked(NamedTuple):
    """The keys of the names that a prompt mentions, and of those that it gives the assistant for its own."""

    mentioned: frozenset[str]
    assigned: frozenset[str]

    @classmethod
    def about(cls, prompt: str, models: Collection[str]) -> "_Asked":
        names = list(names_in(prompt, models))
        mentioned = frozenset(name.key for name in names)
        assigns = any(_ASSIGNING.search(prompt, max(0, name.start - 60), name.start) for name in names)
        # "You are ChatGPT, trained by OpenAI": what else is named belongs to the part.
        return cls(mentioned, mentioned if assigns else frozenset())


_ASSIGNING = re.compile(
    r"(?:\b(?:you are|you're|you were|your name is|be|being|role of|persona of|perspective of|voice of"
    r"|(?:act|acting|speak|respond|answer|reply|write|talk|behave|pose)\w* (?:as|like)(?: if you (?:are|were))?"
    r"|as if you (?:are|were)|du bist|sie sind|dein name ist|eres|usted es|tu nombre es|tu es|vous êtes|sei|você é)"
    r"|你是|您是|你叫|扮演|أنت|اسمك|あなたは) ?(?:(?:a|an|the|ein|eine|un|una|une|名为|名叫)\b ?)?[\"'*“「]*$",
    re.IGNORECASE,
)


def _telling(text: str, names: Sequence[Name], asked: _Asked) -> Iterator[Name]:
    """Yield the names to hide, in the order of the text."""
    for sentence in _sentences(text, names):
        spoken = sentence.introductions(asked)
        for place, name in sentence.names:
            if (
                place in spoken
                or (name.sort == Sort.IDENTIFIER and name.key not in asked.mentioned)
                or _is_signature(text, name, asked)
            ):
                yield name


# --- Sentences ------------------------------------------------------------------------------------------------------

# A sentence that begins this early can be the introduction of a text.
_OPENING = 60
# A full stop only before white space ("GPT-3.5"), a line only before a blank one, a list item, a quote or a heading.
_BOUNDARY = re.compile(
    rf"[{STOPS}](?=[{re.escape(CLOSING)}]{{0,4}}(?:\s|$))|[{FULL_STOPS}]|;(?=\s)"
    r"|\n[ \t]*\n|\n(?=[ \t]*(?:[-*+>#|]|\d{1,3}[.)])[ \t])"
)


class _Token(NamedTuple):
    """A word, a mark or a name; `word` is folded, and empty for a name."""

    word: str
    start: int
    name: Name | None = None


@dataclass(slots=True)
class _Speech:
    """What was read since a sentence began to speak of its author: only words that may lead to a name."""

    kind: Literal["am", "as", "this", "made"]
    start: int
    assistant: bool = False
    making: bool = False
    linked: bool = False
    comma: bool = False
    article: bool = False

    def takes(self, word: str) -> bool:
        """Take the next word; False where it does not belong here, so that the speech is over."""
        after_comma, self.comma, self.article = self.comma, word in COMMAS, word in ARTICLES
        self.assistant |= word in ASSISTANT or word in THING
        self.making |= is_making(word)
        self.linked |= word in LINKS
        # "I am an AI, and OpenAI was founded in 2015", "我和Claude": another clause, or somebody else.
        parts = word in AND and (after_comma or not (self.assistant or self.making))
        return _belongs(word) and not parts


def _belongs(word: str) -> bool:
    return any(word in words for words in (SOFT, ARTICLES, FILLERS, LINKS, ASSISTANT, THING)) or is_making(word)


class _Sentence:
    """One sentence that holds a name, as tokens."""

    def __init__(self, text: str, start: int, end: int, names: Sequence[Name]) -> None:
        self.text = text
        self.opens = start < _OPENING
        self.tokens: list[_Token] = []
        self.names: list[tuple[int, Name]] = []
        for name in names:
            self._read(start, name.start)
            self.names.append((len(self.tokens), name))
            self.tokens.append(_Token("", name.start, name))
            start = name.end
        self._read(start, end)
        self.says_i = any(token.word in ME for token in self.tokens)

    def _read(self, start: int, end: int) -> None:
        for match in TOKEN.finditer(self.text, start, end):
            if not is_nothing(match[0]):
                self.tokens.append(_Token(folded(match[0]), match.start()))

    def introductions(self, asked: _Asked) -> set[int]:
        """Return the places of the names by which this sentence tells its author. Linear in its words."""
        told: set[int] = set()
        speech: _Speech | None = None
        for place, token in enumerate(self.tokens):
            if token.name is None:
                begun = self._begun(place)
                if begun is not None:
                    speech = begun
                elif speech is not None and not speech.takes(token.word):
                    speech = None
            elif speech is not None and self._is_told(place, token.name, speech, asked):
                told.add(place)
                # "I am ChatGPT, trained by OpenAI": what follows is about the same.
                speech.assistant = True
                speech.comma = False
            else:
                speech = None
                if self._is_told_after(place, token.name):
                    told.add(place)
        return told

    def _begun(self, place: int) -> _Speech | None:
        """Return the speech that begins with the words that end here."""
        for length in range(min(LONGEST_PHRASE, place + 1), 0, -1):
            first = place + 1 - length
            phrase = " ".join(token.word for token in self.tokens[first : place + 1])
            start = self.tokens[first].start
            if phrase in AM:
                return _Speech("am", start)
            if phrase in MINE:
                return _Speech("am", start, making=True, linked=True)
            if phrase in THIS:
                return _Speech("this", start)
            if phrase in AS and (first == 0 or (self.says_i and self.tokens[first - 1].word != "known")):
                return _Speech("as", start)
        if place == 1 and self.tokens[1].word in LINKS and is_making(self.tokens[0].word):
            return _Speech("made", self.tokens[0].start, making=True, linked=True)
        return None

    def _is_told(self, place: int, name: Name, speech: _Speech, asked: _Asked) -> bool:
        """Say whether a name that a speech leads to is its author's, or that of the author's maker."""
        sure = name.sort <= Sort.DISTINCT or name.own or self._is_sure(place, speech)
        if speech.kind == "made":
            # "Trained by X, I ..." or "Generated by X" and no more.
            if self._turns_to_me(place):
                return sure or name.sort == Sort.MAKER
            return self.tokens[0].word in SIGNING and self._ends(place) and name.sort < Sort.WORD
        if speech.kind == "this":
            return speech.linked and (speech.making or self._describes_model(place)) and sure
        if speech.kind == "as" and not self._is_told_as(place, speech):
            return False
        if speech.linked:
            made = speech.assistant or speech.making or self._describes_model(place)
            return made and (sure or name.sort == Sort.MAKER)
        if speech.article or name.sort == Sort.MAKER or self._is_possessive(name):
            return self._describes_model(place)
        if speech.comma and not (speech.assistant or speech.making):
            return self._is_sure(place, speech)  # "I'm here, Claude"
        return name.sort <= Sort.DISTINCT or self._is_introduced(place, name, speech, asked)

    def _is_told_as(self, place: int, speech: _Speech) -> bool:
        """Say whether "As ..., " speaks of the author and not of the name that follows."""
        described = speech.assistant or (speech.linked and self._describes_model(place))
        if not described or speech.comma:  # "As a model, ChatGPT can ..."
            return self._turns_to_me(place)
        following = self._after(place, 2)
        return not (len(following) == 2 and following[0].word in COMMAS and following[1].name is not None)

    def _is_introduced(self, place: int, name: Name, speech: _Speech, asked: _Asked) -> bool:
        """Say whether "I am Claude" introduces an assistant: Claude is also a painter, Gemini a sign, Falcon a hero."""
        if self._is_sure(place, speech):
            return True
        beside = self.text[name.end : name.end + 2]
        if name.text[0].islower() or (beside[:1] in ("-", " ") and beside[1:].isupper() and beside != " I"):
            return False  # "I am Claude Monet"
        quoted = speech.start > 0 and self.text[speech.start - 1] in QUOTES
        if quoted or name.key in asked.mentioned:
            return False
        following = [token.word for token in self._after(place, 2)]
        if len(following) == 2 and following[0] in COMMAS and (following[1] in ARTICLES or following[1] in YOUR):
            return False  # "I'm Claude, a waiter"
        # "Hi, I'm Dolly!" and no more, where a text begins.
        return name.sort == Sort.PERSONA or name.own or (speech.kind == "am" and self.opens and self._ends(place))

    def _is_sure(self, place: int, speech: _Speech) -> bool:
        """Say whether the sentence says around the name that an assistant speaks."""
        return speech.assistant or any(
            token.word in ASSISTANT or (token.name is not None and token.name.sort <= Sort.DISTINCT)
            for token in self._after(place, 12)
        )

    def _is_told_after(self, place: int, name: Name) -> bool:
        """Say whether what follows the name makes it the author's: "OpenAI trained me", "ChatGPT here"."""
        words = [token.word for token in self._after(place, 6)]
        if not words or name.sort == Sort.WORD:
            return False
        if place == 0 and words[0] in SPEAKING and not any(word[:1].isalnum() for word in words[1:2]):
            return name.sort < Sort.MAKER
        near = words[:4]
        if near[1:3] == ["my", "name"] and near[0] == "is":
            return name.sort < Sort.MAKER
        if name.sort == Sort.PERSONA:
            return False
        if any(word in OBJECTS for word in near) and any(is_making(word) and word != "made" for word in near):
            return name.sort < Sort.MAKER or "trained" not in near
        if (near[0] in SOFT or near[0] in {"is", "are"}) and "my" in near and any(word in CREATOR for word in words):
            return True
        return self.says_i and self._is_possessive(name) and any(word in POLICY for word in words)

    def _turns_to_me(self, place: int) -> bool:
        """Say whether the clause after the name's is the author's: "As X, I ..."."""
        following = self._after(place, 14)
        for at, token in enumerate(following):
            if token.word in ME:
                return True
            if token.word in COMMAS:
                rest = [later.word for later in following[at + 1 :]]
                return any(word in ME for word in (rest if rest and rest[0] in ARTICLES else rest[:4]))
            if token.name is None and not _belongs(token.word):
                return False  # "As X has shown, I ..."
        return False

    def _describes_model(self, place: int) -> bool:
        """Say whether the name is part of what describes an assistant: "an OpenAI language model"."""
        for token in self._after(place, 8):
            if token.word in ASSISTANT or token.word in THING or is_making(token.word):
                return True
            if token.name is not None and token.name.sort < Sort.MAKER:  # "Google's Gemini"
                return True
            if token.word in COMMAS or not (token.name or _belongs(token.word)):
                return False
        return False

    def _is_possessive(self, name: Name) -> bool:
        after = self.text[name.end : name.end + 2]
        return after[:1] == "的" or (after[:1] in tuple(APOSTROPHES) and after[1:] in ("s", " "))

    def _ends(self, place: int) -> bool:
        """Say whether nothing but marks follows."""
        following = self._after(place, 6)
        return len(following) < 6 and not any(token.name or token.word[:1].isalnum() for token in following)

    def _after(self, place: int, n: int) -> list[_Token]:
        return self.tokens[place + 1 : place + 1 + n]


def _sentences(text: str, names: Sequence[Name]) -> Iterator[_Sentence]:
    """Yield the sentences that hold a name."""
    first, start = 0, 0
    for end in chain((match.end() for match in _BOUNDARY.finditer(text)), [len(text)]):
        after = first
        while after < len(names) and names[after].start < end:
            after += 1
        if after > first:
            yield _Sentence(text, start, max(end, names[after - 1].end), names[first:after])
        first, start = after, end


# --- Signatures -----------------------------------------------------------------------------------------------------

# No line that begins with a signature has it later than this.
_LINE = 60
_ROLE = re.compile(
    rf"[\s>_*]*(?:assistant|ai|chatbot|bot|assistent|asistente|助手)?[\s*_]*(?P<open>[(\[{DASHES[1:]}])?[\s*_]*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"\s*[*-]\s")
_COLON = re.compile(rf"[*_)\]]{{0,3}}\s?[{COLONS}]")
_SIGNED = re.compile(rf"[\s*_]*(?:[{DASHES[1:]}]|--)\s?[*_]*")
_LABEL = re.compile(rf"[\s*_]{{0,4}}(?P<word>\w[\w .()-]{{0,30}}?)[*_]{{0,3}}[{COLONS}]")


def _is_signature(text: str, name: Name, asked: _Asked) -> bool:
    """Say whether the name signs the text: "ChatGPT:", "Assistant (Claude):" at a line's start, "— ChatGPT" at the end.

    A list of terms ("Bard: a poet") has neighbours of the same form that are nobody's turn.
    """
    if name.key in asked.mentioned or name.sort == Sort.MAKER:
        return False
    begun = text.rfind("\n", max(0, name.start - _LINE), name.start) + 1
    if begun == 0 and name.start > _LINE:
        return False
    before, after = text[begun : name.start], text[name.end : name.end + _LINE]
    if name.sort <= Sort.DISTINCT and _SIGNED.fullmatch(before) and not after.strip("\n\r\t *_.)"):
        return len(after) < _LINE
    role = _ROLE.fullmatch(before)
    if role is None or _BULLET.match(before) or not _COLON.match(after):
        return False
    if role["open"]:
        return True
    if name.sort > Sort.DISTINCT and (begun > _LINE or text[:begun].strip()):
        return False
    return (name.sort < Sort.WORD or name.own) and not _has_terms_beside(text, begun, name.end)


def _has_terms_beside(text: str, begun: int, end: int) -> bool:
    previous = text[max(0, begun - 400) : begun].strip().rpartition("\n")[2]
    following = text[end : end + 400].partition("\n")[2].strip()
    labels = [label["word"].casefold() for line in (previous, following) if (label := _LABEL.match(line))]
    return any(label not in TURNS for label in labels)
