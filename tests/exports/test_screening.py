"""The gate for personal data: what it finds, what it lets stand, and that nothing is written before it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from annotation.models import Project
from exports.errors import ExportError
from exports.models import Snapshot, SnapshotState
from exports.profiles import PROFILES
from exports.profiles.columns import arrow_schema
from exports.recognising import find_personal, passes_luhn, passes_mod_97, redacted
from exports.snapshotting import take_snapshot, write_snapshot
from tests.builders import make_pair, make_preference, make_prompt
from tests.exports.rows import written_rows

MAIL, PHONE = "maria.lopez@uni-koeln.de", "+49 221 4703 0001"
FOUND = [
    (f"Write to {MAIL}, please.", "Write to [EMAIL], please."),
    ("x_y+tag@mail.example-shop.co.uk wrote", "[EMAIL] wrote"),
    (f"Call {PHONE} or +44 20 7946 0958.", "Call [PHONE] or [PHONE]."),
    ("(212) 555-0123 and 650-253-0000", "[PHONE] and [PHONE]"),
    ("Tel.: 0221 470 3000", "Tel.: [PHONE]"),
    ("my phone number is 0171 2345678!", "my phone number is [PHONE]!"),
    ("to DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432.", "to [IBAN] and [IBAN]."),
    ("4111 1111 1111 1111, 378282246310005; card=4012888888881881", "[CARD], [CARD]; card=[CARD]"),
    ("from 91.198.174.192 and 2a00:1450:4001:829:0:0:0:200e", "from [IP] and [IP]"),
    ("sk-proj-Ab3dEf6hIj9kLmNo2pQrStUv", "[SECRET]"),
    ("token ghp_abcdefghijklmnopqrstuvwxyz0123456789.", "token [SECRET]."),
    ("AKIAIOSFODNN7EXAMPLE", "[SECRET]"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nend", "[SECRET]\nend"),
]
# Code, sums, figures and names of things: each was taken for something by a simpler pattern.
WHOLE = [
    "x = 3.14159265358979 and e = 2718281828459045",
    "A @ B.T; y = x@w.shape; z = a@b.sum(); q = k@v.mT",
    "@property\ndef area(self): return self.w*self.h",
    "git@github.com:org/repo.git and user@example.com, a@host.test",
    "version 10.20.30.41, v4.3.2.7, pkg==4.21.7.3, Section 3.1.4.1",
    "ping 8.8.8.8, 127.0.0.1, 192.168.0.1, 10.0.0.7, 192.0.2.1, 999.1.2.3",
    "sk-learn-pipeline-for-classification-tasks and task-force-one",
    "1234567890123456 9999999999999999 0000000000000000; order 4111 1111 1111 1112, 5105 1051 0510 5101",
    "2024-01-15 12:30:45 to 2024-01-16T08:00:00Z",
    "ISBN 978-3-16-148410-0, doi 10.1000/182, arXiv:2305.18290",
    "std::vector<int>::iterator; dead::beef; a[1:20, 3:40]; 12:34:56:78:9a:bc",
    "1 000 000 000 + 2 000 000 000 = 3 000 000 000; 1,234,567,890,123",
    "tensor([0.1234, 5678.9012, 3456.7890]); 0.123456789012345",
    "x**2 + 4532015112830366 is a number; 0x7ffd1234567890ab",
    "550e8400-e29b-41d4-a716-446655440000 9223372036854775807",
    "sum(212-555+0123); 123-45-6789; call 911; phone 3 has 128 GB",
    "+1 +2 +3 = +6; +12345678901234567; 5000+44207946095",
    "SE45 is a model, GB82 TEST 1234 5698 7654 32 is none, AB12 CDEF",
]


@pytest.mark.parametrize(("text", "clean"), FOUND)
def test_what_is_personal_is_found(text: str, clean: str) -> None:
    assert redacted(text, find_personal(text)) == clean
    assert find_personal(clean) == []


@pytest.mark.parametrize("text", WHOLE)
def test_code_sums_and_figures_stay_whole(text: str) -> None:
    assert [text[one.start : one.end] for one in find_personal(text)] == []


def test_check_digits() -> None:
    assert passes_luhn("4111111111111111")
    assert not any(passes_luhn(f"411111111111111{digit}") for digit in "023456789")
    assert passes_mod_97("DE89370400440532013000")
    assert not passes_mod_97("DE89370400440532013001")


def test_no_profile_has_a_column_of_times() -> None:
    for name, profile in PROFILES.items():
        schema = str(arrow_schema(profile.columns))
        assert not re.search(r"timestamp|date\d|time\d|duration", schema), name
        assert not [column.name for column in profile.columns if column.name.endswith("_at")], name


@pytest.fixture
def told(project: Project) -> Project:
    """Return a pair whose prompt, response, reasons and meta each hold something."""
    prompt = make_prompt(project, f"Who is {MAIL}?", context=f"Her number: {PHONE}.")
    pair = make_pair(
        project, prompt=prompt, response_a=f"Ask {MAIL}.", response_b="No idea.", external_id="p1",
        meta={"from": MAIL, "deep": [{"x": PHONE}]},
    )  # fmt: skip
    made = make_preference(pair, "dora", "a", rationale=f"I know her, {PHONE}.")
    made.reasons, made.content_flags = [{"side": "a", "reason": f"see {MAIL}"}], [f"names {MAIL}"]
    made.save()
    make_preference(make_pair(project, prompt="Plain?", external_id="p2"), "dora", "a", rationale="Clear.")
    return project


@pytest.mark.django_db
@pytest.mark.either_database
def test_reasons_are_redacted_and_prompts_and_responses_stand_unless_asked(told: Project, tmp_path: Path) -> None:
    (row, _), gathered, _ = written_rows(told, tmp_path / "usual")
    assert row["rationale"] == "I know her, [PHONE]."
    assert (row["reasons_chosen"], row["content_flags"]) == (["see [EMAIL]"], ["names [EMAIL]"])
    assert row["chosen"][0]["content"] == f"Ask {MAIL}."
    assert gathered.gate.as_dict() == {
        "rationales": {"mode": "redact", "found": {"email": 2, "phone": 1}, "texts": 3},
        "prompts": {"mode": "allow", "found": {"email": 2, "phone": 2}, "texts": 4},
        "responses": {"mode": "allow", "found": {"email": 1}, "texts": 1},
    }
    usual = row["id"], row["prompt_id"]
    (row, plain), _, _ = written_rows(told, tmp_path / "all", pii_prompts="redact", pii_responses="redact")
    assert row["prompt"][0]["content"] == "Who is [EMAIL]?"
    assert (row["context"], row["chosen"][0]["content"]) == ("Her number: [PHONE].", "Ask [EMAIL].")
    assert json.loads(row["meta"]) == {"from": "[EMAIL]", "deep": [{"x": "[PHONE]"}]}
    # A hash of the old text would let it be guessed.
    assert row["id"] != usual[0]
    assert row["prompt_id"] != usual[1]
    assert plain["rationale"] == "Clear."
    (row, _), _, _ = written_rows(told, tmp_path / "none", pii_rationales="allow")
    assert row["rationale"] == f"I know her, {PHONE}."


@pytest.mark.django_db
@pytest.mark.either_database
def test_a_text_hides_nothing_of_the_one_beside_it(project: Project, tmp_path: Path) -> None:
    pair = make_pair(project, prompt="Which version", response_a="91.198.174.192", response_b="7")
    make_preference(pair, "dora", "a")
    (row,), _, _ = written_rows(project, tmp_path, pii_responses="redact")
    assert row["chosen"][0]["content"] == "[IP]"


@pytest.mark.django_db
@pytest.mark.either_database
@pytest.mark.parametrize("profile", ["annotations", "rationale", "multipref", "icai", "judge_runs"])
def test_no_profile_holds_what_is_redacted(told: Project, tmp_path: Path, profile: str) -> None:
    from tests.judged import judge_pairs, make_judge

    pair = told.pairs.get(external_id="p1")
    judge = make_judge(told)
    judge_pairs(judge, [pair], ["a"])
    pair.preferences.filter(rater=judge.rater).update(rationale=f"by {MAIL}")
    judge.verdicts.update(rationale=f"by {MAIL}")
    pair.preferences.update(strength=2)
    modes: dict[str, Any] = {"pii_prompts": "redact", "pii_responses": "redact"}
    written_rows(told, tmp_path, profile, **modes)
    text = "".join(path.read_text() for path in (tmp_path / profile).iterdir())
    assert "[EMAIL]" in text
    assert MAIL not in text
    assert PHONE not in text


@pytest.mark.django_db
@pytest.mark.either_database
def test_block_refuses_with_counts_and_places_and_without_the_text(told: Project, out: Path) -> None:
    with pytest.raises(ExportError) as refused:
        take_snapshot(told, out=out, pii_rationales="block", pii_responses="block")
    said = str(refused.value)
    assert "4 places" in said
    assert "(3 email, 1 phone)" in said
    assert "p1: email in response_a" in said
    assert "p1: phone in rationale" in said
    assert MAIL not in said
    assert PHONE not in said
    snapshot = Snapshot.objects.get()
    assert (snapshot.state, snapshot.error) == (SnapshotState.FAILED, said)
    assert not out.exists()


@pytest.mark.django_db
@pytest.mark.either_database
def test_whole_export_with_its_project_holds_nothing_that_is_redacted_and_logs_it(told: Project, out: Path) -> None:
    told.guidelines = f"Questions to {MAIL}."
    told.save()
    snapshot = take_snapshot(
        told, profiles=["dpo", "annotations"], out=out, pii_prompts="redact", pii_responses="redact", with_project=True
    )
    for path in out.rglob("*"):
        if path.is_file() and path.suffix != ".parquet":
            assert MAIL not in path.read_text(), path
            assert PHONE not in path.read_text(), path
    logged = snapshot.counts["personal_data"]
    assert logged["rationales"] == {"mode": "redact", "found": {"email": 2, "phone": 1}, "texts": 3}
    card = (out / "README.md").read_text()
    assert "3 places were found in 3 texts and replaced by its kind in brackets: 2 email, 1 phone." in card
    # Nor a time, or anybody's name: a person stands under a pseudonym.
    everything = "".join(path.read_text() for path in out.rglob("*.json*"))
    assert "dora" not in everything
    assert not any(f"T{hour:02}:" in everything for hour in range(24))
    assert write_snapshot(snapshot.pk).content_hash == snapshot.content_hash
