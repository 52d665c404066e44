"""A record's hashes, whose texts are written as JSON once for all of them."""

from hypothesis import given
from hypothesis import strategies as st

from annotation.models.pairs import content_hash
from exports.records import identify

texts = st.text(max_size=30)
turns = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": texts}), max_size=3)


@given(turns, turns, turns, texts, texts)
def test_hashes_are_those_of_the_contents_as_json(
    prompt: list[dict[str, str]], a: list[dict[str, str]], b: list[dict[str, str]], group: str, external_id: str
) -> None:
    found = identify(prompt, (a, b), group=group, external_id=external_id)
    content = {"prompt": prompt, "responses": sorted([content_hash(a), content_hash(b)])}
    assert found.content_id == content_hash(content)
    assert found.id == content_hash({**content, "external_id": external_id})
    assert found.prompt_id == content_hash({"prompt": prompt, "group": group})
    assert found.prompt_hash == content_hash(prompt)
    assert identify(prompt, (b, a), group=group, external_id=external_id) == found
