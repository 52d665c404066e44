"""The errors of models in this process. What goes wrong with one conversation is data: `Outcome.error`."""

from judges.errors import JudgeError


class GpuError(JudgeError):
    """A model cannot be loaded, or cannot judge as wanted."""


class GpuPackagesMissing(GpuError):
    """torch or transformers is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "A judge of kind gpu needs torch and transformers, which are not installed. "
            "Install them with: pip install -r requirements-gpu.txt (or: make gpu)"
        )


class DeviceLost(GpuError):
    """The device answers no more in this process; another process may go on."""

    retryable = True
