"""The annotation screen with settings that are not stored yet: the real one, on a pair of the project or a sample.

A preview stores nothing and takes no lease. Its page is drawn by the annotator's own templates under addresses of its
own (`dashboard.preview_urls`), which carry what an answer is checked against: the settings travel in the place of the
lease's id.
"""

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from annotation.configuring import ScreenFile
from annotation.criteria import OVERALL, CriterionRow
from annotation.errors import QuestionnaireInvalid
from annotation.models import Criterion, Pair, Project, Prompt, Response
from annotation.questionnaires import Questionnaire, read_questionnaire
from annotation.questions import Asked

MOST_SHOWN = 4
SAMPLE_PROMPT = "How do I undo the last commit without losing my changes?"
SAMPLE_CONTEXT = "The person uses git on the command line and has not pushed the commit yet."
SAMPLE_REFERENCE = "`git reset --soft HEAD~1` undoes the commit and keeps its changes staged."
SAMPLE_RESPONSES = (
    "Use `git reset --soft HEAD~1`.\n\nIt takes the last commit back and **keeps your changes** staged, so you can "
    "commit them again:\n\n```bash\ngit reset --soft HEAD~1\ngit status\n```",
    "You can run `git reset --hard HEAD~1`. It removes the last commit.",
    "There are several ways:\n\n1. `git reset --soft HEAD~1` keeps the changes staged.\n2. `git reset HEAD~1` keeps "
    "them in your files.\n3. `git revert HEAD` makes a new commit that undoes the last one.",
    "Delete the folder and clone the repository again.",
)


class Preview(NamedTuple):
    """What a preview asks: settings, criteria, whether a reason is needed, and the number of responses."""

    questionnaire: Questionnaire
    criteria: tuple[Criterion, ...]
    rationale_required: bool

    def asked(self, responses: int) -> Asked:
        """Return what the screen asks."""
        return Asked(self.questionnaire, self.criteria, responses)


def preview_of(project: Project, said: ScreenFile) -> Preview:
    """Return what a screen asks with settings that are not stored. Raises `QuestionnaireInvalid`; writes nothing."""
    asked = read_questionnaire(said.template or project.template, said.settings)
    rows = said.criteria or []
    if asked.by_criterion and not rows:
        raise QuestionnaireInvalid("by_criterion", "is on, but there are no criteria beside the whole. Add some.")
    if said.rationale_required and not asked.rationale:
        raise QuestionnaireInvalid("rationale", "is off, but every answer needs a reason. Switch one of them.")
    criteria = [
        Criterion(name=row.name, description=row.description, position=position)
        for position, row in enumerate([CriterionRow(OVERALL), *rows])
    ]
    return Preview(asked, tuple(criteria), bool(said.rationale_required))


def texts_for(project: Project, asked: Questionnaire) -> tuple[Prompt, list[Response]]:
    """Return a prompt of the project with the responses to show, or a sample where it has none. Two queries at most."""
    pair = Pair.objects.in_project(project).with_texts().first()
    if pair is not None:
        if not asked.is_slate:
            return pair.prompt, [pair.response_a, pair.response_b]
        several = list(Response.objects.filter(prompt=pair.prompt_id).order_by("pk")[:MOST_SHOWN])
        if len(several) > 2:
            return pair.prompt, several
    prompt = Prompt(
        messages=[{"role": "user", "content": SAMPLE_PROMPT}], context=SAMPLE_CONTEXT, reference=SAMPLE_REFERENCE
    )
    texts = SAMPLE_RESPONSES[: MOST_SHOWN if asked.is_slate else 2]
    return prompt, [Response(messages=[{"role": "assistant", "content": text}]) for text in texts]


def pack(preview: Preview, responses: int) -> str:
    """Return what checks an answer, short and safe in an address: no words, keys or meanings, which check nothing."""
    settings = {
        name: value for name, value in preview.questionnaire.settings().items() if name not in ("words", "keys")
    }
    names = [one.name for one in preview.criteria if one.position]
    values = [preview.questionnaire.template, settings, names, preview.rationale_required, responses]
    packed = zlib.compress(json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode(), 9)
    return urlsafe_b64encode(packed).decode().rstrip("=")


def unpack(project: Project, packed: str) -> tuple[Preview, int]:
    """Return what `pack` was given. Raises `QuestionnaireInvalid` for what it did not make."""
    try:
        text = zlib.decompressobj().decompress(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), 100_000)
        template, settings, names, required, responses = json.loads(text)
        criteria = [CriterionRow(str(name)) for name in names]
        said = ScreenFile(dict(settings.items()), str(template), criteria, bool(required))
        number = int(responses)
    except (ValueError, TypeError, AttributeError, zlib.error) as error:
        raise QuestionnaireInvalid("template", "is not known here. Open the preview again.") from error
    if not 2 <= number <= MOST_SHOWN:
        raise QuestionnaireInvalid("template", "is not known here. Open the preview again.")
    return preview_of(project, said), number
