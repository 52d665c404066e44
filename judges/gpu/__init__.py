"""A judge's model inside this process: transformers on a GPU, or slowly on a CPU.

`checking` says before a run whether a model can judge as wanted; `loading` loads it; `encoding` turns conversations
into tokens; `prefixes` and `batching` plan what is computed together and once; `computing` computes it; `generating`
writes texts; `answering` drives all of them and survives what goes wrong. `devices` knows CUDA. torch and transformers
are imported inside functions here, and nowhere else in the product: importing this package costs nothing.
"""

from judges.gpu.answering import Engine
from judges.gpu.asking import Conversation, EngineSettings, EngineStats, ModelFacts, Outcome
from judges.gpu.checking import check_conversations, check_model
from judges.gpu.devices import cuda_in_use, free_memory, refuse_forked_cuda
from judges.gpu.errors import DeviceLost, GpuError, GpuPackagesMissing

__all__ = [
    "Conversation",
    "DeviceLost",
    "Engine",
    "EngineSettings",
    "EngineStats",
    "GpuError",
    "GpuPackagesMissing",
    "ModelFacts",
    "Outcome",
    "check_conversations",
    "check_model",
    "cuda_in_use",
    "free_memory",
    "refuse_forked_cuda",
]
