from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import ProjectCommand
from annotation.models import Project
from judges.combining import member_ids
from judges.defining import ADDED, DTYPES, add_judge
from judges.exemplifying import choose_examples
from judges.models import JudgeKind, JudgeVersion
from judges.options import RATIONALES, RULES_OF_A_JURY, SCALES, Options, option_from_text
from judges.probing import asks_a_server, describe, probe
from judges.questions import Protocol

PROTOCOLS = sorted(set(Protocol.values) - {Protocol.DECISIONS.value})


class Command(ProjectCommand):
    help = "Define a judge, or a new version of it where anything that changes its answers differs."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="how the judge is called in this project")
        parser.add_argument("--kind", required=True, choices=ADDED)
        parser.add_argument("--base-url", default="", help="an OpenAI-compatible server, as in https://host/v1")
        parser.add_argument("--model", default="", help="the model's name at that server, or in TIEBREAK_GPU_MODELS")
        parser.add_argument(
            "--protocol",
            default=Protocol.PAIRWISE.value,
            choices=PROTOCOLS,
            help="reasons and a choice (pairwise), one letter with its probability (letter), a score of each response "
            "alone (rating), or a reward model's (reward, of kind gpu); a judge of kind decisions has its own",
        )
        parser.add_argument("--price-in", metavar="USD", help="per million input tokens; 0 for a server of your own")
        parser.add_argument("--price-out", metavar="USD", help="per million output tokens")
        parser.add_argument("--price-cached", metavar="USD", help="per million input tokens that the server had cached")
        parser.add_argument("--price-gpu-hour", metavar="USD", help="of kind gpu: per hour of the GPU")
        parser.add_argument("--dtype", choices=DTYPES, help="of kind gpu: the arithmetic (default: bfloat16)")
        parser.add_argument("--max-tokens", type=int, help="the longest answer")
        parser.add_argument("--temperature", type=float, help="not sent unless given")
        parser.add_argument("--criteria", nargs="+", metavar="NAME", help="the project's criteria to answer one by one")
        parser.add_argument("--samples", type=int, help="calls an order, for probabilities where a server gives none")
        parser.add_argument("--scale", type=int, choices=SCALES, help="the best score of a rating")
        parser.add_argument("--rationale", choices=RATIONALES, help="with the verdict, later where wanted, or none")
        parser.add_argument("--examples", type=int, metavar="N", help="show N pairs that people agree on, with answers")
        parser.add_argument(
            "--member",
            action="append",
            metavar="JUDGE",
            help="a judge of a jury or cascade, in order; 'name v2' for one",
        )
        parser.add_argument("--rule", choices=RULES_OF_A_JURY, help="how a jury decides")
        parser.add_argument(
            "--option", action="append", default=[], metavar="NAME=VALUE", help="any other option, as in tie_band=0.1"
        )
        parser.add_argument("--no-probe", action="store_true", help="do not ask the server what it can do")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        named = ("max_tokens", "temperature", "dtype")
        sampling = {name: options[name] for name in named if options[name] is not None}
        version = add_judge(
            project,
            options["name"],
            kind=options["kind"],
            base_url=options["base_url"],
            model=options["model"],
            protocol=options["protocol"],
            sampling=sampling,
            options=_options(project, options),
            price_input_usd_per_million=_money(options["price_in"], "--price-in"),
            price_output_usd_per_million=_money(options["price_out"], "--price-out"),
            price_cached_usd_per_million=_money(options["price_cached"], "--price-cached"),
            price_gpu_usd_per_hour=_money(options["price_gpu_hour"], "--price-gpu-hour"),
        )
        found = {} if options["no_probe"] else self._probe(version)
        slug, name = options["slug"], version.judge.name
        if found.get("error"):
            self.stdout.write(f"{version} is saved. When its server answers: manage.py probe_judge {slug} {name}")
        elif version.judge.kind == JudgeKind.BATCH and found and not found["found"].get("batch"):
            self.stdout.write(
                f"{version} is saved, but its server has no batch API. Answer its requests by hand: manage.py "
                f"export_batch {slug} {name} --out requests.jsonl"
            )
        else:
            self.stdout.write(f"{version} is ready. Let it label pairs: manage.py run_judge {slug} {name}")
        return {
            "judge": version.judge.name,
            "version": version.number,
            "id": str(version.pk),
            "kind": version.judge.kind,
            "protocol": version.protocol,
            "options": version.options,
            "server": found,
            "content_hash": version.content_hash,
        }

    def _probe(self, version: JudgeVersion) -> dict[str, Any]:
        """Ask the server what it can do and say so. The judge is there also where its server cannot be asked yet."""
        if not asks_a_server(version):
            return {}
        served = probe(version)
        if served.error:
            self.stderr.write(self.style.WARNING(f"The server cannot be asked yet: {served.error}"))
        else:
            for what, answer in describe(served):
                self.stdout.write(f"  {what}: {answer}")
        return {"found": served.found, "error": served.error}


def _options(project: Project, given: Mapping[str, Any]) -> Options:
    values: dict[str, Any] = dict(option_from_text(text) for text in given["option"])
    values |= {name: given[name] for name in ("samples", "scale", "rationale", "rule") if given[name] is not None}
    if given["criteria"]:
        values["criteria"] = tuple(given["criteria"])
    if given["member"]:
        values["members"] = member_ids(project, given["member"])
    options = Options(**values)
    if given["examples"]:
        options = options._replace(
            examples=choose_examples(project, given["examples"], seed=project.seed, tie=options.tie)
        )
    return options


def _money(text: str | None, option: str) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        raise CommandError(f"{option} takes US dollars, as in 0.15, not {text!r}.") from None
