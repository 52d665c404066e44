"""Texts as vectors, by the local model and by an endpoint; how alike the responses of a pair are."""

import json
import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wordllama
from django.core.management import CommandError, call_command
from django.utils import timezone

from annotation.models import Pair, Project
from judges.errors import CallFailed, JudgeError
from routing.errors import RoutingError
from routing.models import ResponseEmbedding, SignalSettings, SignalTable
from routing.signals import likening
from routing.signals.embedding import cosines, embed_texts, unit_rows
from routing.signals.extending import save_settings, settings_of
from routing.signals.likening import (
    embed_responses,
    embedded_of,
    parse_embedder,
    read_likeness,
)
from tests.builders import make_pair, make_project, make_prompt
from tests.judge_server import Behaviour, Call, JudgeServer, Served, failure

EMBEDDINGS = "POST /v1/embeddings"


# --- The local model --------------------------------------------------------------------------------------------------


def test_rows_have_length_one_and_an_empty_text_is_all_zeros() -> None:
    vectors = embed_texts(["The cat sleeps.", "", "   ", "The cat sleeps."])
    assert vectors.shape == (4, 256)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1)[[0, 3]] == pytest.approx([1, 1], abs=1e-6)
    assert not vectors[1].any()
    assert (vectors[0] == vectors[3]).all()
    assert embed_texts([]).shape == (0, 256)


def test_a_text_is_the_same_vector_whatever_stands_beside_it() -> None:
    long = "A text that is much longer than the others, with many words. " * 400
    short = ["Paris is the capital of France.", "2 + 2 = 4"]
    alone = np.concatenate([embed_texts([text]) for text in short])
    together = embed_texts([long, *short])[1:]
    assert together == pytest.approx(alone, abs=1e-6)


def test_likeness_of_meaning_is_more_than_shared_words() -> None:
    texts = ["The physician treated her patient.", "A doctor cared for the sick woman.", "Bake bread at 200 degrees."]
    same, alike, other = embed_texts(texts)
    assert float(same @ alike) > float(same @ other) + 0.2


def test_the_mean_of_the_tokens_is_what_the_package_computes() -> None:
    model = wordllama.WordLlama.load(disable_download=True, cache_dir=Path(wordllama.__file__).parent)
    texts = ["Sort a list in Python.", "Ein Satz über Katzen, 12 Stück.", "x"]
    expected = np.concatenate([model.embed([text], norm=True) for text in texts])
    assert embed_texts(texts) == pytest.approx(expected, abs=1e-6)


def test_cosines_of_rows_are_unknown_where_a_row_is_zero() -> None:
    left = unit_rows(np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]))
    right = unit_rows(np.array([[6.0, 8.0], [0.0, 2.0], [1.0, 1.0]]))
    assert cosines(left, right)[:2] == pytest.approx([1.0, 0.0])
    assert math.isnan(cosines(left, right)[2])


# --- Pairs ------------------------------------------------------------------------------------------------------------


def ids_of(*pairs: Pair) -> pd.Index:
    return pd.Index([str(pair.pk) for pair in pairs], name="pair_id", dtype=object)


@pytest.mark.django_db
def test_only_new_pairs_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    prompt = make_prompt(project, "Why is the sky blue?")
    alike = make_pair(project, prompt=prompt, response_a="Air scatters blue.", response_b="Air scatters blue!")
    empty = make_pair(project, prompt=prompt, response_a="", response_b="Because of the sea.")
    first = read_likeness(project, "local", ids_of(alike, empty))
    assert list(first.index) == [str(alike.pk), str(empty.pk)]
    assert first["cosine"].iloc[0] > 0.95
    assert math.isnan(first["cosine"].iloc[1])
    other = make_pair(project, response_a="one", response_b="two")
    read: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        read.extend(texts)
        return embed_texts(texts)

    monkeypatch.setattr(likening, "embed_texts", embed)
    again = read_likeness(project, "local", ids_of(alike, empty, other))
    assert "one" in read
    assert not any("Air" in text for text in read)
    pd.testing.assert_frame_equal(again.loc[first.index], first)
    read.clear()
    read_likeness(project, "local", ids_of(alike, empty, other))
    assert read == []
    # Another embedder's figures are never taken for these.
    assert read_likeness(project, "", ids_of(alike)).columns.empty
    assert SignalTable.objects.get(project=project).rows == 3


# --- An endpoint ------------------------------------------------------------------------------------------------------


def by_length(call: Call) -> Served:
    """Return (length, 1) for each text: what the server was asked can be told from the vectors."""
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
        for index, text in enumerate(call.body["input"])
    ]
    # Servers may answer in any order.
    return Served(content=json.dumps({"object": "list", "data": data[::-1], "model": call.body["model"]}).encode())


def with_endpoint(project: Project, server: JudgeServer, behave: Behaviour = by_length) -> str:
    server.routes[EMBEDDINGS] = behave
    return save_settings(project, columns=[], embedder=f"{server.base_url}/ model-e", tagger=None).embedder


@pytest.mark.django_db
def test_vectors_are_fetched_once_and_only_where_missing() -> None:
    project = make_project()
    texts = [("a" * 10, "b" * 20), ("", "c")]
    pairs = [make_pair(project, response_a=a, response_b=b) for a, b in texts]
    with JudgeServer() as server:
        embedder = with_endpoint(project, server)
        assert embedder == f"{server.base_url} model-e"
        assert read_likeness(project, embedder, ids_of(*pairs))["cosine"].isna().all()
        seen: list[tuple[int, int]] = []
        assert embed_responses(project, progress=lambda done, total: seen.append((done, total))) == 4
        assert seen == [(4, 4)]
        # An empty text is not sent: servers refuse it.
        assert sorted(len(text) for call in server.others for text in call.body["input"]) == [1, 10, 20]
        assert server.others[0].body["encoding_format"] == "float"
        assert embed_responses(project) == 0
        assert len(server.others) == 1
    assert embedded_of(project, embedder) == (4, 4)
    cosine = read_likeness(project, embedder, ids_of(*pairs))["cosine"]
    assert cosine.iloc[0] == pytest.approx(201 / math.sqrt(101 * 401), abs=1e-3)
    assert math.isnan(cosine.iloc[1])
    settings = settings_of(project)
    assert (settings.embedding_until, settings.embedding_error) == (None, "")


@pytest.mark.django_db
def test_a_failure_keeps_what_is_stored_and_says_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    for _ in range(3):
        make_pair(project)
    monkeypatch.setattr(likening, "TEXTS_AT_ONCE", 4)
    with JudgeServer() as server:
        with_endpoint(project, server, lambda call: by_length(call) if call.number == 1 else failure(401, "no"))
        with pytest.raises(CallFailed, match="refused the key"):
            embed_responses(project)
        assert ResponseEmbedding.objects.count() == 4
        assert "TIEBREAK_JUDGE_KEYS" in settings_of(project).embedding_error
        server.routes[EMBEDDINGS] = by_length
        assert embed_responses(project) == 2
    assert settings_of(project).embedding_error == ""
    assert ResponseEmbedding.objects.count() == 6


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"data": []}, "it holds 0 vectors for 2 texts"),
        ({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]}, "it holds 1 vectors"),
        ({"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]}, "differ in length"),
        ({"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": ["x"]}]}, "it holds 1 vectors"),
        ({"error": "no"}, "it holds 0 vectors"),
    ],
)
def test_an_answer_that_is_no_list_of_vectors_is_refused(data: dict[str, object], words: str) -> None:
    project = make_project()
    make_pair(project)
    with JudgeServer() as server:
        with_endpoint(project, server, lambda _call: Served(content=json.dumps(data).encode()))
        with pytest.raises(CallFailed, match=words):
            embed_responses(project)
    assert ResponseEmbedding.objects.count() == 0


@pytest.mark.django_db
def test_two_workers_do_not_pay_for_the_same_vectors() -> None:
    project = make_project()
    make_pair(project)
    with JudgeServer() as server:
        with_endpoint(project, server)
        SignalSettings.objects.update(embedding_until=timezone.now() + likening.LEASE)
        with pytest.raises(RoutingError, match="Another worker is fetching"):
            embed_responses(project)
        assert server.others == []
        SignalSettings.objects.update(embedding_until=timezone.now() - likening.LEASE)
        assert embed_responses(project) == 2


@pytest.mark.django_db
def test_nothing_more_is_sent_once_a_manager_chose_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    for _ in range(3):
        make_pair(project)
    monkeypatch.setattr(likening, "TEXTS_AT_ONCE", 2)
    with JudgeServer() as server:
        with_endpoint(project, server)

        def switch_off(*_: int) -> None:
            save_settings(project, columns=[], embedder="", tagger=None)

        assert embed_responses(project, progress=switch_off) == 2
        assert len(server.others) == 1
    settings = settings_of(project)
    assert (settings.embedder, settings.embedding_until, settings.embedding_error) == ("", None, "")


@pytest.mark.django_db
def test_a_slow_worker_leaves_the_lease_to_the_one_that_took_it(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    for _ in range(3):
        make_pair(project)
    monkeypatch.setattr(likening, "TEXTS_AT_ONCE", 2)
    anothers = timezone.now() + timedelta(hours=1)
    with JudgeServer() as server:
        with_endpoint(project, server)

        def take_over(*_: int) -> None:
            SignalSettings.objects.filter(project=project).update(embedding_until=anothers)

        assert embed_responses(project, progress=take_over) == 2
        assert len(server.others) == 1
    assert settings_of(project).embedding_until == anothers


@pytest.mark.parametrize("text", ["https://a.example/v1", "one two three", "locally"])
def test_what_names_no_embedder_is_refused(text: str) -> None:
    with pytest.raises(RoutingError, match="is no embedder"):
        parse_embedder(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://elsewhere.example/v1 m", "TIEBREAK_JUDGE_HOSTS"),
        ("file:///etc/passwd m", "must start with http"),
        ("http://user:pw@127.0.0.1/v1 m", "holds a name or password"),
    ],
)
def test_the_rules_for_judges_addresses_hold(text: str, words: str) -> None:
    with pytest.raises(JudgeError, match=words):
        parse_embedder(text)


@pytest.mark.django_db
def test_the_command_names_the_endpoint_and_fetches(capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project()
    make_pair(project)
    call_command("embed_responses", project.slug)
    assert "compared by the local model" in capsys.readouterr().out
    with JudgeServer() as server:
        server.routes[EMBEDDINGS] = by_length
        call_command("embed_responses", project.slug, "--embedder", f"{server.base_url} m", "--json")
        out = capsys.readouterr().out
        assert "2 vectors fetched; 2 of 2 responses have one." in out
        assert json.loads(out.splitlines()[-1])["stored"] == 2
        server.routes[EMBEDDINGS] = lambda _call: failure(404, "no")
        make_pair(project)
        with pytest.raises(CommandError, match="knows no such address or model"):
            call_command("embed_responses", project.slug)
    with pytest.raises(CommandError, match="is no embedder"):
        call_command("embed_responses", project.slug, "--embedder", "what")
