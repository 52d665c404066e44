"""Conversations as judges have them: a rubric, a prompt, two responses of lengths that vary."""

import random
from collections.abc import Iterable, Sequence

from judges.gpu import Conversation, Engine, Outcome

RUBRIC = "You compare two responses to one prompt and say which one is better. Longer is not better."
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "ate", "all", "of", "my", "good", "old", "cheese", "before"]
LABELS = ("A", "B", "C")


def compare(prompt: str, first: str, second: str, *, labels: Sequence[str] = LABELS) -> Conversation:
    """Return one question in one order."""
    user = f"Prompt: {prompt}\n[A] {first}\n[B] {second}\nWhich is better?"
    return Conversation([{"role": "system", "content": RUBRIC}, {"role": "user", "content": user}], labels)


def text(rng: random.Random, words: int) -> str:
    """Return so many words."""
    return " ".join(rng.choice(WORDS) for _ in range(words))


def both_orders(pairs: int, *, seed: int = 0, most: int = 30) -> list[Conversation]:
    """Return pairs in both orders, beside each other."""
    rng = random.Random(seed)
    asked = []
    for _ in range(pairs):
        prompt, a, b = text(rng, 8), text(rng, rng.randint(2, most)), text(rng, rng.randint(2, most))
        asked += [compare(prompt, a, b), compare(prompt, b, a)]
    return asked


def by_place(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return outcomes in the order of what was asked."""
    return sorted(outcomes, key=lambda one: one.place)


def alone(engine: Engine, asked: Sequence[Conversation]) -> list[Outcome]:
    """Return outcomes of conversations that were asked one at a time."""
    return [outcome for one in asked for outcome in engine.answer([one])]


def gap(some: Sequence[Outcome], others: Sequence[Outcome]) -> float:
    """Return how far log-probabilities and scores differ at most. All have to have been answered."""
    assert len(some) == len(others)
    assert not [one.error for one in (*some, *others) if one.error]
    return max(
        max(
            abs((a.score or 0.0) - (b.score or 0.0)),
            *(abs(a.logprobs[label] - b.logprobs[label]) for label in a.logprobs.keys() | b.logprobs.keys()),
            0.0,
        )
        for a, b in zip(some, others, strict=True)
    )
