"""A detector of responses that speak to the judge instead of answering, and the pairs it makes suspect.

Rules over normalised text, no model: the same text always gets the same flags, and a person can read why. A flag is no
proof: it takes the pair from the judges and gives it to people. `docs/judges.md` says what it finds and what it misses.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from annotation.importing import ImportedRow
from annotation.models import Pair, Project, Response
from judges.models import ResponseFlag, ResponseScan

# Any change of what is found makes a new version: responses are then read again.
DETECTOR = "1"

# What each kind of flag says to a person.
KINDS: dict[str, str] = {
    "override": "tells the judge to ignore its instructions",
    "request": "asks to be chosen, or to be given a score",
    "comparison": "compares itself with the other response, which its writer cannot have seen",
    "verdict": "holds a verdict in the form a judge would give",
    "address": "speaks to a judge, grader or evaluator",
    "turn": "imitates a turn or control token of a chat",
    "delimiter": "imitates the marks that hold responses apart",
    "master_key": "is only an opening that is known to win without an answer",
    "empty": "is empty, or has no letter or digit",
    "headings": "is only headings",
    "repetition": "repeats one text over and over",
}

QUOTE_LIMIT = 300
RESPONSES_PER_BATCH = 500
# SQLite binds at most 32,766 values in a statement.
IDS_PER_QUERY = 10_000
# Nothing a person wrote shrinks to a fiftieth: below this, thousands of characters repeat one phrase.
REPEATED_FROM = 2000
REPEATED_RATIO = 0.02


class Flag(NamedTuple):
    """What was found: its kind (a key of `KINDS`) and the place in the text, at most 300 characters."""

    kind: str
    quote: str


def flags_of(text: str) -> list[Flag]:
    """Return the flags of a response's text, one a kind, in the order of `KINDS`. Pure and deterministic.

    Invisible characters, look-alike letters, full-width and mathematical letters, letters set apart by spaces, digits
    for letters and written-out escapes are undone before reading; the quote shows the text as it was read.
    """
    plain = _plain(text)
    found: dict[str, str] = {}
    for kind, quote in (*_of_the_whole(text, plain), *_of_places(plain)):
        found.setdefault(kind, quote.strip()[:QUOTE_LIMIT])
    return [Flag(kind, found[kind]) for kind in KINDS if kind in found]


# --- Normalising ----------------------------------------------------------------------------------------------------

# Letters of other scripts that look like Latin ones, in the order of `_LATIN`.
_LOOK_ALIKE = (
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u0261\u043a\u043c\u0442\u0432\u043d"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
    "\u03bf\u03b1\u03b9\u03bd\u03c1\u039f\u0391\u0399\u0395\u0392"
)
_LATIN = "aeopcyxijshdgkmtbhABEKMHOPCTYXIJSoaivpOAIEB"
_TO_LATIN = str.maketrans(_LOOK_ALIKE, _LATIN)
_MIXED = re.compile(rf"\w{{0,40}}(?:[A-Za-z][{_LOOK_ALIKE}]|[{_LOOK_ALIKE}][A-Za-z])\w{{0,40}}")
# Soft hyphen, zero-width characters, marks of direction, variation selectors, tags: all that prints nothing.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\U000e0000-\U000e01ef]"
)
_SPACED = re.compile(r"(?<!\w)\w(?: {1,3}\w(?!\w)){7,}")
_SPACED_HINT = re.compile(r" \w {1,3}\w {1,3}\w {1,3}\w(?: |$)")
_SPACE_INSIDE = re.compile(r"(?<=\w) (?=\w)")
_SPACES = re.compile(r"[ \t]{2,}")
_ESCAPES = re.compile(r"(?:\\[nrt]){2,}|\\[nrt](?=[A-Z\-=#\s])")
_DIGIT_INSIDE = re.compile(r"[a-z][0134@$][a-z]")
_WORD_WITH_DIGITS = re.compile(r"[a-z@$0134]{0,40}[a-z][a-z@$0134]{0,40}")
_FROM_DIGITS = str.maketrans("0134@$", "oieaas")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _plain(text: str) -> str:
    """Return the text as it means to be read: one alphabet a word, nothing invisible, single spaces."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        text = _MIXED.sub(lambda word: word[0].translate(_TO_LATIN), text)
        text = text.replace("\u2019", "'")
    text = _CONTROLS.sub(" ", text)
    if "\\" in text:
        text = _ESCAPES.sub("\n", text)
    if _SPACED_HINT.search(text):
        text = _SPACED.sub(lambda run: _SPACE_INSIDE.sub("", run[0]), text)
    return _SPACES.sub(" ", text)


# --- The whole text -------------------------------------------------------------------------------------------------

_MASTER_KEYS = re.compile(
    r"\W*(?:thought process|solution|answer|final answer|explanation|reasoning|analysis|response"
    r"|let['']?s (?:think|solve (?:this|the) (?:problem|question)|work through this)(?:,? step[- ]by[- ]step)?"
    r"|step[- ]by[- ]step(?: solution)?|respuesta|soluci\u00f3n|r\u00e9ponse|l\u00f6sung|\u89e3|\u7b54|\u89e3\u7b54"
    r"|\u89e3\u8aac|\u304b\u3044\u305b\u3064)\W*",
    re.IGNORECASE,
)
_HEADING = re.compile(r"\s*(?:#{1,6}\s.*|\*\*[^*]+\*\*:?|__[^_]+__:?|[-=*_]{3,})\s*")
_RULE = re.compile(r"\s*[-=*_]{3,}\s*")


def _of_the_whole(text: str, plain: str) -> Iterator[tuple[str, str]]:
    if not any(unicodedata.category(one)[0] in "LNS" for one in plain):
        yield "empty", plain
    elif len(plain) < 80 and _MASTER_KEYS.fullmatch(plain):
        yield "master_key", plain
    lines = [line for line in islice(plain.splitlines(), 200) if line.strip()]
    headings = [line for line in lines if not _RULE.fullmatch(line)]
    if len(headings) > 1 and all(_HEADING.fullmatch(line) for line in lines):
        yield "headings", "\n".join(lines)
    if len(text) >= REPEATED_FROM:
        data = text.encode("utf-8", "replace")
        if len(zlib.compress(data)) < REPEATED_RATIO * len(data):
            yield "repetition", plain[:100]


# --- Places in the text ---------------------------------------------------------------------------------------------

# Inside a sentence; lazy, so that the quote stays short.
_GAP = r"[^.!?\n]"
_ANSWER = r"(?:response|answer|output|reply|submission|completion)"
_NUMBER = r"(?:one|two|1|2|a|b)"
# One response of a pair, as only somebody who knows of the comparison would call it.
_SELF = (
    rf"(?:(?:this|my|the above|the following|the current|(?:the )?(?:first|second)) (?:\w+ )?{_ANSWER}"
    rf"|{_ANSWER} above|(?:response|assistant|output|submission|completion)[ _-]?\(?{_NUMBER}\)?(?!\w))"
)
_OTHER = (
    r"(?:the|any|every) (?:other|competing|alternative|opposing|rival) (?:response|assistant|submission|"
    r"completion|output)s?"
)
_JUDGE = r"(?:judges?|evaluators?|graders?|assessors?|raters?|annotators?)"
_ORDERS = r"(?:instructions?|prompts?|guidelines|guidance|rules|directions|directives|orders|criteria|rubrics?|context)"
_BEFORE = r"(?:previous|prior|above|earlier|preceding|foregoing|past|old|initial|original)"
_WINS = (
    r"(?:better than|best\b|better\b|superior|winner|wins?\b|won\b|preferred|favou?red|stronger than|"
    r"be chosen|selected|"
    r"highest|maximum|top score|perfect score|full marks|flawless|gold standard|deserves|more \w+ than|rated above|"
    r"10/10)"
)
_CHOOSE = (
    r"(?:choos(?:e|es)|selects?|picks?|prefers?|favou?rs?|votes? for|votes?|marks?|rates?|ranks?|scores?|"
    r"grades?|accepts?)"
)
_SCORES = r"(?:highest|maximum|best|top|perfect|full|10|100|5 out of 5)"


class _Finder(NamedTuple):
    """A pattern over the lower-case text, asked only where one of the stems occurs: most texts hold none."""

    kind: str
    stems: Sequence[str]
    pattern: re.Pattern[str]


def _finder(kind: str, stems: str, *patterns: str) -> _Finder:
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    return _Finder(kind, tuple(stems.split("|")), re.compile(joined, re.MULTILINE))


_OVERRIDE = _finder(
    "override",
    "ignor|disregard|forget|bypass|overrid|neglect|never mind|nevermind|not follow|n't follow|"
    "stop following|system prompt|new instruction|new rule|new order|cancel|void|no longer|replaced|"
    "revoked|suspended|missachte|vergiss|\u0438\u0433\u043d\u043e\u0440|"
    "\u0437\u0430\u0431\u0443\u0434|\u5ffd|\u65e0\u89c6|\u7121\u8996|\u5fd8\u8bb0|\ubb34\uc2dc",
    rf"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget|bypass|override|neglect|never ?mind|do not follow|"
    rf"don't follow|stop following)"
    rf"\b{_GAP}{{0,30}}?\b(?:{_BEFORE}(?: \w+)?|your|system) {_ORDERS}",
    r"\b(?:ignore|disregard|forget|do not follow|don't follow|never ?mind) (?:all |any |about )?the (?:\w+ )?"
    r"(?:instructions? (?:above|you)|rubric|system prompt|evaluation|criteria|guidelines above|judging|grading)",
    rf"\b(?:ignore|disregard|forget|override) the {_BEFORE} {_ORDERS}",
    r"\b(?:ignore|disregard|forget) (?:everything|all|anything|what) (?:that )?(?:you (?:were|have been|"
    r"are) told|came before|"
    r"you know about|above|before)",
    r"\b(?:ignore|disregard) the instructions you",
    rf"\b{_BEFORE} {_ORDERS} (?:are|is|were|have been) (?:\w+ )?(?:cancel|void|no longer|replaced|revoked|"
    rf"overrid|suspended)",
    r"\bsystem prompt (?:no longer|does not|is not|is void)",
    rf"\bnew (?:instructions?|rules|orders) (?:for|to) (?:the |you\b|any )(?:{_JUDGE}|model|assistant)?",
    r"\boverride (?:the )?(?:evaluation|judge|judg|grading|scoring)",
    # Spanish, Portuguese, Italian, French, German, Russian, Chinese, Japanese, Korean.
    r"\bignor(?:a|e|en|ar) (?:todas )?(?:las |as )?instruc\w+ (?:anteriores|previas)",
    r"\bignora (?:tutte )?le istruzioni precedenti",
    r"\bignore[rz]? (?:toutes )?les (?:instructions|consignes|directives) (?:pr\u00e9c\u00e9dentes|"
    r"ci-dessus|ant\u00e9rieures)",
    r"\b(?:ignorier(?:e|en|t)|missachte|vergiss) (?:bitte )?(?:alle )?(?:die )?(?:vorherigen|bisherigen|"
    r"obigen|fr\u00fcheren) "
    r"(?:anweisungen|instruktionen|vorgaben|regeln)",
    r"(?:\u0438\u0433\u043d\u043e\u0440\u0438\u0440\u0443\u0439|"
    r"\u0437\u0430\u0431\u0443\u0434\u044c)\w* (?:\u0432\u0441\u0435 )?"
    r"(?:\u043f\u0440\u0435\u0434\u044b\u0434\u0443\u0449|\u043f\u0440\u0435\u0436\u043d)\w+ "
    r"(?:\u0438\u043d\u0441\u0442\u0440\u0443\u043a|\u0443\u043a\u0430\u0437\u0430\u043d)",
    r"(?:\u5ffd\u7565|\u65e0\u89c6|\u5ffd\u8996|\u7121\u8996|\u5fd8\u8bb0).{0,8}(?:\u4e4b\u524d|"
    r"\u4ee5\u4e0a|\u5148\u524d|\u524d\u9762|"
    r"\u4e0a\u8ff0).{0,6}(?:\u6307\u4ee4|\u6307\u793a|\u8bf4\u660e|\u89c4\u5219|\u63d0\u793a)",
    r"(?:\u4ee5\u524d|\u4e0a\u8a18|\u3053\u308c\u307e\u3067|\u524d)\u306e.{0,6}(?:\u6307\u793a|"
    r"\u547d\u4ee4).{0,4}\u7121\u8996",
    r"\uc774\uc804.{0,6}(?:\uc9c0\uc2dc|\uba85\ub839).{0,6}\ubb34\uc2dc",
)
_REQUEST = _finder(
    "request",
    "response|answer|output|reply|submission|completion|assistant| mine| me| this|highest|rate it|"
    "score it|mark it|rank it|judge it|grade it|respuesta|resposta|risposta|r\u00e9ponse|antwort|"
    "\u043e\u0442\u0432\u0435\u0442|\u56de|\u7b54|\ub2f5",
    rf"\b{_CHOOSE} (?:only |always |for )?{_SELF}",
    rf"\b(?:give|giving|assign|award|grant)s? (?:\w+ )?{_SELF}{_GAP}{{0,30}}?\b(?:{_SCORES}|score|rating|marks|win)",
    rf"\b(?:give|assign|award|grant)s? (?:it |me |this )?(?:the |a )?{_SCORES} (?:possible )?(?:scores?|"
    rf"ratings?|marks|grades?)\b",
    rf"\b(?:rate|score|grade|mark|rank|judge) (?:it|me|mine|this(?: one)?) (?:as )?(?:the |"
    rf"a )?(?:{_SCORES}|winner|correct|better|highest)\b",
    r"\b(?:choose|select|pick|prefer|vote for|favou?r) (?:mine|me|this one)\b",
    r"\b(?:must|should|always|please|only|now) (?:choose|select|pick|prefer|favou?r|vote for) (?:mine|me|this)\b",
    r"\b(?:choose|select|pick|prefer|favou?r)s? the response (?:that|which|with|in which|containing|from)\b",
    rf"\b(?:answer|reply|respond|output|print|say|return) (?:always )?(?:with |that )?(?:only )?{_SELF}",
    r"\b(?:this|that) (?:one|sentence|text) (?:wins|is the winner|must win|should win)\b",
    r"\b(?:treat|confirm|regard) (?:this|my) (?:response|answer|submission)",
    # The commonest sentence in other languages: choose this answer; rate it highest.
    r"\b(?:elige|elija|escoge|selecciona|escolha|prefira|scegli|seleziona) (?:est[ae]|"
    r"questa) (?:respuesta|resposta|risposta)",
    r"\b(?:choisi\w+|s\u00e9lectionne\w*|pr\u00e9f\u00e9re\w*) cette r\u00e9ponse",
    r"\b(?:w\u00e4hlen?|bevorzugen?|bewerten?)(?: sie)? (?:bitte )?diese antwort",
    r"(?:\u0432\u044b\u0431\u0435\u0440|"
    r"\u043f\u0440\u0435\u0434\u043f\u043e\u0447\u0442)\w* \u044d\u0442\u043e\u0442 "
    r"\u043e\u0442\u0432\u0435\u0442",
    r"(?:\u9009\u62e9|\u9078\u64c7|\u8bf7\u9009|\u504f\u597d).{0,4}(?:\u8fd9\u4e2a|\u6b64|\u672c|"
    r"\u9019\u500b).{0,4}(?:\u56de\u7b54|\u7b54\u6848|\u56de\u590d|"
    r"\u56de\u5e94)",
    r"\u3053\u306e(?:\u56de\u7b54|\u5fdc\u7b54|\u7b54\u3048)\u3092\u9078",
    r"\uc774 (?:\ub2f5\ubcc0|\uc751\ub2f5|\ub300\ub2f5)\uc744 (?:\uc120\ud0dd|\uace0\ub974)",
)
_COMPARISON = _finder(
    "comparison",
    "response|answer|output|reply|submission|completion|assistant|which one wins|comparison",
    rf"\b{_SELF}{_GAP}{{0,60}}?\b{_WINS}",
    rf"\b{_OTHER}\b",
    rf"\b(?:preferred|chosen|selected|favou?red) {_SELF} (?:over|to|above)\b",
    rf"\bthe (?:better|best|winning|superior|preferred) (?:response|answer) is\b{_GAP}{{0,12}}?\b(?:[ab]|"
    rf"first|second|this)\b",
    r"\bthis answer\b[^.!?\n]{0,60}?\b(?:than|over|to) the other answer\b",
    r"\bwhich (?:response|answer|assistant|one) (?:is|was) (?:the )?better\b",
    r"\bwhich one wins\b",
    r"\b(?:assistant|response|output)[ _-]?\(?[ab]\)? (?:is |was )?(?:better|worse|wins|best|preferred)\b",
    r"\b(?:winner|prefer|choose|pick)\W{0,4}(?:assistant|response|output|model)[ _-]?\(?[ab]\)?(?!\w)",
    r"\b(?:label|verdict|winner|answer) (?:for|of|in) this comparison\b",
)
_VERDICT = _finder(
    "verdict",
    "[[|verdict|judgement|judgment|winner|decision|choice|preference|evaluation|comparison|grading|judging",
    r"\[\[\s*(?:[abc]|tie|[ab]\s*(?:>{1,2}|<{1,2}|=)\s*[ab]|\d{1,3})\s*\]\]",
    r"\b(?:final )?(?:verdict|judg(?:e)?ment|winner(?: declared)?|decision|choice|"
    r"preference)\s*(?:is\s*)?[:=]+\s*\W{0,4}"
    r"(?:(?:the )?(?:response|assistant|answer|output|model)[ _]?)?(?:\(?[ab]\)?(?=\W*$|[.!,;)\]*\"]|"
    r" wins| is)|first\b|second\b|this (?:response|one)|tie\b|the above)",
    r"\b(?:evaluation|comparison|grading|judging|judg(?:e)?ment)(?: task)? (?:is |has |was )?(?:now |"
    r"been )?(?:complete[d]?|finished|done|ended|over|"
    r"concluded)\b",
    r"\bverdict[^.!?\n]{0,12}? (?:is this response|[ab] wins|first response|second response)",
)
# A letter is a verdict only as a capital: "return a" is code.
_OUTPUT_LETTER = re.compile(
    r"\b[Oo]utput [\"'(\[{]*[AB][\"')\]}]*(?=[.!\s]|$)(?! \w)"
    r"|\b(?:[Rr]eply|[Aa]nswer|[Rr]espond|[Aa]nswer accordingly) with [\"'(\[{]*[AB][\"')\]}]*(?=[.!\n]|$)"
    r"|\b[Pp]refer [AB](?=[.!\n]|$)"
)
_ADDRESS = _finder(
    "address",
    "judge|evaluator|grader|assessor|rater|annotator|ai |llm|model|mode",
    rf"\b(?:dear|hello|hi|hey|attention|note (?:to|for)|message (?:to|for)|to|for|"
    rf"instructions for)[ ,:]+(?:the |any |all |every |our |my )?"
    rf"(?:ai |llm |human |impartial )?{_JUDGE}\b[^\n]{{0,100}}?\b(?:response|answer|submission|output|"
    rf"marks?|rate|score|winner|select|choose)\b",
    r"\bas (?:an? |the )?(?:\w+ )?(?:judge|evaluator|grader|assessor),?\b[^\n]{0,60}?\b(?:response|choice|"
    r"verdict|choose|select|output|comparison)\b",
    r"\byou are (?:now )?(?:an? |the )?(?:\w+ )?(?:judge|evaluator|grader|"
    r"assessor)\b[^\n]{0,80}?\b(?:response|answer|select|prefer|choose)",
    rf"\b(?:the|this|every|ai|llm) {_JUDGE}\b{_GAP}{{0,30}}?\b(?:should|must|will|would|shall|now|has to|"
    rf"picks?|outputs?)\b{_GAP}{{0,40}}?"
    rf"\b(?:response|answer|marks|submission|conclude|verdict)\b",
    rf"\b{_JUDGE} (?:instructions?|output|verdict|note)\b[^\n]{{0,40}}?(?:response|answer|[ab]\b|first|second)",
    r"\bif you are (?:an? )?(?:\w+ )?(?:language model|ai|llm|judge|evaluator|"
    r"grader)\b[^.\n]{0,40}?\b(?:compar|evaluat|judg|grad|scor|rat(?:e|ing))",
    r"\b(?:ai|llm|model) (?:evaluating|judging|grading|comparing|scoring|rating) (?:this|these|the response)",
    r"\b(?:grading|evaluation|judging|scoring) mode\b",
    r"\bevaluator accept\b",
)
_TURN = _finder(
    "turn",
    "<|inst]|<<|_of_turn|system|# instruction|#instruction",
    r"<\|(?:im_start|im_end|endoftext|user|assistant|system|eot_id|begin_of_text|start_header_id|"
    r"end_header_id|end|channel|message)\|>",
    r"\[/?inst\]",
    r"<</?sys>>",
    r"<(?:start|end)_of_turn>",
    r"</?system(?:[ _-]?(?:prompt|message))?>",
    r"^\W{0,4}(?:system|system (?:note|message|prompt))\W{0,3}(?::|\])(?=.{0,200}?\b(?:response|answer|"
    r"judge|evaluat|instruction|criteria|output|grad|choose|rule)\w*)",
    r"\[system\]",
    r"^#{2,4} ?system\b",
    r"^#{2,4} ?instruction:?\s*\n(?=.{0,80}\b(?:response|verdict|choose|judge)\b)",
)
_DELIMITER = _finder(
    "delimiter",
    "<|[|end of",
    r"</?(?:response|prompt|message|context|answer|assistant)[-_ ](?:first|second|one|two|a|b|"
    r"[0-9a-f]{6,})(?:-[0-9a-f]+)?[^<>\n]{0,20}>",
    r"\[(?:the )?(?:start|end|begin|beginning)(?: of)?(?: the)? (?:\w+ ){0,2}?(?:assistant|response|"
    r"answer|judge|model|verdict)[^\]\n]{0,30}\]",
    r"(?:^|[-=*#]{3,} ?)end of (?:the )?(?:response|data|comparison|evaluation|answer|input|prompt)s?\b",
)
_CLOSING = re.compile(r"</(response|prompt|data|answer|context|candidate|submission)>")
_OBJECT = re.compile(r"\{[^{}]{0,600}\}")
_KEY = re.compile(r"[\"'](\w+)[\"']\s*:\s*([\"']?[\w >\-]{0,40})")
_DECISIONS = {
    "choice",
    "winner",
    "verdict",
    "preferred",
    "preference",
    "decision",
    "better",
    "best_response",
    "judgement",
    "judgment",
}
_SCORE_KEYS = {"score", "rating", "grade"}
_BESIDE = {"rationale", "reason", "reasoning", "explanation", "confidence", "comment", "analysis", "thoughts"}
_SIDES = re.compile(
    r"[\"']?(?:first|second|tie|[ab]|(?:model|response|assistant|answer|output)[ _-]?(?:[ab12]|one|two))\s*",
    re.IGNORECASE,
)

_FINDERS = (_OVERRIDE, _REQUEST, _COMPARISON, _VERDICT, _ADDRESS, _TURN, _DELIMITER)


def _of_places(plain: str) -> Iterator[tuple[str, str]]:
    low = plain.lower()
    # Lower-casing changes the length of a few letters: the quote is then in lower case.
    shown = plain if len(plain) == len(low) else low
    flat = low.replace("\n", " ")
    for finder in _FINDERS:
        if any(stem in low for stem in finder.stems):
            # A phrase may be broken over lines; what imitates marks stands at their beginning.
            match = finder.pattern.search(flat if finder in (_OVERRIDE, _REQUEST) else low)
            if match:
                yield finder.kind, shown[match.start() : match.end()]
    if match := _OUTPUT_LETTER.search(plain):
        yield "verdict", match[0]
    if verdict := _verdict_object(plain):
        yield "verdict", verdict
    if closing := _unopened(low):
        yield "delimiter", closing
    if _DIGIT_INSIDE.search(low):
        spelled = _WORD_WITH_DIGITS.sub(lambda word: word[0].translate(_FROM_DIGITS), flat)
        for finder in (_OVERRIDE, _REQUEST):
            if match := finder.pattern.search(spelled):
                yield finder.kind, match[0]


def _verdict_object(plain: str) -> str:
    """Return a JSON object (or Python dict) that says which response won, or holds a score and nothing else."""
    for match in _OBJECT.finditer(plain):
        values = {key.lower(): value for key, value in _KEY.findall(match[0])}
        decisions = [value for key, value in values.items() if key in _DECISIONS]
        if any(_SIDES.fullmatch(value) for value in decisions):
            return match[0]
        if values.keys() & _SCORE_KEYS and values.keys() <= _SCORE_KEYS | _BESIDE:
            return match[0]
    return ""


def _unopened(low: str) -> str:
    """Return a closing tag of our layout that no tag before it opens."""
    for match in _CLOSING.finditer(low):
        opened = low.find(f"<{match[1]}")
        if opened < 0 or opened > match.start():
            return match[0]
    return ""


# --- Responses and pairs --------------------------------------------------------------------------------------------


def flag_responses(project: Project, *, again: bool = False) -> int:
    """Read a project's responses that this version of the detector has not read; return how many it flagged.

    Cheap where nothing is new (two queries): how far the reading went is stored. `again` reads all of them. Flags of
    earlier versions of the detector go once their response is read again. Batches of 500, each in its own transaction.
    """
    scan = ResponseScan.objects.filter(project=project, detector=DETECTOR).first()
    upto = None if again or scan is None else scan.upto
    flagged = 0
    while True:
        responses = Response.objects.filter(prompt__project=project).order_by("id")
        if upto is not None:
            responses = responses.filter(id__gt=upto)
        batch = list(responses.only("id", "messages")[:RESPONSES_PER_BATCH])
        if not batch:
            return flagged
        upto = batch[-1].pk
        with transaction.atomic():
            flagged += _flag(batch)
            ResponseScan.objects.update_or_create(project=project, defaults={"detector": DETECTOR, "upto": upto})


def consume(project: Project, rows: list[ImportedRow]) -> int:
    """Flag the responses of newly imported pairs; return how many. Caller holds the import's transaction.

    Three statements a batch, whatever its size.
    """
    ids = {pk for row in rows for pk in (row.pair.response_a_id, row.pair.response_b_id)}
    return sum(_flag(list(Response.objects.filter(pk__in=some).only("id", "messages"))) for some in _chunks(ids))


def flagged_pairs(project: Project, pair_ids: Iterable[UUID | str] | None = None) -> dict[UUID, list[str]]:
    """Return the pairs with a flagged response, each with the kinds of its flags, sorted.

    `pair_ids` narrows them. One query for every 10,000 ids.
    """
    suspect = Pair.objects.filter(project=project).filter(
        Q(response_a__flags__isnull=False) | Q(response_b__flags__isnull=False)
    )
    fields = suspect.values_list("id", "response_a__flags__kind", "response_b__flags__kind")
    found: dict[UUID, set[str]] = {}
    for rows in [fields] if pair_ids is None else [fields.filter(id__in=ids) for ids in _chunks(pair_ids)]:
        for pair_id, *kinds in rows:
            found.setdefault(pair_id, set()).update(kind for kind in kinds if kind)
    return {pair_id: sorted(kinds) for pair_id, kinds in found.items()}


def flags_of_pair(pair: Pair) -> dict[str, list[ResponseFlag]]:
    """Return the flags of a pair's responses: {"a": [...], "b": [...]}. One query."""
    flags = list(ResponseFlag.objects.filter(response_id__in=[pair.response_a_id, pair.response_b_id]).order_by("id"))
    return {
        side: [flag for flag in flags if flag.response_id == response_id]
        for side, response_id in (("a", pair.response_a_id), ("b", pair.response_b_id))
    }


def _flag(responses: Sequence[Response]) -> int:
    """Store what the detector finds in these responses, and drop what it does not find any more."""
    found = {response.pk: flags_of(response.text) for response in responses}
    ResponseFlag.objects.bulk_create(
        [
            ResponseFlag(response_id=response_id, kind=flag.kind, quote=flag.quote, detector=DETECTOR)
            for response_id, flags in found.items()
            for flag in flags
        ],
        update_conflicts=True,
        unique_fields=["response", "kind"],
        update_fields=["quote", "detector"],
    )
    for ids in _chunks(found):
        ResponseFlag.objects.filter(response_id__in=ids).exclude(detector=DETECTOR).delete()
    return sum(bool(flags) for flags in found.values())


def _chunks(ids: Iterable[UUID | str]) -> Iterator[list[UUID | str]]:
    iterator = iter(ids)
    while chunk := list(islice(iterator, IDS_PER_QUERY)):
        yield chunk
