"""Which processes are a server's, and what they cost."""

import os
import signal
import subprocess
import sys

from live import until

from loadtests.compare import processes
from loadtests.compare.processes import MARK, Tree, family, parse_pss, parse_stat

STAT = "4321 (ray::Peer (a) b) S 17 4321 4321 0 -1 4194560 900 0 3 0 250 40 7 3 20 0 9 0 88123 1 2"


def test_fields_are_counted_from_the_last_bracket_of_the_name() -> None:
    assert parse_stat(STAT).parent == 17
    assert parse_stat(STAT).started == 88123


def test_ticks_are_user_and_system_time_with_those_of_children_that_ended() -> None:
    assert parse_stat(STAT).ticks == 250 + 40 + 7 + 3


def test_a_zombie_is_known() -> None:
    assert not parse_stat(STAT).zombie
    assert parse_stat(STAT.replace(") S ", ") Z ")).zombie


def test_memory_is_the_proportional_size_and_not_the_resident_one() -> None:
    rollup = "5581a000-7ffd000 ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:  4321 kB\nPss_Anon: 99 kB\n"
    assert parse_pss(rollup) == 4321
    assert parse_pss("Rss: 9000 kB\n") == 0


def test_a_family_goes_down_to_grandchildren_and_not_up_or_sideways() -> None:
    parents = {2: 1, 3: 2, 4: 3, 5: 1, 6: 5}
    assert family({2}, parents) == {2, 3, 4}


def test_a_process_that_left_its_group_and_its_parent_is_still_found_and_ended() -> None:
    orphan = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)"
    token = f"test{os.getpid()}"
    environ = os.environ | {MARK: token}
    subprocess.run([sys.executable, "-c", orphan], env=environ, check=True)
    tree = Tree(token)
    try:
        assert len(tree.alive()) == 1
        until(lambda: tree.memory_mib() > 1, "the memory of a Python")
    finally:
        tree.signal(signal.SIGKILL)
    until(lambda: not tree.alive(), "the end of the orphan")


def test_processes_with_another_mark_are_not_ours() -> None:
    assert processes.marked([os.getpid()], "no such token") == set()


def test_cpu_time_of_the_tree_grows_with_work() -> None:
    token = f"cpu{os.getpid()}"
    work = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", work], env=os.environ | {MARK: token})
    tree = Tree(token)
    try:
        until(lambda: tree.cpu_seconds() >= 0.3, "0.3 s of CPU time")
    finally:
        process.kill()
        process.wait()
