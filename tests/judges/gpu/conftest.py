"""Models for all tests of this folder, saved once; and one thread, which is quicker for models this small."""

from collections.abc import Iterator

import pytest

from judges.gpu import Engine, EngineSettings
from tests.judges.gpu.tiny_models import save_model


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Compute with one thread: several wait for each other longer than they compute."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> str:
    """Return the folder of a causal language model."""
    return save_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> str:
    """Return the folder of a model with a reward head."""
    return save_model(tmp_path_factory.mktemp("reward"), head=True)


@pytest.fixture
def engine(chat_model: str) -> Engine:
    """Return an engine that finds a prefix worth a pass from 32 tokens saved on."""
    return Engine.load(chat_model, EngineSettings(device="cpu", pass_tokens=32))
