"""CUDA: whether it is there, in use, or broken by a fork. `CUDA_VISIBLE_DEVICES` decides which device is the first."""

import importlib.util
import sys
from typing import Any

from judges.gpu.asking import EngineSettings
from judges.gpu.errors import GpuError, GpuPackagesMissing

TOKENS_A_BATCH = {"cuda": 32_768, "cpu": 4_096}
# What a pass costs by itself, in tokens: kernels are launched one by one, and only thousands of tokens fill a GPU. On a
# CPU it is little, while padding costs attention its causal path.
PASS_TOKENS = {"cuda": 512, "cpu": 64}


def require_packages() -> None:
    """Raise `GpuPackagesMissing` where torch or transformers is not installed; imports neither."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        raise GpuPackagesMissing


def cuda_in_use() -> bool:
    """Say whether this process, or the one it was forked from, has initialised CUDA. Imports nothing."""
    torch = sys.modules.get("torch")
    return torch is not None and (torch.cuda.is_initialized() or torch.cuda._is_in_bad_fork())


def refuse_forked_cuda() -> None:
    """Raise `GpuError` where this process was forked from one that had initialised CUDA: it can never use it."""
    torch = sys.modules.get("torch")
    # The public way is to initialise CUDA and read the error's text.
    if torch is not None and torch.cuda._is_in_bad_fork():
        raise GpuError(
            "This worker process was forked from one that had already started CUDA, so it cannot use the GPU. "
            "Start the worker of the queue judges.gpu with --pool=solo (one process a GPU)."
        )


def free_memory() -> None:
    """Give the device back what models that are gone held. Nothing where CUDA is not in use; imports nothing."""
    if cuda_in_use():
        sys.modules["torch"].cuda.empty_cache()


def device_of(settings: EngineSettings) -> Any:
    """Return the `torch.device` to compute on. Raises `GpuError` where CUDA is wanted and missing, or was forked."""
    import torch

    refuse_forked_cuda()
    there = torch.cuda.is_available()
    if settings.device == "cuda" and not there:
        raise GpuError(
            "CUDA is wanted, and torch finds no GPU: look at nvidia-smi, at CUDA_VISIBLE_DEVICES and at whether this "
            f"torch ({torch.__version__}) was built for CUDA; or set the device to cpu, which is slow."
        )
    return torch.device("cuda" if there and settings.device != "cpu" else "cpu")


def dtype_of(settings: EngineSettings, device: Any) -> Any:
    """Return the `torch.dtype` to compute in."""
    import torch

    if settings.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[settings.dtype]


def attention_of(settings: EngineSettings, device: Any, dtype: Any) -> str:
    """Return transformers' name of the attention to use. Flash attention knows no float32 and no CPU."""
    import torch

    possible = device.type == "cuda" and dtype == torch.bfloat16 and importlib.util.find_spec("flash_attn") is not None
    if settings.attention == "flash_attention_2" and not possible:
        raise GpuError(
            "flash_attention_2 needs CUDA, bfloat16 and the package flash-attn: install it, or set attention to sdpa."
        )
    if settings.attention != "auto":
        return settings.attention
    return "flash_attention_2" if possible else "sdpa"
