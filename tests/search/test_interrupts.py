"""A signal waits while something is written, and comes when the search waits."""

import os
import signal
import threading

import pytest

from bonehpo.search.study import HeldInterrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_comes_at_the_next_window(number):
    written = []
    with HeldInterrupts() as interrupts:
        os.kill(os.getpid(), number)
        written.append("whole")
        with pytest.raises(KeyboardInterrupt), interrupts.window():
            written.append("never")
    assert written == ["whole"]


def test_a_signal_inside_a_window_comes_at_once():
    with HeldInterrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.window():
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")


def test_a_second_signal_waits_for_nothing():
    with HeldInterrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_former_handlers_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with HeldInterrupts():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_another_thread_leaves_signals_alone():
    seen = []

    def work():
        with HeldInterrupts() as interrupts, interrupts.window():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
