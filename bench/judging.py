"""How many verdicts a second one process stores, as a share of a plain client loop that stores nothing.

A judge server in a process of its own answers after a stated latency. In turns, in the same process: the OpenAI client
in a loop with a semaphore; our runs from waiting rows to settled preferences, database writes included; the same with
many conversations a request; the same with faults. The database is the configured one (DATABASE_URL, else SQLite), in
a test database that is made and thrown away. CPU milliseconds a verdict are the steady figure on a busy machine.

    python bench/judging.py [--pairs 300] [--repeat 3] [--latency 0.05] [--at-once 64] [--memory 100000]
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
WANTED_SHARE, WANTED_TOGETHER = 0.85, 3.0
TOGETHER = 32
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
TEXT = json.dumps({"rationale": "It answers what was asked.", "choice": "first", "confidence": 80})
UNUSABLE = "I would rather not choose."


# --- The judge server -----------------------------------------------------------------------------------------------


def completion(texts: list[str]) -> bytes:
    """Return a chat completion with these choices."""
    choices = [
        {"index": place, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for place, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 500 * len(texts), "completion_tokens": 30 * len(texts), "total_tokens": 530 * len(texts)}
    data = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    return json.dumps(data).encode()


def response(body: bytes, status: str = "200 OK", headers: str = "", cut: int = 0) -> bytes:
    """Return a whole HTTP response; `cut` bytes are missing at the end of its body, unannounced."""
    kept = body[: len(body) - cut]
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(kept)}\r\n\r\n"
    ).encode() + kept


class Judge(asyncio.Protocol):
    """One connection: answers each request after the latency. Asks for little CPU, so that the client is measured."""

    latency = 0.05
    faults = False
    calls = 0
    usual = response(completion([TEXT]))
    # Of a hundred calls: 3 are refused for their rate, 2 fail, 1 is cut off, 2 cannot be used.
    trouble = {
        **dict.fromkeys((10, 43, 76), response(b'{"error": {"message": "slow"}}', "429 Slow", "Retry-After: 0.2\r\n")),
        **dict.fromkeys((25, 75), response(b'{"error": {"message": "no"}}', "500 Failed")),
        50: response(completion([TEXT]), cut=40),
        **dict.fromkeys((33, 66), response(completion([UNUSABLE]))),
    }

    def connection_made(self, transport: Any) -> None:
        """Keep the connection."""
        self.transport = transport
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        """Answer a request, once it is whole, after the latency."""
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        found = LENGTH.search(self.received, 0, end)
        whole = end + 4 + (int(found[1]) if found else 0)
        if len(self.received) < whole:
            return
        head, body = bytes(self.received[:end]), bytes(self.received[end + 4 : whole])
        del self.received[:whole]
        asyncio.get_running_loop().call_later(self.latency, self.answer, head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Send what the path and the number of the call ask for."""
        if self.transport.is_closing():
            return
        if b"/batch" in head.split(b"\r\n", 1)[0]:
            conversations = len(json.loads(body)["messages"])
            self.transport.write(response(completion([TEXT] * conversations)))
            return
        Judge.calls += 1
        trouble = self.trouble.get(Judge.calls % 100) if b"/faulty/" in head.split(b"\r\n", 1)[0] else None
        self.transport.write(trouble or self.usual)


async def serve(port: int, latency: float) -> None:
    """Serve until killed."""
    Judge.latency = latency
    server = await asyncio.get_running_loop().create_server(Judge, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def start_server(latency: float) -> tuple[subprocess.Popen[bytes], str]:
    """Start the judge server in a process of its own; return it and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--serve", str(port), "--latency", str(latency)]
    process = subprocess.Popen(command)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process, f"http://127.0.0.1:{port}"
        except OSError:
            if process.poll() is not None:
                raise SystemExit("the judge server ended at its start") from None
            time.sleep(0.05)


# --- What is measured -----------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """One repetition: verdicts a second and CPU milliseconds a verdict of this process, all its threads."""

    per_second: float
    cpu_ms: float


def measured(work: Callable[[], int]) -> Measured:
    """Time a piece of work; it returns how many verdicts it brought."""
    started, cpu = time.perf_counter(), time.process_time()
    verdicts = work()
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return Measured(verdicts / seconds, 1000 * used / verdicts)


def resident_mb() -> float:
    """Return the memory of this process that is in RAM, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Measure in turns, print a table of medians with their ratios, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="judge N times and compare the memory")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.latency))
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection

    settings.JUDGE_CONCURRENCY = options.at_once
    settings.OUTBOX_CONSUMERS = {}
    # Ends the server too when this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    process, address = start_server(options.latency)
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        Bench(address, options).run()
    finally:
        connection.creation.destroy_test_db(settings.DATABASES["default"]["NAME"], verbosity=0)
        process.kill()
        process.wait()


class Bench:
    """The measurements against one server and the configured database."""

    def __init__(self, address: str, options: argparse.Namespace) -> None:
        from judges.models import ModelServer

        self.options = options
        self.address = address
        self.number = 0
        for path in ("/v1", "/faulty/v1"):
            ModelServer.objects.create(
                base_url=address + path, max_concurrency=options.at_once, concurrency=options.at_once
            )

    def run(self) -> None:
        """Measure what the options say and print it."""
        from django.db import connection

        if self.options.memory:
            self.memory()
            return
        ways: dict[str, Callable[[], tuple[Callable[[], int], Callable[[], None]]]] = {
            "plain client loop": self.plain,
            "ours": lambda: self.ours("/v1"),
            "ours, many conversations": lambda: self.ours("/v1", together=TOGETHER),
            "ours, faults": lambda: self.ours("/faulty/v1"),
        }
        results: dict[str, list[Measured]] = {name: [] for name in ways}
        for turn in range(self.options.repeat + 1):
            for name, prepare in ways.items():
                work, check = prepare()
                one = measured(work)
                check()
                # The first turn fills caches and opens connections.
                if turn:
                    results[name].append(one)
        medians = {
            name: Measured(
                statistics.median(one.per_second for one in all_of), statistics.median(one.cpu_ms for one in all_of)
            )
            for name, all_of in results.items()
        }
        plain = medians["plain client loop"]
        print(
            f"{connection.vendor}, {self.options.at_once} at once, {1000 * self.options.latency:.0f} ms, "
            f"{2 * self.options.pairs} verdicts, median of {self.options.repeat}"
        )

        def ratio(name: str, base: str) -> float:
            """Of each turn's two neighbours, so that a load that comes and goes meets both."""
            turns = zip(results[name], results[base], strict=True)
            return statistics.median(one.per_second / other.per_second for one, other in turns)

        for name, one in medians.items():
            print(
                f"  {name:26} {one.per_second:7.0f}/s  {one.cpu_ms:6.2f} ms CPU  "
                f"ratio to plain {ratio(name, 'plain client loop'):5.2f} (CPU {plain.cpu_ms / one.cpu_ms:5.2f})"
            )
        share, together = ratio("ours", "plain client loop"), ratio("ours, many conversations", "ours")
        print(f"  ours/plain {share:.2f} (goal {WANTED_SHARE}), many/single {together:.2f} (goal {WANTED_TOGETHER:g})")
        print(json.dumps({"database": connection.vendor, **{name: one._asdict() for name, one in medians.items()}}))

    def plain(self) -> tuple[Callable[[], int], Callable[[], None]]:
        """Prepare the client as its documentation shows it, with a semaphore: what a careful script does."""
        import openai  # noqa: TID251 (the floor that our client is held to)

        from judges.capabilities import Capabilities
        from judges.claiming import questions_of

        run = self.rows("/v1")
        ids = list(run.verdicts.values_list("pk", flat=True))
        form = Capabilities(run.version, run.version.base_url)
        bodies = [form.request(run.version, question) for question in questions_of(run.version, ids)]

        async def ask_all() -> int:
            slots = asyncio.Semaphore(self.options.at_once)
            client = openai.AsyncOpenAI(base_url=self.address + "/v1", api_key="none", max_retries=2)

            async def ask(body: dict[str, Any]) -> str:
                async with slots:
                    reply = await client.chat.completions.create(**body)
                return str(json.loads(reply.choices[0].message.content or "")["choice"])

            choices = await asyncio.gather(*(ask(body) for body in bodies))
            await client.close()
            return choices.count("first")

        return lambda: asyncio.run(ask_all()), lambda: None

    def ours(self, path: str, *, together: int = 1) -> tuple[Callable[[], int], Callable[[], None]]:
        """Prepare a run, from waiting rows to settled preferences."""
        from django.conf import settings

        from annotation.models import Preference
        from judges.capabilities import capabilities_of
        from judges.models import VerdictState
        from judges.running import work_off

        run = self.rows(path)
        settings.JUDGE_CONVERSATIONS_A_REQUEST = together
        capabilities_of(run.version, run.version.base_url).many = together > 1

        def work() -> int:
            report = work_off(run)
            return report.done + report.failed

        def check() -> None:
            open_ones = run.verdicts.exclude(state__in=(VerdictState.DONE, VerdictState.FAILED)).count()
            failed = run.verdicts.filter(state=VerdictState.FAILED).count()
            settled = Preference.objects.filter(rater=run.version.rater).count()
            if open_ones or failed > self.options.pairs / 10 or settled < self.options.pairs - failed:
                raise SystemExit(f"{open_ones} open, {failed} failed, {settled} preferences: the run is not whole")

        return work, check

    def rows(self, path: str, pairs: int = 0) -> Any:
        """Return a run with waiting verdicts of pairs that were never asked about."""
        from annotation.models import Pair, Prompt, Response
        from annotation.models.pairs import content_hash
        from judges.defining import add_judge
        from judges.running import start_run
        from tests.builders import make_project

        self.number += 1
        project = make_project(f"bench-{self.number}", with_people=False)
        prompts, responses, made = [], [], []
        for number in range(pairs or self.options.pairs):
            question = f"Question {self.number}.{number}: " + "why is it so? " * 20
            prompt = Prompt(
                project=project,
                messages=[{"role": "user", "content": question}],
                content_hash=content_hash(question),
                group=f"{number}",
            )
            texts = [f"{side} {number} " + "because of this, " * 40 for side in "ab"]
            a, b = (
                Response(
                    prompt=prompt, messages=[{"role": "assistant", "content": text}], content_hash=content_hash(text)
                )
                for text in texts
            )
            prompts.append(prompt)
            responses += [a, b]
            made.append(Pair(project=project, prompt=prompt, response_a=a, response_b=b, external_id=f"{number}"))
        Prompt.objects.bulk_create(prompts)
        Response.objects.bulk_create(responses)
        Pair.objects.bulk_create(made)
        return start_run(
            add_judge(project, "bench", kind="openai", base_url=self.address + path, model="m"), send=False
        )

    def memory(self) -> None:
        """Judge many times in one process; the memory after a tenth of it must be about that at the end."""
        from django.conf import settings
        from django.db import connection

        from judges.running import work_off

        settings.JUDGE_CONVERSATIONS_A_REQUEST = 1
        pairs, judged, early = max(1, min(2500, self.options.memory // 20)), 0, 0.0
        while judged < self.options.memory:
            report = work_off(self.rows("/v1", min(pairs, (self.options.memory - judged + 1) // 2)))
            judged += report.done + report.failed
            if not early and judged >= self.options.memory / 10:
                early = resident_mb()
        late = resident_mb()
        print(f"{connection.vendor}: {judged} judgements, {early:.0f} MB after a tenth, {late:.0f} MB at the end")
        print(json.dumps({"database": connection.vendor, "judged": judged, "early_mb": early, "late_mb": late}))


if __name__ == "__main__":
    main()
