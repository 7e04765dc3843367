"""The operating system's account of this very process."""

import os
import time

from benchmarks.accounting import cpu_seconds, resident_mb


def test_the_account_of_a_process_is_what_it_says_of_itself() -> None:
    before = time.process_time()
    told = cpu_seconds(os.getpid())

    assert before <= told <= time.process_time()


def test_resident_memory_of_two_is_that_of_both() -> None:
    one = resident_mb([os.getpid()])

    assert 5 < one < 2000
    assert 1.9 < resident_mb([os.getpid(), os.getpid()]) / one < 2.1
