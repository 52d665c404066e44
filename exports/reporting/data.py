"""What the data are like: lengths, likeness, coverage, who wrote and labelled them, and which models win."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from annotation.aggregating.framing import ROWS_PER_FETCH, read_frame
from annotation.agreeing import SIDE_OF, Figure, share
from annotation.ids import id_text
from annotation.models import Origin, Pair, Project, Response
from annotation.models.pairs import joined_text
from annotation.sampling import Sample, in_sample
from exports.labelling import label_frame
from exports.ranking import leaderboard
from exports.reporting.stating import stated
from judges.auditing.favour import length_coefficients
from judges.auditing.figures import mean_of
from judges.auditing.reading import Ground, read_ground
from routing.models import Label, LabelSource
from routing.plans.arranging import cluster_texts
from routing.signals.reading import read_similarity

# Of two responses with so many words in common a trainer learns little, and DPO may unlearn both.
ALIKE = 0.9
LIKENESS_STEPS = 10
EXCERPT = 80
# Rows and columns beyond these make a table that nobody reads.
MOST_CLUSTERS, MOST_MODELS = 20, 12
NOT_STATED = "not stated"
LABELLED = "labelled pairs with a side"
SOURCES = {"people": (LabelSource.HUMAN, LabelSource.ADJUDICATED), "judges": (LabelSource.AI,)}

SENTENCES = {
    "chosen_characters": "The chosen response has {amount} characters on average, over {n} pairs.",
    "rejected_characters": "The rejected response has {amount} characters on average, over {n} pairs.",
    "longer_chosen": "The longer response is the chosen one in {share} of {n} pairs of two lengths.",
    "length_pull": "Length moves these labels by {number} (log-odds for responses far apart in length; 0 is no pull), "
    "over {n} pairs.",
    "similarity": "Two responses of a pair share {share} of all their words, over {n} pairs.",
    "alike": "In {share} of {n} pairs the responses share nine tenths of their words or more.",
    "ai_only": "A judge alone labelled {share} of the {n} labelled pairs: no person has seen them.",
    "simulated": "Simulated people gave {share} of the {n} answers.",
    "model_stated": "The model that wrote it is stated for {share} of {n} responses: these are synthetic.",
    "covered": "Of {n} cells of prompt cluster and generator, {share} have a pair.",
    "score": "The model has {amount} points on Elo's scale (mean 1000), over {n} labelled pairs.",
}


def data_report(project: Project, *, sample: Sample | None = None) -> dict[str, Any]:
    """Return what the data are like.

    `lengths` and `length_bias` of what labels chose, of all, people's and judges' labels; `similarity` of the responses
    of a pair; `provenance`, how much models wrote and labelled; `coverage`, prompt clusters by generators; and
    `leaderboard` of the generators by the labels, or why there is none.
    """
    # Texts of prompts are large: they are gone before the rest is read.
    coverage = _coverage(project, sample)
    labels, ground, seed = label_frame(project, sample=sample), read_ground(project, sample=sample), project.seed
    decided = labels.assign(side=labels["choice"].map(SIDE_OF))
    return stated(
        {
            "pairs": Pair.objects.filter(project=project).count(),
            "labelled": Label.objects.filter(pair__project=project).exclude(choice="").count(),
            "lengths": _lengths(decided, ground),
            "length_bias": [
                {"labels": name, **_length_bias(decided[decided["source"].isin(sources)], ground)}
                for name, sources in {"all": tuple(LabelSource.values), **SOURCES}.items()
            ],
            "similarity": _similarity(project, ground, sample),
            "provenance": _provenance(project, decided, ground, sample),
            "coverage": coverage,
            "leaderboard": leaderboard(decided[decided["side"].notna()], seed=seed).as_dict(),
        },
        SENTENCES,
    )


def _lengths(labels: pd.DataFrame, ground: Ground) -> dict[str, Any]:
    """Return the mean lengths of chosen and rejected responses, in characters."""
    mine = labels[labels["side"].isin(["a", "b"])]
    a, b = (mine["pair_id"].map(ground.pairs[f"length_{side}"]).astype(float) for side in "ab")
    chose_a = mine["side"] == "a"
    found = {"chosen_characters": a.where(chose_a, b), "rejected_characters": b.where(chose_a, a)}
    return {
        name: mean_of(values, mine["group"], ground.seed, what=LABELLED).as_dict() for name, values in found.items()
    }


def _length_bias(labels: pd.DataFrame, ground: Ground) -> dict[str, Any]:
    longer = labels["pair_id"].map(ground.longer)
    apart = labels["side"].isin(["a", "b"]) & longer.isin(["a", "b"])
    hits = (labels["side"] == longer)[apart]
    return {
        "longer_chosen": share(hits, labels.loc[apart, "group"], what=LABELLED, seed=ground.seed).as_dict(),
        "length_pull": length_coefficients(labels, ground).judge.as_dict(),
    }


def _similarity(project: Project, ground: Ground, sample: Sample | None) -> dict[str, Any]:
    found = read_similarity(project, sample=sample)
    groups = ground.pairs["group"].reindex(found.index)
    steps = np.minimum((found * LIKENESS_STEPS).to_numpy().astype(int), LIKENESS_STEPS - 1)
    counts = np.bincount(steps, minlength=LIKENESS_STEPS)
    return {
        "similarity": mean_of(found, groups, ground.seed, what="pairs").as_dict(),
        "alike": share(found >= ALIKE, groups, what="pairs", seed=ground.seed).as_dict(),
        "steps": [
            {"from": place / LIKENESS_STEPS, "to": (place + 1) / LIKENESS_STEPS, "pairs": int(n)}
            for place, n in enumerate(counts)
        ],
    }


def _provenance(project: Project, labels: pd.DataFrame, ground: Ground, sample: Sample | None) -> dict[str, Any]:
    votes = ground.votes
    known = labels[labels["choice"] != ""]
    written = Response.objects.filter(in_sample(sample, "prompt"), prompt__project=project).order_by("prompt_id")
    rows = written.values_list("model", "prompt__group").iterator(chunk_size=ROWS_PER_FETCH)
    responses = read_frame(rows, ["model", "group"])
    ai = known["source"].eq(LabelSource.AI) & ~known["pair_id"].isin(set(votes["pair_id"]))
    simulated = votes["origin"] == Origin.SIMULATED
    return {
        "ai_only": share(ai, known["group"], what="labelled pairs", seed=ground.seed).as_dict(),
        "simulated": share(simulated, votes["group"], what="answers of people", seed=ground.seed).as_dict(),
        "model_stated": share(
            responses["model"] != "", responses["group"], what="responses", seed=ground.seed
        ).as_dict(),
    }


def _coverage(project: Project, sample: Sample | None) -> dict[str, Any]:
    """Return how many pairs each cluster of prompts has of each generator; the largest twenty and twelve by name."""
    prompts = project.prompts.filter(in_sample(sample, "")).order_by("content_hash", "group")
    texts: list[str] = []
    keys: list[str] = []
    for key, messages in prompts.values_list(id_text("id"), "messages").iterator(chunk_size=ROWS_PER_FETCH):
        keys.append(key)
        texts.append(joined_text(messages))
    if not texts:
        return {"clusters": [], "generators": [], "even_clusters": 0.0, "even_generators": 0.0, "covered": _covered([])}
    cluster = dict(zip(keys, cluster_texts(texts, project.seed).tolist(), strict=True))
    sizes = Counter(cluster.values())
    first = {number: texts[place] for place, number in reversed(list(enumerate(cluster.values())))}
    table = _sides(project, sample, cluster)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    shown = table.sum().sort_index().sort_values(ascending=False, kind="stable").index[:MOST_MODELS]
    return {
        "clusters": [
            {
                "like": " ".join(first[number].split())[:EXCERPT],
                "prompts": sizes[number],
                "responses": {str(model): int(table.loc[number, model]) for model in shown},
            }
            for number in table.index[:MOST_CLUSTERS].astype(int).tolist()
        ],
        "clusters_left_out": max(0, len(table) - MOST_CLUSTERS),
        "generators": [str(model) for model in shown],
        "generators_left_out": max(0, table.shape[1] - MOST_MODELS),
        # exp of the entropy: how many equally frequent ones would be as even.
        "even_clusters": _even(table.sum(axis=1)),
        "even_generators": _even(table.sum()),
        "covered": _covered((table.to_numpy() > 0).ravel().tolist()),
    }


def _covered(cells: list[bool]) -> dict[str, Any]:
    if not cells:
        return Figure(None, 0, too_few="there are no pairs yet").as_dict()
    # Cells are counted, not drawn from more of them.
    return Figure(float(np.mean(cells)), len(cells)).as_dict()


def _even(counts: "pd.Series[Any]") -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def _sides(project: Project, sample: Sample | None, cluster: Mapping[str, int]) -> pd.DataFrame:
    """Return how many responses pairs have: a row a cluster, by the prompt's id, and a column a model. One query."""
    counts: Counter[tuple[int, str]] = Counter()
    pairs = Pair.objects.filter(in_sample(sample, "prompt"), project=project)
    rows = pairs.values_list(id_text("prompt_id"), "response_a__model", "response_b__model")
    for prompt, *models in rows.iterator(chunk_size=ROWS_PER_FETCH):
        counts.update((cluster[prompt], model or NOT_STATED) for model in models)
    numbers, models = (sorted(set(names)) for names in zip(*counts, strict=True)) if counts else ([], [])
    cells = [[counts[number, model] for model in models] for number in numbers]
    return pd.DataFrame(cells, index=numbers, columns=pd.Index(models, dtype=object), dtype=int)
