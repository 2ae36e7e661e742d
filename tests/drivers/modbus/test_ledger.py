"""What may still come from a unit: no answer that was late or doubled is ever taken for another."""

import os
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow_modbus.ledger import Ledger, wider
from edgeflow_modbus.pdu import READING, Table, read, write_coils, write_registers
from edgeflow_modbus.space import Manners, Range

A = read(1, Table.REGISTER, 0, 10, "")
TWIN = read(1, Table.REGISTER, 100, 10, "")
LONE = read(1, Table.INPUT, 7, 1, "")
BITS = read(1, Table.COIL, 3, 5, "")
LONG = read(1, Table.REGISTER, 300, 20, "", spare=True)
COIL = write_coils(1, 4, [True], "")
WORD = write_registers(1, 4, b"\0\7", "")


def answer(request):
    return request.head + bytes(request.size - len(request.head))


def refusal(request):
    return bytes((request.function | 0x80, 2))


def read_of(request):
    start, count = int.from_bytes(request.pdu[1:3], "big"), int.from_bytes(request.pdu[3:5], "big")
    return Range(request.function, start, start + count)


def overlap(one, other):
    return one.table == other.table and one.start < other.end and other.start < one.end


def in_step(unit=1):
    ledger = Ledger(unit)
    step = ledger.step_for(A)
    ledger.send(step)
    assert ledger.take(answer(step)) == step.head
    return ledger


def test_the_first_request_on_a_line_is_never_believed():
    ledger = Ledger(1)
    assert not ledger.clear_for(A)
    step = ledger.step_for(A)
    assert step.head != A.head
    ledger.send(step)
    ledger.take(answer(step))
    assert ledger.clear_for(A)


def test_an_answer_may_come_twice_so_the_same_is_not_asked_twice_in_a_row():
    ledger = in_step()
    ledger.send(A)
    ledger.take(answer(A))
    assert not ledger.clear_for(A)
    assert not ledger.clear_for(TWIN), "as long as the other, from another place"
    assert ledger.clear_for(LONG)


def test_one_more_register_makes_an_answer_another():
    ledger = in_step()
    ledger.send(LONG)
    ledger.take(answer(LONG))
    wide = wider(LONG)
    assert wide is not None
    assert ledger.clear_for(wide)
    ledger.send(wide)
    ledger.take(answer(wide))
    assert ledger.clear_for(LONG)


@pytest.mark.parametrize("request_", [A, read(1, Table.REGISTER, 0, 125, "", spare=True)])
def test_nothing_is_read_along_where_it_may_not_or_cannot(request_):
    assert wider(request_) is None


def test_after_a_silence_a_step_comes_first_and_late_answers_are_told_apart():
    ledger = in_step()
    ledger.send(A)  # no answer in time
    assert not ledger.clear_for(A)
    step = ledger.step_for(A)
    ledger.send(step)
    ledger.take(answer(A))
    assert not ledger.clear_for(A), "it may come again"
    ledger.take(answer(step))
    assert ledger.clear_for(A)


def test_steps_that_were_not_answered_either_do_not_stand_in_the_way():
    ledger = in_step()
    ledger.send(A)
    for _ in range(1000):
        ledger.send(ledger.step_for(A))
    assert len(ledger.heads) < 15
    ledger.take(answer(A))
    step = ledger.step_for(A)
    ledger.send(step)
    ledger.take(answer(step))
    assert ledger.clear_for(A)


def test_a_late_refusal_may_be_that_of_the_request_before():
    ledger = in_step()
    ledger.send(A)
    step = ledger.step_for(A)
    ledger.send(step)
    assert ledger.take(refusal(step)) == A.head
    assert not ledger.clear_for(A)
    other = ledger.step_for(A)
    assert other.function != A.function, "whose refusal would tell nothing either"
    ledger.send(other)
    assert ledger.take(refusal(other)) == other.head
    assert ledger.clear_for(A)


def test_a_refused_step_shows_it_as_well():
    ledger = in_step()
    ledger.send(LONE)
    ledger.take(answer(LONE))
    step = ledger.step_for(LONE)
    assert step.function != LONE.function
    ledger.send(step)
    assert ledger.take(refusal(step)) == step.head
    assert ledger.clear_for(LONE)


def test_an_unanswered_write_is_not_taken_for_acknowledged_by_a_late_echo():
    ledger = in_step()
    ledger.send(COIL)
    assert not ledger.clear_for(COIL)
    step = ledger.step_for(COIL)
    ledger.send(step)
    ledger.take(answer(step))
    assert ledger.clear_for(COIL)


def test_the_same_write_again_needs_no_step():
    ledger = in_step()
    ledger.send(WORD)
    ledger.take(answer(WORD))
    assert ledger.clear_for(WORD)


def test_a_step_that_a_device_ignores_gives_way_to_another():
    ledger = Ledger(1)
    first = ledger.step_for(LONE)
    ledger.send(first)
    second = ledger.step_for(LONE)
    assert second.head != first.head
    ledger.send(second)
    ledger.take(answer(second))
    assert ledger.clear_for(LONE)
    ledger.send(LONE)
    ledger.take(answer(LONE))
    assert ledger.step_for(LONE).head == second.head, "what it ignored is asked last"


def test_what_is_missing_survives_the_connection():
    ledger = in_step()
    ledger.send(A)
    step = ledger.step_for(A)
    ledger.send(step)
    ledger.send(A)
    again = Ledger(1, ledger.heads)
    assert again.heads[-3:] == [A.head, step.head, A.head]
    next_step = again.step_for(A)
    assert next_step.head != step.head, "its answer could come before the one to A"


def test_a_step_reads_nothing_that_is_forbidden_and_tears_no_group_as_long_as_it_can():
    ledger = Ledger(1)
    ledger.knows(A)
    ledger.respects(Manners(frozenset({Range(4, 0, 5), Range(1, 0, 100)}), (Range(3, 0, 10),)))
    ledger.send(A)
    step = ledger.step_for(A)
    assert step.function == 2, "neither a part of the group nor what is forbidden of inputs and coils"


def test_a_group_is_torn_where_all_else_is_forbidden():
    ledger = Ledger(1)
    ledger.knows(A)
    others = {Range(function, 0, 65536) for function in (1, 2, 4)} | {Range(3, 10, 65536)}
    ledger.respects(Manners(frozenset(others), (Range(3, 0, 10),)))
    assert ledger.step_for(A).pdu == bytes((3, 0, 0, 0, 1))


def test_a_unit_of_which_nothing_else_may_be_read_is_asked_what_it_is():
    ledger = Ledger(1)
    ledger.knows(LONE)
    others = {Range(function, 0, 65536) for function in (1, 2, 3)} | {Range(4, 0, 7), Range(4, 8, 65536)}
    ledger.respects(Manners(frozenset(others)))
    step = ledger.step_for(LONE)
    assert step.pdu == bytes((43, 14, 1, 0))
    ledger.send(step)
    assert ledger.take(bytes((0xAB, 1))) == step.head
    assert ledger.clear_for(LONE), "also where it does not know the question"


HOW_MANY = int(os.environ.get("EDGEFLOW_TEST_EXAMPLES", "300"))
REQUESTS = [A, TWIN, LONE, BITS, LONG, COIL, WORD]
FATES = st.sampled_from(["at once", "late", "later", "never", "twice", "twice, late", "refused", "refused late"])


@settings(max_examples=HOW_MANY, deadline=None)
@given(
    st.lists(st.none() | st.tuples(st.sampled_from(REQUESTS), st.lists(FATES, min_size=1, max_size=6)), max_size=30),
    st.frozensets(st.tuples(st.integers(1, 4), st.integers(0, 40), st.integers(0, 400)), max_size=4),
)
def test_whatever_is_late_lost_or_doubled_only_its_own_answer_is_believed(polls, forbidden):
    """Answers stay in order. Each is marked with the number of the request that caused it. None: connected anew."""
    ledger, line, number = Ledger(1), deque(), 0
    stretches = [Range(function, start, start + more) for function, start, more in forbidden]
    own = [read_of(request) for request in REQUESTS if request.function in READING]
    manners = Manners(frozenset(each for each in stretches if not any(overlap(each, one) for one in own)))
    ledger.respects(manners)

    def ask(request, fate):
        """Sends, and takes what comes in time; returns (whether answered, by which number, own number)."""
        nonlocal number
        number += 1
        ledger.send(request)
        pdu = refusal(request) if fate.startswith("refused") else answer(request)
        copies = 0 if fate == "never" else 2 if fate.startswith("twice") else 1
        late = {"late": 2, "later": 4, "twice, late": 1, "refused late": 2}.get(fate, 0)
        for copy in range(copies):
            line.append([late if not copy else late + 2, pdu, number])
        arrived = []
        while line and line[0][0] <= 0:
            arrived.append(line.popleft())
        for each in line:
            each[0] -= 1
        return number, arrived

    for poll in polls:
        if poll is None:
            ledger = Ledger(1, ledger.heads)
            ledger.respects(manners)
            continue
        request, fates = poll
        ledger.knows(request)
        remaining = list(fates)
        forms = [form for form in (request, wider(request)) if form]
        while remaining:
            form = next(filter(ledger.clear_for, forms), None)
            sent = form or ledger.step_for(request)
            assert sent is form or not any(overlap(read_of(sent), each) for each in manners.forbidden)
            mine, arrived = ask(sent, remaining.pop(0))
            done = False
            for _, pdu, by in arrived:
                if ledger.take(pdu) == sent.head and form and not pdu[0] & 0x80 and not done:
                    repeats = request in (COIL, WORD)
                    assert by == mine or repeats, f"the answer to request {by} was taken for that to request {mine}"
                    done = True
            if done:
                break
