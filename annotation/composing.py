"""A pair's part of the screen: what is the same for every pair of a project is drawn once and kept as a skeleton.

The templates of a pair take longer to draw than all its texts to set, and between two pairs nobody has begun they
differ by those texts, the lease and the request's token alone. They are drawn for blanks, and the result is cut where
these stand.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from django.template import Context, engines
from django.urls import get_urlconf
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from annotation.blanks import Blank, Put, cut
from annotation.showing import Screen, ShownPrompt, ShownResponse, Turn

# Stands in addresses, which take no blank.
_SOME_ASSIGNMENT = uuid4()
_KEPT = 256


class _Blanks:
    """The values of one pair's screen, and the same screen with blanks for them."""

    def __init__(self, screen: Screen, token: str) -> None:
        self.values: list[str] = []
        self.puts: list[Put] = []
        self.token = self._for(token)
        self.screen = screen._replace(
            assignment_id=_SOME_ASSIGNMENT,
            seconds_left=self._for(str(screen.seconds_left)),
            prompt=screen.prompt and self._for_prompt(screen.prompt),
            responses=[
                ShownResponse(one.name, self._for_turns(one.turns), self._for(one.raw)) for one in screen.responses
            ],
        )

    def _for(self, text: str) -> Any:
        # Where there is nothing to read, templates draw something else.
        if not text.strip():
            return text
        self.values.append(text)
        return Blank(len(self.values) - 1, self.puts)

    def _for_turns(self, turns: Sequence[Turn]) -> list[Turn]:
        return [Turn(turn.role, self._for(turn.text)) for turn in turns]

    def _for_prompt(self, prompt: ShownPrompt) -> ShownPrompt:
        return ShownPrompt(
            system=[self._for(text) for text in prompt.system],
            earlier=self._for_turns(prompt.earlier),
            newest=self._for_turns(prompt.newest),
            context=self._for(prompt.context),
            reference=self._for(prompt.reference),
        )


def draw_task(context: Context, screen: Screen, error: str = "") -> SafeString:
    """Return the HTML of a pair, or of why there is none, in the context of a page of the annotation screen.

    `error` says what was wrong with the answer that came in to it.
    """
    token = str(context["csrf_token"])
    if screen.assignment_id is None or screen.draft or screen.revises or error:
        return _drawn(context, screen, token, error)
    project, blanks, asked = context["project"], _Blanks(screen, token), screen.asked
    # All that the templates of a pair take from elsewhere. Questions take long to write down, and follow from what is
    # asked but for what a criterion says.
    key = repr(
        (
            (get_urlconf(), get_language(), project.slug, project.rationale_required, project.lease_seconds),
            (context["asks"], asked and (asked.questionnaire, asked.key, asked.criteria and screen.questions)),
            (blanks.screen.prompt, blanks.screen.responses),
        )
    )
    skeleton = _skeletons.get(key)
    if skeleton is None:
        if len(_skeletons) >= _KEPT:
            _skeletons.clear()
        skeleton = _skeletons[key] = cut(_drawn(context, blanks.screen, blanks.token), blanks.puts)
    values = blanks.values
    parts = [part if isinstance(part, str) else part.html_of(values[part.value], *part.arguments) for part in skeleton]
    # What templates and their filters made, with an id in it.
    return SafeString("".join(parts).replace(str(_SOME_ASSIGNMENT), str(screen.assignment_id)))


_skeletons: dict[str, list[str | Put]] = {}


def _drawn(context: Context, screen: Screen, token: str, error: str = "") -> SafeString:
    template = engines["django"].engine.get_template("annotation/_task.html")  # type: ignore[attr-defined]
    with context.push(screen=screen, csrf_token=token, error=error):
        return SafeString(template.render(context))
