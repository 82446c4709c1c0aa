"""A child process under limits: whatever happens in it, the caller gets a result or a reason."""

from __future__ import annotations

import time

import pytest

from shared.ct.isolate import ChildError, StoppedError, preload, run_limited
from shared.errors import Refusal
from tests.unit.ct.child_work import crash, double, eat, fault, hang, killed, refuse, talk

preload(["tests.unit.ct.child_work"])


def test_the_result_comes_back():
    assert run_limited(double, (21,), memory_mb=1000, seconds=30) == 42


def test_messages_arrive_before_the_result():
    heard: list[int] = []
    assert run_limited(talk, (3,), memory_mb=1000, seconds=30, on_message=heard.append) == "done"
    assert heard == [0, 1, 2]


@pytest.mark.parametrize(
    ("func", "args", "code"),
    [
        (eat, (4000,), "memory_limit"),
        (killed, (), "memory_limit"),
        (crash, (), "unreadable_pixels"),
        (refuse, (), "too_few_slices"),
    ],
)
def test_an_end_without_result_is_a_refusal(func, args, code):
    with pytest.raises(Refusal) as caught:
        run_limited(func, args, memory_mb=1000, seconds=30)
    assert caught.value.code == code


def test_a_child_that_hangs_costs_its_time_limit_and_no_more():
    begun = time.monotonic()
    with pytest.raises(Refusal) as caught:
        run_limited(hang, memory_mb=1000, seconds=1.5)
    assert caught.value.code == "decode_timeout"
    assert time.monotonic() - begun < 20


def test_another_exception_arrives_with_its_traceback():
    with pytest.raises(ChildError, match="ValueError: odd"):
        run_limited(fault, memory_mb=1000, seconds=30)


def test_the_caller_can_stop_the_child():
    with pytest.raises(StoppedError):
        run_limited(hang, memory_mb=1000, seconds=30, should_stop=lambda: True)
