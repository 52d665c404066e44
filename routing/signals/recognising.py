"""What language a text is in and what form a prompt asks for, told by letters, small words and regular expressions."""

import re

_NUMBER = r"(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten|a dozen|a few|several)"
_UNIT = r"(?:words?|sentences?|characters?|letters?|paragraphs?|lines?|pages?|tokens?|syllables?)"
_LIMIT = r"(?:at (?:most|least)|(?:no more|fewer|less|more) than|under|within|exactly|up to|about|in|write|give me)"
_PROGRAM = r"(?:function|script|program|class|method|query|regex|regular expression|algorithm|code)"
# What a prompt may ask of an answer's form, in English: a prompt that asks in other words counts as not asking.
ASKED = {
    "asks_json": r"\bJSON\b|\b(?:YAML|XML) (?:format|object|file|document)\b",
    "asks_list": r"\bbullet(?:ed)?[ -](?:points?|list)\b|\b(?:numbered|ordered) list\b|^list\b"
    r"|\b(?:make|write|give|create|provide) (?:me )?(?:an? )?list\b"
    rf"|\b(?:list|give|name|suggest|provide|propose) (?:me |us )?{_NUMBER} (?!{_UNIT})",
    "asks_length": rf"\b{_LIMIT} {_NUMBER}[ -](?:short )?{_UNIT}\b|\b{_NUMBER}-{_UNIT}\b"
    r"|\b(?:one|single|two|three)[ -](?:sentence|paragraph|word|line)s?\b|\b(?:briefly|be brief|concisely)\b",
    "asks_table": r"\b(?:in|as|into|create|make|write|generate|build|draw|use) (?:an? |the )?(?:\w+ ){0,2}table\b"
    r"|\bCSV\b|\bspreadsheet\b",
    "asks_code": r"\b(?:only|just)(?: the)? code\b|\bcode only\b"
    r"|\b(?:write|implement|create|develop|define)(?: me)?(?: an?| the)? (?:[\w+#]+ ){0,3}"
    rf"{_PROGRAM}\b",
}
_ASKED = tuple(re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in ASKED.values())
# Letters of one language, or of a family for which its most frequent language stands. Kana go before Chinese
# characters, since Japanese has both.
SCRIPTS = {
    "ja": r"\u3040-\u30ff",
    "zh": r"\u4e00-\u9fff",
    "ko": r"\uac00-\ud7af",
    "ru": r"\u0400-\u04ff",
    "ar": r"\u0600-\u06ff",
    "hi": r"\u0900-\u097f",
    "el": r"\u0370-\u03ff",
    "he": r"\u0590-\u05ff",
    "th": r"\u0e00-\u0e7f",
}
_SCRIPTS = {language: re.compile(f"[{letters}]") for language, letters in SCRIPTS.items()}
# A text is in a script's language where so many of its first letters are that script's.
SCRIPT_SHARE = 0.3
CHARACTERS_READ = 2000
_LETTER = re.compile(r"[^\W\d_]")
# Frequent words of languages in Latin letters; words that several of them share are left out where others remain.
SMALL_WORDS = {
    "en": "the and of is that it for with are this was have you not they from what which how your would about",
    "de": "der die und das ist nicht ein eine den mit von sich auch auf für als wie ich sie wird sind oder bei",
    "fr": "le les des une est et dans que qui pour pas vous avec sur sont il elle cette mais nous être ou je",
    "es": "el los las una es que en por con para como más pero del su este ser tiene yo muy qué cómo",
    "pt": "os uma é que em por com para como mais mas do da não se seu são você isso ao dos das também",
    "it": "il gli una è che di per con come più ma del della non sono si questo anche nel alla le un",
    "nl": "het een van en dat niet zijn voor met op aan ook maar bij wordt naar deze hoe ik je uit om",
    "pl": "się nie jest że na do jak są ale od przez dla po czy tym który być oraz może jego",
    "sv": "och att det som är för inte på av har till den med ett om kan jag men hur eller",
    "tr": "ve bir bu için ile olarak da çok daha olan gibi ne kadar en değil mi sonra var",
    "id": "yang dan di dengan untuk dari ini itu tidak adalah pada ke dalam akan atau bisa juga oleh saya",
    "vi": "là của và có cho không được một những với các trong người này để đã như tôi khi từ",
}
_SMALL_WORDS = {language: frozenset(words.split()) for language, words in SMALL_WORDS.items()}
# One small word may be a name or a quotation.
SMALL_WORDS_NEEDED = 2


def asked_of(prompt: str) -> tuple[float, ...]:
    """Return for each form in `ASKED` 1.0 where the prompt asks for it, else 0.0."""
    return tuple(float(pattern.search(prompt) is not None) for pattern in _ASKED)


def language_of(text: str, vocabulary: frozenset[str]) -> str:
    """Return the language (two letters) that a text's letters or its small words show, '' where they show none.

    `vocabulary` are the text's words in lower case.
    """
    if not text.isascii():
        start = text[:CHARACTERS_READ]
        letters = len(_LETTER.findall(start))
        for language, script in _SCRIPTS.items():
            if letters and len(script.findall(start)) >= SCRIPT_SHARE * letters:
                return language
    hits = {language: len(words & vocabulary) for language, words in _SMALL_WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    second = max(hits[language] for language in hits if language != best)
    return best if hits[best] >= SMALL_WORDS_NEEDED and hits[best] > second else ""
