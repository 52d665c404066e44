"""What is said of a model before a run, without its weights and without the network."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from judges.errors import JudgeError
from judges.gpu import (
    Conversation,
    Engine,
    EngineSettings,
    GpuError,
    GpuPackagesMissing,
    check_conversations,
    check_model,
)
from tests.judges.gpu.asked import both_orders
from tests.judges.gpu.tiny_models import CHAT, make_tokenizer, save_model

# In one process: torch takes seconds to import.
pytestmark = [pytest.mark.gpu_judge, pytest.mark.xdist_group("gpu")]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Refuse every connection, and keep who was asked for."""
    asked: list[Any] = []

    def refuse(*arguments: Any, **_options: Any) -> NoReturn:
        asked.append(arguments)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


@pytest.fixture
def broken(chat_model: str, tmp_path: Path) -> Path:
    """Return a copy of the model's folder to spoil, without its weights: nothing here reads them."""
    folder = tmp_path / "broken"
    shutil.copytree(chat_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def change_config(folder: Path, **values: Any) -> str:
    """Write other values into a model's config."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return str(folder)


def test_facts_of_a_model_are_known_without_its_weights(broken: Path, no_network: list[Any]) -> None:
    facts = check_model(str(broken), labels=("A", "B", "C", "9"))
    known = make_tokenizer().convert_tokens_to_ids
    assert facts.label_tokens == {label: known(label) for label in ("A", "B", "C", "9")}
    assert (facts.architecture, facts.context_tokens, facts.vocabulary) == ("LlamaForCausalLM", 1024, 128)
    assert (facts.needs, facts.no_reuse, facts.takes_system) == ("chat", "", True)
    assert no_network == []


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(GpuError, match=f"There is no folder {tmp_path}/nowhere on this machine. Name a folder"):
        check_model(str(tmp_path / "nowhere"))
    with pytest.raises(GpuError, match=f"The folder {tmp_path} has no config.json, so it is no model of transformers"):
        check_model(str(tmp_path))
    assert issubclass(GpuError, JudgeError)


def test_a_name_that_is_not_in_the_cache_is_not_fetched(
    no_network: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(GpuError, match=r"neither a folder here nor in .*Fetch it first: hf download nobody/nothing"):
        check_model("nobody/nothing-7b")
    with pytest.raises(GpuError, match="'no body' is neither a folder here nor a name that the Hub could have: "):
        check_model("no body")
    assert no_network == []


def test_a_name_in_the_cache_is_found(chat_model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--lab--judge" / "snapshots" / "abc"
    shutil.copytree(chat_model, snapshot)
    (tmp_path / "models--lab--judge" / "refs").mkdir()
    (tmp_path / "models--lab--judge" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert check_model("lab/judge", labels=("A",)).path == str(snapshot)
    assert not next(Engine.load("lab/judge", EngineSettings(device="cpu")).answer(both_orders(1))).error


def test_a_config_that_cannot_be_read_is_said(broken: Path) -> None:
    (broken / "config.json").write_text("{")
    with pytest.raises(GpuError, match="cannot be read: JSONDecodeError"):
        check_model(str(broken))


def test_code_that_a_model_brings_is_not_run(broken: Path) -> None:
    change_config(broken, model_type="my_own", auto_map={"AutoConfig": "mine.MyConfig"})
    (broken / "mine.py").write_text("raise SystemExit('foreign code ran')")
    with pytest.raises(
        GpuError, match=r"brings code of its own \(auto_map in config.json\), and foreign code is not run"
    ):
        check_model(str(broken))


def test_a_tokenizer_that_is_missing_is_said(broken: Path) -> None:
    for path in broken.glob("token*"):
        path.unlink()
    with pytest.raises(GpuError, match=f"The tokenizer of {broken} in {broken} cannot be read: "):
        check_model(str(broken))


def test_a_missing_chat_template_is_said(broken: Path) -> None:
    for path in broken.glob("*.jinja"):
        path.unlink()
    with pytest.raises(GpuError, match=rf"has no chat template.*put its template into {broken}/chat_template\.jinja"):
        check_model(str(broken))


def test_a_template_that_fails_is_said(broken: Path) -> None:
    (broken / "chat_template.jinja").write_text("{{ raise_exception('only on Sundays') }}")
    with pytest.raises(GpuError, match=r"chat template of .* cannot be used: TemplateError: only on Sundays"):
        check_model(str(broken))


def test_labels_that_split_are_refused_with_their_pieces(broken: Path) -> None:
    with pytest.raises(GpuError, match=r"it splits 'tie' into 't' \+ 'i' \+ 'e'; '10' into '1' \+ '0'\. Their probab"):
        check_model(str(broken), labels=("A", "tie", "10"))


def test_a_label_that_melts_into_the_answers_beginning_is_refused(broken: Path) -> None:
    from tokenizers import Tokenizer

    path = broken / "tokenizer.json"
    words = json.loads(path.read_text())
    words["model"]["vocab"] = {{"Z": '"A'}.get(word, word): number for word, number in words["model"]["vocab"].items()}
    words["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": '"A|.|\\n'},
        "behavior": "Isolated",
        "invert": False,
    }
    path.write_text(json.dumps(words))
    assert Tokenizer.from_file(str(path)).encode('"A').tokens == ['"A']
    assert set(check_model(str(broken), labels=("A",)).label_tokens) == {"A"}
    with pytest.raises(GpuError, match=r"""it splits 'A' into '"' \+ '"A'"""):
        check_model(str(broken), labels=("A",), beginning='{"choice": "')
    assert set(check_model(str(broken), labels=("B",), beginning='{"choice": "').label_tokens) == {"B"}


def test_two_labels_of_one_token_are_refused(broken: Path) -> None:
    with pytest.raises(GpuError, match="Two labels of this judge are the same token"):
        check_model(str(broken), labels=("ä", "ö"))


def test_the_kind_of_a_model_has_to_fit(broken: Path, reward_model: str, tmp_path: Path) -> None:
    with pytest.raises(
        GpuError, match=r"is a LlamaForCausalLM \(llama\)\. A reward judge needs a sequence classificat"
    ):
        check_model(str(broken), needs="reward")
    with pytest.raises(
        GpuError, match=r"is a LlamaForSequenceClassification \(llama\)\. A judge that is asked needs a"
    ):
        check_model(reward_model)
    two = tmp_path / "two"
    shutil.copytree(reward_model, two)
    change_config(two, id2label={"0": "bad", "1": "good"})
    with pytest.raises(GpuError, match=r"with 2 labels\. A reward judge needs a head with one: the score"):
        check_model(str(two), needs="reward")
    assert check_model(reward_model, needs="reward").architecture == "LlamaForSequenceClassification"


def test_a_context_too_long_is_said_before_the_run(broken: Path) -> None:
    short = Conversation([{"role": "user", "content": "short"}], ("A",))
    long = Conversation([{"role": "user", "content": "long " * 300}], ("A",))
    assert check_conversations(str(broken), [short]) == [len("short") + 3]
    with pytest.raises(GpuError) as caught:
        check_conversations(str(broken), [short, long, long])
    assert str(caught.value) == (
        f"2 of 3 conversations cannot be put to {broken}; the first is number 2: context too long: 1,503 tokens, and "
        "the model takes 1,024. Leave these pairs out, or choose a model with a longer context."
    )
    with pytest.raises(GpuError, match="1,008 tokens and 20 for the answer"):
        check_conversations(str(broken), [Conversation([{"role": "user", "content": "x" * 1005}], ("A",), "", 20)])


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + CHAT,
        CHAT.replace("{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"),
    ],
    ids=["refused", "left out"],
)
def test_a_template_without_system_messages_gets_them_with_the_question(
    tmp_path: Path, one_thread: None, template: str
) -> None:
    folder = save_model(tmp_path, template=template)
    assert check_model(folder).takes_system is False
    engine = Engine.load(folder, EngineSettings(device="cpu"))
    asked = Conversation([{"role": "system", "content": "Judge."}, {"role": "user", "content": "Which?"}], ("A",))
    as_one = Conversation([{"role": "user", "content": "Judge.\n\nWhich?"}], ("A",))
    first, second = (next(engine.answer([one])) for one in (asked, as_one))
    assert first.error == ""
    assert first.logprobs == second.logprobs


def test_a_template_that_leaves_out_what_is_judged_is_refused(broken: Path) -> None:
    (broken / "chat_template.jinja").write_text("{% for message in messages %}<|{{ message['role'] }}|>{% endfor %}")
    with pytest.raises(GpuError, match=r"leaves out what the user says, so the model would judge what it has not seen"):
        check_model(str(broken))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, broken: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(GpuPackagesMissing, match=r"pip install -r requirements-gpu.txt \(or: make gpu\)"):
        check_model(str(broken))


def test_weights_that_cannot_be_read_are_said(broken: Path) -> None:
    with pytest.raises(GpuError, match=rf"The weights of {broken} in {broken} cannot be loaded: OSError"):
        Engine.load(str(broken), EngineSettings(device="cpu"))


def test_loading_and_answering_ask_nobody(chat_model: str, no_network: list[Any]) -> None:
    outcomes = list(Engine.load(chat_model, EngineSettings(device="cpu")).answer(both_orders(2)))
    assert [one.error for one in outcomes] == [""] * 4
    assert no_network == []
