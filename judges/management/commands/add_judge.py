from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import ProjectCommand
from judges.defining import add_judge
from judges.questions import Protocol


class Command(ProjectCommand):
    help = "Define a judge, or a new version of it where anything that changes its answers differs."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="how the judge is called in this project")
        parser.add_argument("--kind", required=True, choices=["openai", "local", "length", "learned"])
        parser.add_argument("--base-url", default="", help="an OpenAI-compatible server, as in https://host/v1")
        parser.add_argument("--model", default="", help="the model's name at that server")
        parser.add_argument(
            "--protocol",
            default=Protocol.PAIRWISE.value,
            choices=Protocol.values,
            help="reasons and a choice (pairwise), or one letter with its probability (letter)",
        )
        parser.add_argument("--price-in", metavar="USD", help="per million input tokens; 0 for a server of your own")
        parser.add_argument("--price-out", metavar="USD", help="per million output tokens")
        parser.add_argument("--max-tokens", type=int, help="the longest answer")
        parser.add_argument("--temperature", type=float, help="not sent unless given")

    def run(self, **options: Any) -> Mapping[str, Any]:
        sampling = {name: options[name] for name in ("max_tokens", "temperature") if options[name] is not None}
        version = add_judge(
            self.project(options["slug"]),
            options["name"],
            kind=options["kind"],
            base_url=options["base_url"],
            model=options["model"],
            protocol=options["protocol"],
            sampling=sampling,
            price_input_usd_per_million=_money(options["price_in"], "--price-in"),
            price_output_usd_per_million=_money(options["price_out"], "--price-out"),
        )
        self.stdout.write(
            f"{version} is ready. Let it label pairs: manage.py run_judge {options['slug']} {version.judge}"
        )
        return {
            "judge": version.judge.name,
            "version": version.number,
            "id": str(version.pk),
            "kind": version.judge.kind,
            "content_hash": version.content_hash,
        }


def _money(text: str | None, option: str) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        raise CommandError(f"{option} takes US dollars, as in 0.15, not {text!r}.") from None
