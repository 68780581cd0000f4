"""Errors as gRPC statuses: every error of ours has a code, and its sentence is the one of /v2."""

import logging

import grpc
import pytest

from models import errors as faults
from models.errors import EvergreenError
from service import errors
from service.api import problems
from service.grpc.statuses import CODES, status

CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (faults.InputError("s"), CODE.INVALID_ARGUMENT),
        (faults.Malformed("s"), CODE.INVALID_ARGUMENT),
        (faults.TooLarge("s"), CODE.INVALID_ARGUMENT),
        (errors.NotFound("s"), CODE.NOT_FOUND),
        (errors.Unavailable("s"), CODE.UNAVAILABLE),
        (errors.QueueFull("s"), CODE.UNAVAILABLE),
        (errors.DeadlineExceeded("s"), CODE.DEADLINE_EXCEEDED),
        (errors.EngineError("s"), CODE.INTERNAL),
        (faults.BundleError("s"), CODE.FAILED_PRECONDITION),
        (faults.Conflict("s"), CODE.FAILED_PRECONDITION),
        (errors.Unauthenticated("s"), CODE.UNAUTHENTICATED),
        (errors.Forbidden("s"), CODE.PERMISSION_DENIED),
        (errors.Unsupported("s"), CODE.UNIMPLEMENTED),
    ],
)
def test_an_error_keeps_its_sentence_and_gets_its_code(error: EvergreenError, code: CODE):
    assert status("ModelInfer", error)[:2] == (code, "s")


def test_when_to_come_back_travels_as_metadata():
    assert status("ModelInfer", errors.Unavailable("s", 2.5))[2] == (("retry-after", "3"),)
    assert status("ModelInfer", errors.NotFound("s"))[2] == ()


def test_every_status_of_http_has_a_code():
    assert {number for _, number in problems.STATUSES} - CODES.keys() <= {500}


def test_a_defect_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        code, sentence, _ = status("ModelInfer", RuntimeError("secret"))
    assert code is CODE.INTERNAL
    assert "secret" not in sentence
    assert "secret" in caplog.text
