"""What loads gives way, and what serves afterwards does not."""

import os
import threading

import pytest

from service.engine import priority


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_work_runs_at_a_low_priority_and_its_result_comes_back():
    before = nice()
    assert priority.lowered(nice) == max(before, priority.NICE)
    assert nice() == before


def test_a_thread_that_is_started_afterwards_has_the_old_priority():
    before, found = nice(), []
    priority.lowered(lambda: None)
    thread = threading.Thread(target=lambda: found.append(nice()))
    thread.start()
    thread.join()
    assert found == [before]


def test_what_leaves_threads_behind_keeps_its_own_priority():
    before = nice()
    assert priority.lowered(nice, leaves_threads=True) == before


def grouped() -> bool:
    """Whether this process is in a group; where the kernel has groups but the process is in none, the file is empty."""
    return priority.GROUP.exists() and bool(priority.GROUP.read_text())


@pytest.mark.skipif(not grouped(), reason="the kernel does not group this process by session")
def test_the_groups_priority_comes_back():
    def told() -> str:
        return priority.GROUP.read_text().split()[-1]

    assert priority.lowered(told) == str(priority.NICE)
    assert told() == "0"


def test_an_error_comes_back_as_itself():
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        priority.lowered(fail)
