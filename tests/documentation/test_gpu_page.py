"""docs/gpu.md: what it tells people to type is taken, and what it says is refused is said somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from config.celery import QUEUES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/gpu.md").read_text()
JOINED = re.sub(r"\\\n\s+", " ", PAGE)
COMMANDS = sorted(set(re.findall(r"^\s*(manage\.py .+)$", JOINED, flags=re.MULTILINE)))
INLINE = sorted(set(re.findall(r"`(manage\.py [^`]*)`", JOINED.replace("\n", " "))) - {"manage.py"})
UNITS = (ROOT / "deploy/systemd").glob("*.service")


@pytest.mark.parametrize("line", [*COMMANDS, *INLINE])
def test_every_command_of_the_page_is_taken_with_its_options(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    app = get_commands().get(name)
    assert app is not None, f"there is no command {name}"
    if arguments:
        command = load_command_class(str(app), name)
        command.create_parser("manage.py", name).parse_args(arguments)


def test_the_page_walks_from_the_judge_to_its_run() -> None:
    assert {shlex.split(line)[1] for line in COMMANDS} == {"add_judge", "run_judge", "forecast_judge"}


def test_workers_of_the_page_and_of_the_units_serve_queues_that_there_are() -> None:
    texts = [PAGE, *(unit.read_text() for unit in UNITS), (ROOT / "deploy/compose.yaml").read_text()]
    named = [queues for text in texts for queues in re.findall(r'-Q"?,? "?([\w.,]+)', text)]
    assert "judges.gpu" in named
    assert {queue for queues in named for queue in queues.split(",") if queue} <= set(QUEUES)


def test_every_refusal_of_the_table_is_said_by_the_code() -> None:
    source = "\n".join(
        path.read_text() for folder in ("judges", "config") for path in sorted((ROOT / folder).rglob("*.py"))
    )
    # Texts that go on in the next line of the source.
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    table = PAGE.partition("## What is refused")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", table, flags=re.MULTILINE)[1:]
    pieces = [piece.strip() for row in rows for piece in re.split(r"\.\.\.| / |'", row)]
    wanted = [piece for piece in pieces if len(piece) > len("the run waits")]
    assert len(wanted) > 12
    assert [piece for piece in wanted if piece not in source] == []
