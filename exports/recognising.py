"""Personal data and secrets in a text: what is found, where, and of which kind. Pure.

Rather too little than too much: a number is a card only with its check digit and a known prefix, a telephone number
only where its country has such numbers (`phonenumbers`), an address only under a domain that there can be. So code,
sums and figures stay whole. Names of people are not looked for: nothing finds them with a precision that leaves texts
usable.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

import phonenumbers


class PersonalKind(StrEnum):
    """What was found in a text."""

    EMAIL = "email"
    PHONE = "phone"
    IBAN = "iban"
    CARD = "card"
    IP = "ip"
    SECRET = "secret"  # noqa: S105  (the name of a kind)


class Found(NamedTuple):
    """A place in a text: from `start` to before `end`."""

    start: int
    end: int
    kind: PersonalKind


# Reserved for examples (RFC 2606, RFC 6761): nobody's.
EXAMPLE_DOMAINS = re.compile(r"(?:^|\.)(?:example|test|invalid|localhost)(?:\.(?:com|net|org))?$", re.IGNORECASE)
# Boxes that are no person's.
IMPERSONAL = frozenset({"git", "noreply", "no-reply"})
# Beside the two letters of countries, endings that addresses have; any longer word may be an attribute in code.
ENDINGS = frozenset(
    {
        "com", "org", "net", "edu", "gov", "mil", "int", "biz", "pro", "xyz", "app", "dev", "info", "name", "mobi",
        "online", "email", "cloud", "museum", "company",
    }
)  # fmt: skip
_EMAIL = re.compile(
    r"(?<![\w.+%/-])([A-Za-z0-9][\w.+%-]{0,63})@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+)"
    r"([A-Za-z]{2,12})(?![\w(@-]|\.\w)"
)
_CARD = re.compile(
    r"(?<![\w.,+-])(?:\d{13,19}|\d{4}(?P<s>[ -])\d{4}(?P=s)\d{4}(?P=s)\d{1,7}|\d{4}(?P<t>[ -])\d{6}(?P=t)\d{5})"
    r"(?![\w-]|[.,]\d)"
)
# Visa, Mastercard, American Express, Discover, Diners, JCB: prefix and length (ISO/IEC 7812).
_BRANDS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d*|3[47]\d{13}"
    r"|6(?:011|5\d\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"
)
MASTERCARD_DIGITS = 16
# A bare run of digits behind one of these is a figure, unless it is called a card.
_OPERATOR = re.compile(r"[=+*/^<>\[~]\s*$")
_CALLED_A_CARD = re.compile(r"card|visa|amex|kreditkarte|karte|carte|tarjeta", re.IGNORECASE)
# ISO 13616: the length of an account number by country.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24,
    "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29,
    "VG": 24, "XK": 20,
}  # fmt: skip
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2})\d{2}(?= ?[A-Z0-9])")
_IBAN_REST = re.compile(r"(?: ?[A-Z0-9])*")
_IPV4 = re.compile(r"(?<![\w.+-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?:::?[0-9A-Fa-f]{1,4}){3,7}(?![\w:]|\.\d)")
# Before four numbers: what makes them a version or the number of a part.
_NUMBERED = re.compile(
    r"(?:\bv|\bver\.?|version|release|build|[=<>~^§]|section|sec\.|chapter|item|clause|article|table|figure|step)\s*$",
    re.IGNORECASE,
)
# Open resolvers, and what people write when they count.
NOBODYS = frozenset({"1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "1.2.3.4", "4.3.2.1"})
_ABROAD = re.compile(r"(?<![\w+.])(?:\+|00)(?=[1-9])\d[\d ().-]{6,20}\d(?!\w|[.,]\d)")
_NORTH_AMERICAN = re.compile(
    r"(?<![\w.+(-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}(?P<s>[-.]))[2-9]\d{2}[-.]\d{4}(?!\w|[-.,]\d)"
)
_NAMED_PHONE = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|fax|whats ?app|telefon|handy|t[ée]l[ée]phone|tel[ée]fono|rufnummer)"
    r"(?: (?:number|no|nr|is|me|us|at|on))*\.?[ :#]{1,3}(?:is |at )?(?P<number>\(?\d[\d ()/.-]{5,18}\d)(?!\w|[.,]\d)",
    re.IGNORECASE,
)
PHONE_DIGITS = range(7, 16)
_SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----.*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)"
    r"|(?<![\w-])(?:"
    r"sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{35}|xox[abeprs]-[\w-]{10,}|[sr]k_live_[A-Za-z0-9]{16,}"
    r"|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
    r")(?![\w-])",
    re.DOTALL,
)
_SECRET_MARKS = ("PRIVATE KEY", "sk-", "glpat-", "AKIA", "ASIA", "AIza", "xox", "pypi-", "eyJ")
_UNDERSCORED = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "hf_", "k_live_", "npm_")


def redacted(text: str, found: list[Found]) -> str:
    """Return a text with each place that was found replaced by its kind in brackets, such as `[EMAIL]`."""
    parts, at = [], 0
    for one in found:
        parts += [text[at : one.start], f"[{one.kind.upper()}]"]
        at = one.end
    return "".join([*parts, text[at:]])


def _emails(text: str) -> Iterator[Found]:
    for match in _EMAIL.finditer(text):
        local, domain, ending = match.groups()
        one_case = ending.islower() or ending.isupper()
        is_ending = ending.lower() in ENDINGS or (len(ending) == 2 and one_case)
        if is_ending and not EXAMPLE_DOMAINS.search(f"{domain}{ending}") and local.lower() not in IMPERSONAL:
            yield Found(match.start(), match.end(), PersonalKind.EMAIL)


def _cards(text: str) -> Iterator[Found]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        brand = _BRANDS.fullmatch(digits)
        right = brand and (digits[0] not in "25" or len(digits) == MASTERCARD_DIGITS) and passes_luhn(digits)
        before = text[max(0, match.start() - 40) : match.start()]
        bare = digits == match[0] and (digits[0] == "2" or _OPERATOR.search(before))
        if right and (not bare or _CALLED_A_CARD.search(before)):
            yield Found(match.start(), match.end(), PersonalKind.CARD)


def passes_luhn(digits: str) -> bool:
    """Say whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0 and len(set(digits)) > 1


def _ibans(text: str) -> Iterator[Found]:
    for start in _IBAN_START.finditer(text):
        length = IBAN_LENGTHS.get(start[1])
        if length is None:
            continue
        end, seen = start.start(), 0
        while end < len(text) and seen < length:
            seen += text[end] != " "
            end += 1
        number = text[start.start() : end].replace(" ", "")
        whole = end >= len(text) or not text[end].isalnum()
        if whole and len(number) == length and re.fullmatch(r"[A-Z0-9]+", number) and passes_mod_97(number):
            yield Found(start.start(), end, PersonalKind.IBAN)


def passes_mod_97(number: str) -> bool:
    """Say whether the check digits of an account number are right (ISO 7064 MOD 97-10)."""
    return int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1


def _phones(text: str) -> Iterator[Found]:
    for match in _ABROAD.finditer(text):
        number = f"+{match[0].removeprefix('+').removeprefix('00')}"
        if _is_phone(number, None):
            yield Found(match.start(), match.end(), PersonalKind.PHONE)
    for match in _NORTH_AMERICAN.finditer(text):
        if _is_phone(match[0], "US"):
            yield Found(match.start(), match.end(), PersonalKind.PHONE)
    for match in _NAMED_PHONE.finditer(text):
        if sum(sign.isdigit() for sign in match["number"]) in PHONE_DIGITS:
            yield Found(match.start("number"), match.end("number"), PersonalKind.PHONE)


def _is_phone(number: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


def _addresses(text: str) -> Iterator[Found]:
    for match in _IPV4.finditer(text):
        if match[0] not in NOBODYS and _is_global(match[0]) and not _NUMBERED.search(text[: match.start()][-12:]):
            yield Found(match.start(), match.end(), PersonalKind.IP)
    for match in _IPV6.finditer(text):
        if _is_global(match[0]):
            yield Found(match.start(), match.end(), PersonalKind.IP)


def _is_global(address: str) -> bool:
    """Say whether an address is one of the public internet: not private, not for documentation, no multicast."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast


def _secrets(text: str) -> Iterator[Found]:
    for match in _SECRET.finditer(text):
        yield Found(match.start(), match.end(), PersonalKind.SECRET)


# What a text must have for a search to be worth its while, looked for with as few passes as will do.
_DIGITS = re.compile(r"\d(?:[ ()/.-]{0,2}\d){3,}")
_SEVEN_DIGITS = re.compile(r"\d(?:[ ()/.-]{0,2}\d){6}")
_THIRTEEN_DIGITS = re.compile(r"\d(?:[ -]?\d){12}")
_ACCOUNT = re.compile(r"[A-Z]{2}\d\d ?[A-Z0-9]{4}")
_FOUR_PARTS = re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:")
LEAST_COLONS = 3
Look = Callable[[str], Iterator[Found]]


def _looks_for(text: str) -> Iterator[Look]:
    """Yield the searches that a text has any sign for."""
    if "@" in text:
        yield _emails
    has_address = text.count(":") >= LEAST_COLONS and _COLONS.search(text)
    # Where four digits or more stand together; no pattern below reaches over a line's end.
    if digits := "\n".join(_DIGITS.findall(text)):
        has_address = has_address or _FOUR_PARTS.search(digits)
        if _SEVEN_DIGITS.search(digits):
            yield _phones
            if _THIRTEEN_DIGITS.search(digits):
                yield _cards
            if _ACCOUNT.search(text):
                yield _ibans
    if has_address:
        yield _addresses
    if any(mark in text for mark in _SECRET_MARKS) or ("_" in text and any(mark in text for mark in _UNDERSCORED)):
        yield _secrets


def find_personal(text: str) -> list[Found]:
    """Return what a text holds of personal data and secrets, in its order; of two that overlap the earlier, longer one.

    A text without the sign of any costs a few microseconds for each thousand characters.
    """
    found = [one for look in _looks_for(text) for one in look(text)]
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end, one.kind)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept
