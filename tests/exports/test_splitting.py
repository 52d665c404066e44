import re
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from exports.likening import bands_of, likeness, plain_words, runs_of, words_of
from exports.splitting import SplitKeys, find_components, split_pairs

LONG = "A response of forty characters and a few more."


def keys(group: str, prompt: str = "", *responses: str) -> SplitKeys:
    return SplitKeys(group, prompt or f"prompt of {group}", responses)


def test_pairs_of_one_group_are_on_one_side() -> None:
    pairs = [keys(f"group-{number % 20}", f"prompt-{number}") for number in range(400)]
    sides = split_pairs(pairs, test_share=0.3, seed=0)
    for number in range(20):
        assert len(set(sides[number::20])) == 1
    assert set(sides) == {"train", "test"}


def test_same_prompt_in_two_groups_ties_them() -> None:
    assert find_components([keys("one", "same"), keys("two", "other"), keys("three", "same")]) == [0, 1, 0]


def test_shared_long_response_ties_pairs_and_a_short_one_does_not() -> None:
    assert len(LONG) >= 40
    long = [keys("one", "", LONG, "x"), keys("two", "", "y", LONG)]
    short = [keys("one", "", "Yes.", ""), keys("two", "", "Yes.", "")]
    assert find_components(long) == [0, 0]
    assert find_components(short) == [0, 1]


def test_ties_reach_through_a_third_pair() -> None:
    pairs = [keys("one", "p", "a"), keys("two", "q", LONG), keys("one", "r", LONG), keys("two", "s", "b")]
    assert find_components(pairs) == [0, 0, 0, 0]


def test_pair_added_to_a_known_group_moves_no_other_pair() -> None:
    pairs = [keys(f"group-{number}") for number in range(200)]
    before = split_pairs(pairs, test_share=0.2, seed=3)
    after = split_pairs([keys("group-7", "a new prompt"), *pairs], test_share=0.2, seed=3)
    assert after[1:] == before
    assert after[0] == before[7]


def test_share_of_groups_in_test_is_what_was_asked_for() -> None:
    pairs = [keys(f"group-{number}") for number in range(5000)]
    share = split_pairs(pairs, test_share=0.1, seed=0).count("test") / len(pairs)
    assert 0.085 < share < 0.115


def test_no_pair_is_tested_at_share_zero_and_every_pair_at_share_one() -> None:
    pairs = [keys(f"group-{number}") for number in range(50)]
    assert set(split_pairs(pairs, test_share=0.0, seed=0)) == {"train"}
    assert set(split_pairs(pairs, test_share=1.0, seed=0)) == {"test"}


def test_another_seed_makes_another_split() -> None:
    pairs = [keys(f"group-{number}") for number in range(100)]
    assert split_pairs(pairs, test_share=0.5, seed=0) != split_pairs(pairs, test_share=0.5, seed=1)


small = st.integers(0, 12)


@given(st.lists(st.tuples(small, small, small, small), max_size=40), st.integers(0, 1000))
def test_nothing_shared_crosses_the_split(drawn: Any, seed: int) -> None:
    pairs = [
        SplitKeys(f"g{group}", f"p{prompt}", tuple(f"{LONG} {number}" for number in responses))
        for group, prompt, *responses in drawn
    ]
    sides = split_pairs(pairs, test_share=0.5, seed=seed)
    for one, side in zip(pairs, sides, strict=True):
        for other, other_side in zip(pairs, sides, strict=True):
            if one.group == other.group or one.prompt == other.prompt or set(one.responses) & set(other.responses):
                assert side == other_side


@given(st.permutations(range(12)), st.integers(0, 100))
def test_order_of_the_pairs_does_not_matter(order: Any, seed: int) -> None:
    pairs = [keys(f"group-{number // 2}", "shared" if number in (3, 8) else "") for number in range(12)]
    sides = split_pairs(pairs, test_share=0.4, seed=seed)
    shuffled = split_pairs([pairs[number] for number in order], test_share=0.4, seed=seed)
    assert shuffled == [sides[number] for number in order]


WORDS = [f"word{number}" for number in range(60)]


def asked(group: str, text: str) -> SplitKeys:
    return SplitKeys(group, f"prompt of {group}", (), text)


def test_nearly_the_same_prompt_ties_and_a_template_does_not() -> None:
    changed = " ".join([*WORDS[:20], "another", *WORDS[21:]])
    template = "Summarise the following article in two short sentences, please: "
    pairs = [
        asked("one", " ".join(WORDS)),
        asked("two", changed),
        asked("three", template + " ".join(f"x{number}" for number in range(30))),
        asked("four", template + " ".join(f"y{number}" for number in range(30))),
        asked("five", "What is 2 + 2?"),
        asked("six", "what  is 2+2"),
        asked("seven", "What is 2 + 3?"),
    ]
    assert find_components(pairs) == [0, 0, 2, 3, 4, 4, 6]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 60), max_size=4), min_size=2, max_size=12), st.integers(0, 9))
def test_no_near_duplicate_crosses_whatever_words_are_changed(drawn: Any, seed: int) -> None:
    texts = [" ".join("changed" if place in changes else word for place, word in enumerate(WORDS)) for changes in drawn]
    sides = split_pairs(
        [asked(f"group-{number}", text) for number, text in enumerate(texts)], test_share=0.5, seed=seed
    )
    for one, side in zip(texts, sides, strict=True):
        for other, other_side in zip(texts, sides, strict=True):
            if likeness(runs_of(one), runs_of(other)) >= 0.85:
                assert side == other_side


CHINESE = "请用简单的语言向一个十岁的孩子解释为什么天空是蓝色的,并且举出三个生活中的例子,说明光线在空气中是怎样散开的"
THAI = "กรุณาอธิบายให้เด็กอายุสิบขวบเข้าใจว่าทำไมท้องฟ้าจึงเป็นสีฟ้าและยกตัวอย่างสามเรื่องจากชีวิตประจำวันเพื่อแสดงว่าแสงกระจายตัวในอากาศอย่างไร"
JAPANESE = (
    "空がなぜ青いのかを十歳の子どもにもわかる言葉で説明し、日常生活から三つの例を挙げて、"
    "光が空気の中でどのように広がるかを示してください"
)


@pytest.mark.parametrize(
    ("text", "one", "other"),
    [(CHINESE, "十岁", "九岁"), (THAI, "สิบขวบ", "เจ็ดขวบ"), (JAPANESE, "十歳", "九歳")],
    ids=["Chinese", "Thai", "Japanese"],
)
def test_scripts_without_spaces_have_near_duplicates(text: str, one: str, other: str) -> None:
    """Between words of such a script stands nothing: a whole clause was one word, and a changed letter changed it."""
    twin = text.replace(one, other)
    assert twin != text
    half = len(text) // 2
    far = text[:half] + "".join(reversed(text[half:]))
    pairs = [asked("one", text), asked("two", twin), asked("three", f"{text}."), asked("four", far)]
    assert find_components(pairs) == [0, 0, 0, 3]
    assert likeness(runs_of(text), runs_of(twin)) >= 0.8
    assert likeness(runs_of(text), runs_of(far)) < 0.6


def test_short_texts_without_spaces_tie_only_when_they_are_the_same() -> None:
    pairs = [
        asked("one", "法国的首都是哪里?"),
        asked("two", "德国的首都是哪里?"),
        asked("three", "法国的 首都是哪里"),
    ]
    assert find_components(pairs) == [0, 1, 0]


def test_words_and_characters_are_cut_each_in_their_way() -> None:
    assert words_of("Python 3 は速い!") == ["python", "3", "は", "速", "い"]
    assert words_of("Ein Wörterbuch, 한국어 사전") == ["ein", "wörterbuch", "한국어", "사전"]
    # Marks belong to the letters before them.
    assert words_of("ที่นี่") == list("ที่นี่")
    assert len(runs_of("a b c d e f g h")) == len(runs_of("一二三四五六七八九十")) == 6
    assert runs_of("a b c d e f g") == runs_of("一二三四五六七八九") == frozenset()


@given(st.text(st.one_of(st.characters(max_codepoint=127), st.characters())))
def test_words_that_are_split_are_those_of_the_pattern(text: str) -> None:
    assert plain_words(text) == re.findall(r"\w+", text.lower())


def test_signatures_made_together_are_those_made_one_by_one() -> None:
    texts = [runs_of(" ".join(f"w{n % size}" for n in range(3 * size))) for size in (9, 40, 300)]
    together = bands_of(texts)
    assert together.shape == (3, 16)
    assert [row.tolist() for row in together] == [bands_of([runs])[0].tolist() for runs in texts]
    assert len({*map(tuple, together.tolist())}) == 3
