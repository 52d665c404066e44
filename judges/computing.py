"""Answer questions with a model inside this process: the GPU's counterpart of `judges.asking`.

A thread of its own computes, so that whoever waits for it can store what has come, renew leases and hear of a stop. A
process keeps one model; another one takes its place.
"""

import gc
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, TypeVar, cast

from billiard.process import current_process
from django.conf import settings

from judges.arriving import take
from judges.clients import Reply
from judges.errors import JudgeError
from judges.gpu import Conversation, Engine, EngineSettings, Outcome, free_memory, refuse_forked_cuda
from judges.models import JudgeVersion
from judges.options import read_options
from judges.preparing import conversation_of, place_of, require_model, require_same_files
from judges.questions import Answer, Question
from judges.reading import answer_of
from judges.stopping import stopping

logger = logging.getLogger(__name__)

FORKED = (
    "This worker runs its tasks in forked processes (-P prefork): each would load the model again, and CUDA cannot be "
    "used after a fork. Start the worker of the queue judges.gpu in one process a GPU: "
    "celery -A config worker -Q judges.gpu -P solo. Then resume the run."
)


class _Came(NamedTuple):
    """What the computing thread brings back for one question: its outcome, or none where it was not begun."""

    question: Question
    outcome: Outcome | None = None


class Computing:
    """Questions under way at this process's model; the same surface as `judges.asking.Asking`."""

    a_request = 1
    # No server has limits here.
    server = ""

    def __init__(self, version: JudgeVersion) -> None:
        """Load the model where it is not loaded, which may take minutes. Raises `JudgeError` where it cannot be."""
        require_one_process()
        self.version = version
        self.under_way = 0
        # Questions that were not computed, for their claims to be given back; and what broke, if something did.
        self.left: list[Question] = []
        self.failure: JudgeError | None = None
        self._engine = _on_the_thread(_engine_of, version).result()
        self._came: SimpleQueue[_Came] = SimpleQueue()
        self._stopped = threading.Event()

    @property
    def most(self) -> int:
        """How many questions may be under way: those that are computed, and those that are ready when they are done."""
        return 2 * max(1, settings.GPU_GROUP_SIZE)

    def begin(self, questions: Sequence[Question]) -> None:
        """Compute these as one group, after those under way."""
        self.under_way += len(questions)
        # Made here: the texts of a prompt may need the database, which the computing thread never touches.
        conversations = [conversation_of(self.version, question) for question in questions]
        _on_the_thread(self._compute, list(questions), conversations)

    def arrived(self, *, seconds: float, enough: int = 64) -> list[Answer]:
        """Return what has come, at most `enough` answers; waits for the first, at most so many seconds.

        Questions that were not computed are in `left`, and why, where something broke, in `failure`.
        """
        came = take(self._came, seconds=seconds, enough=enough, under_way=self.under_way)
        self.under_way -= len(came)
        self.left += [one.question for one in came if one.outcome is None]
        return [self._answer(one.question, one.outcome) for one in came if one.outcome is not None]

    def stop(self) -> None:
        """Compute no further batch: what is not begun comes back in `left`."""
        self._stopped.set()

    def _compute(self, questions: Sequence[Question], conversations: Sequence[Conversation]) -> None:
        """On the computing thread."""
        open_ones = dict(enumerate(questions))
        try:
            for outcome in self._engine.answer(conversations, stopped=self._must_stop):
                self._came.put(_Came(open_ones.pop(outcome.place), outcome))
        except Exception as error:
            logger.error("the engine of %s failed", self.version, exc_info=error)
            self.failure = _in_words(error)
            self._stopped.set()
        for question in open_ones.values():
            self._came.put(_Came(question))

    def _must_stop(self) -> bool:
        return stopping.is_set() or self._stopped.is_set()

    def _answer(self, question: Question, outcome: Outcome) -> Answer:
        if outcome.error:
            return Answer(
                question.verdict_id, error=f"The model gave no answer: {outcome.error}", seconds=outcome.seconds
            )
        reply = reply_of(self.version, outcome)
        answer = answer_of(self.version, question, [reply])
        return answer if answer.error else answer._replace(replies=[reply.as_json()])


def compute(version: JudgeVersion, questions: Iterable[Question]) -> Iterator[Answer]:
    """Yield one answer a question, as they are computed; nothing is read from the database or stored.

    Raises `JudgeError` where the model cannot be loaded or breaks.
    """
    computing = Computing(version)
    computing.begin(list(questions))
    while computing.under_way:
        yield from computing.arrived(seconds=1.0)
    if computing.failure is not None:
        raise computing.failure


def reply_of(version: JudgeVersion, outcome: Outcome) -> Reply:
    """Return an outcome in the form of a server's reply, so that it is read, kept and shown as one.

    Where labels were weighed, the likeliest is the text, and all of them are its one token's alternatives. A score is
    the text of a number that reads back as the same float.
    """
    text, tokens = outcome.text, []
    if outcome.score is not None:
        text = repr(float(outcome.score))
    elif outcome.logprobs:
        # Of equal ones the first: what a label is called must not decide.
        text = max(outcome.logprobs, key=lambda label: outcome.logprobs[label])
        listed = [{"token": label, "logprob": logprob} for label, logprob in outcome.logprobs.items()]
        tokens = [{"token": text, "logprob": outcome.logprobs[text], "top_logprobs": listed}]
    return Reply(
        text=text,
        finish_reason=outcome.finish_reason or "stop",
        refusal="",
        model=version.model,
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        logprobs=tokens,
        seconds=outcome.seconds,
        cached_tokens=outcome.cached_tokens,
    )


def require_one_process() -> None:
    """Raise `JudgeError` where this process is one of a pool of forked ones, or was forked after CUDA was started."""
    if current_process().name != "MainProcess" or multiprocessing.parent_process() is not None:
        raise JudgeError(FORKED)
    refuse_forked_cuda()


# --- The engine of this process ---------------------------------------------------------------------------------------

_lock = threading.Lock()
_threads: dict[int, ThreadPoolExecutor] = {}
# At most one: what it was loaded from, with the files' hash, and how it computes.
_loaded: dict[tuple[str, str, EngineSettings], Engine] = {}

Result = TypeVar("Result")


def unload() -> None:
    """Forget this process's model; the next question loads one again. Waits for what is being computed."""
    _on_the_thread(_unload).result()


def _on_the_thread(work: Callable[..., Result], *arguments: Any) -> "Future[Result]":
    """Have the one thread of this process that touches a model do some work, after what it was given before."""
    with _lock:
        thread = _threads.get(os.getpid())
        if thread is None:
            thread = _threads[os.getpid()] = ThreadPoolExecutor(1, thread_name_prefix="gpu")
    return thread.submit(work, *arguments)


def _engine_of(version: JudgeVersion) -> Engine:
    """Return the engine of a version's model, loaded where another one is, or none. Files are looked at once a load."""
    wanted = EngineSettings(
        device=cast("Literal['auto', 'cpu', 'cuda']", settings.GPU_DEVICE),
        dtype=version.sampling.get("dtype", "auto"),
        tokens_a_batch=settings.GPU_TOKENS_A_BATCH,
    )
    place = place_of(version.model)
    key = (place, version.files_hash, wanted)
    if key not in _loaded:
        facts = require_model(version.model, protocol=version.protocol, options=read_options(version.options))
        require_same_files(version, facts)
        _unload()
        begun = time.monotonic()
        _loaded[key] = Engine.load(place, wanted, needs=facts.needs)
        logger.info("%s loaded in %.1f s", version.model, time.monotonic() - begun)
    return _loaded[key]


def _unload() -> None:
    _loaded.clear()
    # A model's parts refer to each other in circles; the next one needs their memory now.
    gc.collect()
    free_memory()


def _in_words(error: Exception) -> JudgeError:
    if isinstance(error, JudgeError):
        return error
    return JudgeError(
        f"The model broke off ({type(error).__name__}: {error})"[:500] + ". Restart its worker, then resume the run."
    )
