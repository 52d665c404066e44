from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from judges.combining import member_ids
from judges.models import JudgeVersion
from routing.labels.calibrating import calibrate_judge


class Command(ProjectCommand):
    help = "Fit a judge's probabilities to people's answers, and show how far they were off before and after."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help='the judge: "gpt" is its newest version, "gpt v2" that one')

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        (version_id,) = member_ids(project, [options["name"]])
        version = JudgeVersion.objects.select_related("judge__project").get(pk=version_id)
        fitted = calibrate_judge(version)
        self.stdout.write(
            f"{version}: {_in_words(fitted)}, fitted to {fitted['n']} pairs of {fitted['groups']} prompt groups."
        )
        for name, title in (("ece", "calibration error"), ("brier", "Brier score"), ("log_loss", "log loss")):
            self.stdout.write(f"  {title}: {fitted[f'{name}_before']:.3f} before, {fitted[f'{name}_after']:.3f} after")
        return {"judge": version.judge.name, "version": version.number, **fitted}


def _in_words(fitted: Mapping[str, Any]) -> str:
    if fitted["method"] == "isotonic":
        return "a monotone map"
    temperature = fitted["parameters"]["temperature"]
    if temperature is None:
        return "people do not follow it at all, so every probability of it becomes one half"
    return f"temperature {temperature:.2f}"
