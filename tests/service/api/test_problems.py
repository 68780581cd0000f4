"""Errors as answers: their sentence, whatever it names."""

import json

import pytest

from models.errors import InputError, RegistryUnavailable
from service.api import problems
from service.errors import QueueFull, Unavailable


@pytest.mark.parametrize("path", ["/v1/models/m/predict", "/v2/models/m/infer"])
def test_a_name_as_long_as_a_request_is_not_sent_back(path: str):
    error = InputError(f"input '{'x' * 1_000_000}' has 3 elements, the limit is 2")
    told = json.loads(problems.render(path, error).body)
    sentence = told.get("error") or told["detail"]
    assert len(sentence) < problems.LONGEST + 10
    assert sentence.startswith("input 'xxx")
    assert sentence.endswith("has 3 elements, the limit is 2")


def test_a_sentence_of_usual_length_is_told_whole():
    sentence = "x" * problems.LONGEST
    told = json.loads(problems.render("/v2", InputError(sentence)).body)
    assert told == {"error": sentence}


@pytest.mark.parametrize(
    "error", [RegistryUnavailable("away"), Unavailable("loading", 2.5), QueueFull("full", 0.2)]
)
def test_every_503_says_when_to_come_back(error: Exception):
    status, headers, _ = problems.render("/v1/models", error)
    assert (status, int(headers["retry-after"]) >= 1) == (503, True)
