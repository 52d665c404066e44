"""Which device an engine computes on, and what a fork does to CUDA."""

import sys
from typing import Any

import pytest

from judges.gpu import EngineSettings, GpuError, cuda_in_use, refuse_forked_cuda
from judges.gpu.devices import attention_of, device_of, dtype_of

# In one process: torch takes seconds to import.
pytestmark = [pytest.mark.gpu_judge, pytest.mark.xdist_group("gpu")]


def test_a_process_without_torch_uses_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert cuda_in_use() is False
    refuse_forked_cuda()
    assert "torch" not in sys.modules


def test_cuda_that_was_started_before_a_fork_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert cuda_in_use() is torch.cuda.is_initialized()
    refuse_forked_cuda()
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert cuda_in_use() is True
    for refused in (refuse_forked_cuda, lambda: device_of(EngineSettings())):
        with pytest.raises(GpuError, match=r"forked from one that had already started CUDA.*with --pool=solo"):
            refused()


def test_cuda_is_taken_where_it_is_and_said_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cuda, cpu = device_of(EngineSettings()), device_of(EngineSettings(device="cpu"))
    assert (cuda.type, cpu.type) == ("cuda", "cpu")
    assert (dtype_of(EngineSettings(), cuda), dtype_of(EngineSettings(), cpu)) == (torch.bfloat16, torch.float32)
    assert dtype_of(EngineSettings(dtype="bfloat16"), cpu) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(EngineSettings()).type == "cpu"
    with pytest.raises(GpuError, match=r"CUDA is wanted, and torch finds no GPU: look at nvidia-smi"):
        device_of(EngineSettings(device="cuda"))


def test_flash_attention_is_taken_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cuda, cpu = torch.device("cuda"), torch.device("cpu")

    def found(name: str) -> Any:
        return name

    monkeypatch.setattr("importlib.util.find_spec", found)
    assert attention_of(EngineSettings(), cuda, torch.bfloat16) == "flash_attention_2"
    assert attention_of(EngineSettings(), cuda, torch.float32) == "sdpa"
    assert attention_of(EngineSettings(), cpu, torch.bfloat16) == "sdpa"
    assert attention_of(EngineSettings(attention="eager"), cuda, torch.bfloat16) == "eager"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert attention_of(EngineSettings(), cuda, torch.bfloat16) == "sdpa"
    with pytest.raises(GpuError, match="needs CUDA, bfloat16 and the package flash-attn"):
        attention_of(EngineSettings(attention="flash_attention_2"), cuda, torch.bfloat16)
