"""The judgement of answers, each kind broken once."""

import json

import numpy as np
import pytest

from loadtests.torture import asking, material
from loadtests.torture.asking import Answer, Question, judge

Y = np.array([[1, 2], [3, 4]], np.float32)


def asked(check: asking.Check) -> Question:
    return Question("m", "json", b"", check)


def answer(data: list[float], shape: tuple[int, ...] = (2, 2), name: str = "y") -> bytes:
    return json.dumps({"outputs": [{"name": name, "shape": shape, "data": data}]}).encode()


def test_an_equal_answer_is_right_and_any_other_is_wrong():
    question = asked(asking.equal("y", Y))
    assert judge(question, Answer(200, {}, answer([1, 2, 3, 4]))) == ("right", "")
    for body in (
        answer([1, 2, 3, 4.0000001]),
        answer([1, 2, 3, 4], (4,)),
        answer([1, 2, 3, 4], name="z"),
        b"no JSON",
    ):
        assert judge(question, Answer(200, {}, body))[0] == "wrong"


def test_a_binary_answer_is_compared_byte_by_byte():
    head = json.dumps({"outputs": [{"name": "y", "shape": [2, 2]}]}).encode()
    headers = {asking.HEADER_LENGTH: str(len(head)).encode()}
    question = asked(asking.equal("y", Y))
    assert judge(question, Answer(200, headers, head + Y.tobytes()))[0] == "right"
    assert judge(question, Answer(200, headers, head + (Y + 1).tobytes()))[0] == "wrong"
    near = asked(asking.close(Y, 0.01))
    assert judge(near, Answer(200, headers, head + (Y + 0.001).tobytes()))[0] == "right"
    assert judge(near, Answer(200, headers, head + (Y + 0.1).tobytes()))[0] == "wrong"


@pytest.mark.parametrize("status", [503, 504, 429])
def test_a_refusal_is_clean_where_503_says_when_to_come_back(status: int):
    question = asked(asking.equal("y", Y))
    headers = {b"retry-after": b"2"}
    assert judge(question, Answer(status, headers, b"{}")) == ("refused", str(status))
    bare = judge(question, Answer(status, {}, b"{}"))[0]
    assert bare == ("wrong" if status == 503 else "refused")


@pytest.mark.parametrize("status", [400, 404, 500, 502])
def test_no_other_status_is_an_answer_to_a_good_request(status: int):
    assert judge(asked(asking.equal("y", Y)), Answer(status, {}, b'{"error":"x"}'))[0] == "wrong"


def test_a_faulty_request_deserves_its_refusal_with_a_sentence():
    question = asked(asking.refused_with(400))
    assert judge(question, Answer(400, {}, b'{"error":"why"}'))[0] == "right"
    for status, body in ((400, b"{}"), (400, b"why"), (200, b'{"error":"why"}')):
        assert judge(question, Answer(status, {}, body))[0] == "wrong"


def test_no_two_questions_with_numbers_have_the_same_answer():
    x = {one.message for one in material.whole_numbers(material.EXACT)}
    assert len(x) == material.QUESTIONS
