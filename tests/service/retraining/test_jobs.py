"""The state machine: whatever is asked of a job in whatever order, it goes by the drawn ways alone."""

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from models.errors import InputError
from service.errors import Refused
from service.retraining import jobs
from service.retraining.jobs import ACTIVE, ENDED, FOLLOWS, Found, Job
from service.retraining.triggers import Trigger

PERSON = Trigger(kind="person", reason="because", key="one")
STATES = sorted(FOLLOWS)


def job(state: jobs.State = "queued") -> Job:
    return jobs.began("a", "m", PERSON, state, 1.0).job


class Machine(RuleBasedStateMachine):
    """One job, and everything that anybody might try with it."""

    def __init__(self) -> None:
        super().__init__()
        first = jobs.began("a", "m", PERSON, "suppressed", 1.0, reason="not yet")
        self.job, self.events, self.now = first.job, [first.event], 1.0
        self.path = ["suppressed"]

    def take(self, found: Found) -> None:
        self.job = found.job
        self.events.append(found.event)

    @rule(state=st.sampled_from(STATES), wait=st.floats(-1, 10))
    def move(self, state: jobs.State, wait: float) -> None:
        self.now += wait
        before = self.job
        if state in FOLLOWS[before.state]:
            self.take(jobs.moved(before, state, self.now, "why"))
            self.path.append(state)
            assert self.job.entered_at == self.now
        else:
            with pytest.raises(Refused, match=f"is {before.state}: it cannot become {state}"):
                jobs.moved(before, state, self.now)

    @rule(text=st.text(max_size=5))
    def note(self, text: str) -> None:
        if self.job.ended:
            with pytest.raises(Refused, match="has ended"):
                jobs.noted(self.job, "note", self.now, text)
            return
        entered = self.job.entered_at
        self.take(jobs.noted(self.job, "note", self.now, text))
        assert self.job.entered_at == entered

    @rule()
    def cancel(self) -> None:
        if "cancelled" in FOLLOWS[self.job.state]:
            jobs.check_cancel(self.job)
        else:
            with pytest.raises(Refused, match="cannot be cancelled"):
                jobs.check_cancel(self.job)

    @invariant()
    def events_are_numbered_and_never_go_back_in_time(self) -> None:
        assert [one.number for one in self.events] == list(range(1, len(self.events) + 1))
        times = [one.at for one in self.events]
        assert times == sorted(times)

    @invariant()
    def the_job_is_what_its_last_event_says(self) -> None:
        assert (self.job.state, self.job.number) == (
            self.events[-1].state,
            self.events[-1].number,
        )
        assert self.job.active == (self.job.state in ACTIVE)
        assert self.job.ended == (self.job.state in ENDED)

    @invariant()
    def it_is_queued_once_and_remembers_when(self) -> None:
        assert self.path.count("queued") <= 1
        assert (self.job.queued_at is not None) == ("queued" in self.path)

    @invariant()
    def nothing_is_promoted_without_the_gate(self) -> None:
        if "promoting" in self.path:
            assert "evaluating" in self.path[: self.path.index("promoting")]

    @invariant()
    def it_survives_being_written_down(self) -> None:
        told = msgspec.msgpack.encode(self.job)
        assert msgspec.msgpack.decode(told, type=Job) == self.job


TestMachine = Machine.TestCase


def test_every_state_leads_to_an_end():
    for state in STATES:
        seen, left = set(), {state}
        while left:
            seen |= left
            left = {after for one in left for after in FOLLOWS[one]} - seen
        assert seen & ENDED


def test_what_is_active_can_be_cancelled_until_it_answers_everybody():
    for state in ACTIVE - {"watching"}:
        assert {"cancelled", "failed", "expired"} <= set(FOLLOWS[state])
    assert "cancelled" not in FOLLOWS["watching"]


def test_a_job_begins_queued_or_suppressed():
    with pytest.raises(ValueError, match="does not begin as running"):
        jobs.began("a", "m", PERSON, "running", 1.0)


def test_a_key_that_comes_again_with_other_words_is_refused():
    jobs.check_same(job(), PERSON)
    for other in (
        Trigger(kind="person", reason="another", key="one"),
        Trigger(kind="person", reason="because", key="one", parameters={"epochs": 3}),
        Trigger(kind="person", reason="because", key="one", since=5.0),
    ):
        with pytest.raises(InputError, match="Idempotency-Key 'one' was used for job a"):
            jobs.check_same(job(), other)


def test_an_alert_may_word_itself_differently():
    alert = Trigger(kind="alert", reason="0.31 of the inputs", key="one")
    again = Trigger(kind="alert", reason="0.32 of the inputs", key="one")
    assert alert.digest == again.digest
    jobs.check_same(jobs.began("a", "m", alert, "queued", 1.0).job, again)


def test_who_asks_is_no_part_of_what_is_asked():
    assert Trigger(kind="person", who="ann").digest == Trigger(kind="person", who="bob").digest


def test_approval_is_only_taken_where_it_is_waited_for():
    with pytest.raises(Refused, match="does not wait for an approval"):
        jobs.check_awaiting(job())


def test_ids_sort_by_time():
    made = [jobs.new_id(at, noise) for at, noise in [(1.0, 2**74 - 1), (1.01, 0), (9e8, 7)]]
    assert made == sorted(made)
    assert all(len(one) == 36 and one[14] == "7" and one[19] in "89ab" for one in made)
