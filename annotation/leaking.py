"""How often a project's responses name the model that wrote them, so that a manager knows what people could have read.

Counted as the annotation screen hides it (`annotation.masking`). Managers may read names of models; annotators may not.
"""

from array import array
from collections import Counter
from typing import Any
from uuid import UUID

import pandas as pd
from django.db.models import Q

from annotation.agreeing import share
from annotation.masking import mask_names
from annotation.models import Pair, Project, Response
from annotation.models.pairs import joined_text
from annotation.sampling import Sample, in_sample

MOST_NAMES = 10
MOST_EXAMPLES = 5
RESPONSES_PER_BATCH = 500
UNKNOWN_MODEL = "not stated"


def leak_report(project: Project, *, sample: Sample | None = None) -> dict[str, Any]:
    """Return how many responses name a model or its maker as their own author, overall and by model.

    Two queries and one pass over all texts (about a million characters a second); only a few bytes a response are
    kept. A name counts once a response; `pairs` are the first that hold such a response. `sample`
    narrows what is read.
    """
    naming, groups, models = array("b"), _Numbering(), _Numbering()
    names: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    first: list[UUID] = []
    responses = Response.objects.filter(in_sample(sample, "prompt"), prompt__project=project)
    responses = responses.select_related("prompt").order_by("id")
    fields = ("messages", "model", "prompt__messages", "prompt__context", "prompt__group")
    for response in responses.only(*fields).iterator(RESPONSES_PER_BATCH):
        asked = f"{joined_text(response.prompt.messages)}\n\n{response.prompt.context}"
        found = mask_names(response.text, models=[response.model], prompt=asked).found
        naming.append(bool(found))
        groups.add(response.prompt.group)
        models.add(response.model or UNKNOWN_MODEL)
        for name in found:
            spelled.setdefault(name.casefold(), name)
        names.update(name.casefold() for name in found)
        if found and len(first) < MOST_EXAMPLES:
            first.append(response.pk)
    seen = pd.DataFrame({"naming": naming, "group": groups.numbers, "model": models.numbers})
    return {
        "responses": len(seen),
        "naming_responses": int(seen["naming"].sum()),
        "share": _share(seen, project),
        "models": [
            {
                "model": model,
                "responses": len(mine),
                "naming_responses": int(mine["naming"].sum()),
                "share": _share(mine, project),
            }
            for model, number in sorted(models.of.items())
            for mine in [seen[seen["model"] == number]]
        ],
        "names": [
            {"name": spelled[name], "responses": n}
            for name, n in sorted(names.items(), key=lambda item: (-item[1], item[0]))[:MOST_NAMES]
        ],
        "pairs": _pairs_of(project, first),
    }


class _Numbering:
    """Numbers for texts that come again and again, in the order they came."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.numbers = array("l")

    def add(self, text: str) -> None:
        self.numbers.append(self.of.setdefault(text, len(self.of)))


def _share(seen: pd.DataFrame, project: Project) -> dict[str, Any]:
    return share(seen["naming"], seen["group"], what="responses", seed=project.seed).as_dict()


def _pairs_of(project: Project, responses: list[UUID]) -> list[str]:
    """Return the external ids of the first pairs with one of these responses."""
    holding = Pair.objects.filter(project=project).filter(Q(response_a__in=responses) | Q(response_b__in=responses))
    return list(holding.order_by("id").values_list("external_id", flat=True)[:MOST_EXAMPLES])
