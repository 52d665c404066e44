"""Which maker's family a model belongs to: a judge may favour answers of its own."""

import re

# Words of a model's name, by family. A word stands for a maker only where it names nobody else's models.
WORDS = {
    "openai": ("openai", "gpt", "chatgpt", "davinci", "o1", "o3", "o4"),
    "anthropic": ("anthropic", "claude"),
    "google": ("google", "gemini", "gemma", "palm", "bard", "bison", "unicorn"),
    "meta": ("meta", "llama", "codellama"),
    "mistral": ("mistral", "mistralai", "mixtral", "ministral", "magistral", "codestral", "devstral", "pixtral"),
    "qwen": ("qwen", "qwq", "tongyi"),
    "deepseek": ("deepseek",),
    "microsoft": ("microsoft", "phi"),
    "xai": ("xai", "grok"),
    "cohere": ("cohere", "command", "aya"),
    "nvidia": ("nvidia", "nemotron"),
    "01ai": ("yi",),
    "zhipu": ("zhipu", "glm", "chatglm"),
    "moonshot": ("moonshot", "moonshotai", "kimi"),
    "tii": ("tiiuae", "falcon"),
    "ai21": ("ai21", "jamba", "jurassic"),
    "allenai": ("allenai", "olmo", "tulu"),
    "huggingface": ("huggingfacetb", "smollm", "zephyr"),
    "ibm": ("ibm", "granite"),
    "amazon": ("amazon",),
    "databricks": ("databricks", "dbrx", "dolly"),
    "lmsys": ("lmsys", "vicuna"),
}
FAMILY_OF = {word: family for family, words in WORDS.items() for word in words}
# These name a maker only as the first word: inside a name they are words like others ("text-command-x").
FIRST_ONLY = frozenset({"command", "phi", "yi", "aya", "meta", "o1", "o3", "o4"})
# "neural-gpt", "gpt4all" and the like are not OpenAI's.
NOT_OPENAI = frozenset({"neo", "j", "neox", "2b", "sw3", "jt"})
_VERSION = re.compile(r"[\d.]+[a-z]?$")
# A dot inside "3.5" joins, one before a word ("us.anthropic.claude") parts.
_SPLIT = re.compile(r"[^a-z0-9.]+|\.(?=[a-z])")


def family_of(model: str) -> str:
    """Return the maker's family of a model's name, whatever the version, size and server; '' where it is not known.

    Conservative: only whole words of the name count, and a name that fits two families has none, except that the words
    after a path's last slash go before those of the account that hosts it ("microsoft/Llama-2-7b" is Meta's).
    """
    path = model.strip().casefold().split("/")
    for part in reversed(path):
        found = _families(part)
        if found:
            return found.pop() if len(found) == 1 else ""
    return ""


def _families(name: str) -> set[str]:
    words = [word for word in _SPLIT.split(name) if word]
    found = set()
    for place, word in enumerate(words):
        for form in (word, _VERSION.sub("", word)):
            family = FAMILY_OF.get(form, "")
            if not family or (form in FIRST_ONLY and place > 0):
                continue
            following = words[place + 1] if place + 1 < len(words) else ""
            others = place > 0 and words[0] not in {"openai", "azure"}
            if form == "gpt" and (others or following in NOT_OPENAI):
                continue
            found.add(family)
            break
    return found
