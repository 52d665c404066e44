"""The labels of a project's pairs as a frame: what reports on labels count."""

import pandas as pd

from annotation.aggregating.framing import ROWS_PER_FETCH, read_frame
from annotation.ids import id_text
from annotation.models import Project
from annotation.sampling import Sample, in_sample
from routing.models import Label

COLUMNS = (
    "pair_id",
    "external_id",
    "group",
    "category",
    "language",
    "source_of_pair",
    "model_a",
    "model_b",
    "choice",
    "source",
    "prob_a",
    "p_correct",
    "strength",
    "n_votes",
)
NUMBERS = COLUMNS[10:]


def label_frame(project: Project, *, sample: Sample | None = None) -> pd.DataFrame:
    """Return a row a labelled pair, by external id: one query.

    `group`, `category` and `language` are the prompt's, `source_of_pair` the data set's, `source` who labelled it
    (human, ai, adjudicated); `choice` is '' where nobody won. `prob_a`, `p_correct`, `strength` are NaN where unknown.
    `sample` narrows the rows.
    """
    labels = (
        Label.objects.filter(in_sample(sample, "pair__prompt"), pair__project=project)
        .order_by("pair__external_id")
        .values_list(
            id_text("pair_id"),
            "pair__external_id",
            "pair__prompt__group",
            "pair__prompt__category",
            "pair__prompt__language",
            "pair__source",
            "pair__response_a__model",
            "pair__response_b__model",
            "choice",
            "source",
            "prob_a",
            "p_correct",
            "strength",
            "n_votes",
        )
    )
    return read_frame(labels.iterator(chunk_size=ROWS_PER_FETCH), COLUMNS, ids=("pair_id",), numbers=NUMBERS)
