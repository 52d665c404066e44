import pytest

from judges.families import family_of


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-mini-2024-07-18", "openai"),
        ("GPT-3.5-Turbo", "openai"),
        ("openai/gpt-oss-120b", "openai"),
        ("azure-gpt-4", "openai"),
        ("text-davinci-003", "openai"),
        ("o3-mini", "openai"),
        ("claude (2023-06)", "anthropic"),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic"),
        ("google/gemini-2.5-pro", "google"),
        ("palm-2 (text-bison-001)", "google"),
        ("bard (2023)", "google"),
        ("gemma2b", "google"),
        ("meta-llama/Llama-3.1-70B-Instruct", "meta"),
        ("llama3:8b", "meta"),
        ("mistralai/Mixtral-8x7B", "mistral"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("deepseek-chat", "deepseek"),
        ("microsoft/phi-4", "microsoft"),
        ("grok-2", "xai"),
        ("command-r-plus", "cohere"),
        ("vicuna-13b", "lmsys"),
        ("falcon-180b-chat", "tii"),
    ],
)
def test_known_makers_are_found_whatever_version_and_size(model: str, family: str) -> None:
    assert family_of(model) == family


def test_folder_of_a_host_does_not_make_a_model_its_own() -> None:
    assert family_of("microsoft/Llama-2-7b") == "meta"
    assert family_of("nvidia/some-new-thing") == "nvidia"


@pytest.mark.parametrize(
    "model",
    [
        "",
        "   ",
        "our-own-finetune-7b",
        "EleutherAI/gpt-neox-20b",
        "gpt-j-6b",
        "cerebras-gpt-13b",
        "gpt4all-j",
        "neural-chat",
        "text-command-x",
        "metamath-7b",
        # Two makers in one name: whose taste it has cannot be told.
        "deepseek-r1-distill-llama-70b",
    ],
)
def test_what_is_not_certain_has_no_family(model: str) -> None:
    assert family_of(model) == ""
