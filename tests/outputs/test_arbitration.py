"""Who wins an output's elements, and what nobody or a forgotten holder leaves on it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeflow.model import Pattern, Request
from edgeflow.outputs.arbitration import CALL, FLOW, OFF, OPERATOR, OutputPlan, decide

PLAN = OutputPlan(
    "lamp",
    ("red", "amber", "green"),
    when_stale={"amber": "flash"},
    when_stopped={"red": "flash", "amber": "on"},
)


def wish(owner: str, pattern: Pattern, priority: int = FLOW, since: int = 0, lease_end: int | None = None) -> Request:
    return Request(owner, "lamp", pattern, priority, since, lease_end)


def levels(*requests: Request, now: int = 0) -> dict[str, object]:
    return dict(decide(PLAN, requests, now).levels)


def test_nobody_leaves_the_stopped_pattern() -> None:
    decision = decide(PLAN, [], 0)
    assert decision.levels == {"red": "flash", "amber": "on", "green": OFF}
    assert set(decision.winners.values()) == {"nobody"}


def test_the_highest_priority_wins_each_element_by_itself() -> None:
    run, call = wish("f/run", {"green": "on", "amber": "off"}), wish("f/call", {"amber": "flash"}, CALL)
    decision = decide(PLAN, [run, call], 0)
    assert decision.levels == {"red": OFF, "amber": "flash", "green": "on"}
    assert decision.winners == {"red": "nobody", "amber": "f/call", "green": "f/run"}


def test_a_person_outdoes_everything() -> None:
    person = wish("operator:me", {"green": "off"}, OPERATOR)
    assert levels(wish("f/run", {"green": "on"}), wish("f/call", {"green": "flash"}, CALL), person)["green"] == "off"


def test_of_equals_the_newest_wins() -> None:
    assert levels(wish("a", {"red": "on"}, since=1), wish("b", {"red": "flash"}, since=2))["red"] == "flash"
    assert levels(wish("a", {"red": "on"}, since=3), wish("b", {"red": "flash"}, since=2))["red"] == "on"


def test_a_holder_that_no_longer_speaks_shows_stale_and_not_what_it_said_last() -> None:
    forgotten = wish("f/run", {"green": "on"}, lease_end=100)
    assert levels(forgotten, now=99) == {"red": OFF, "amber": OFF, "green": "on"}
    assert levels(forgotten, now=100) == {"red": OFF, "amber": "flash", "green": OFF}


def test_what_an_output_does_not_have_is_left_out() -> None:
    assert levels(wish("f/run", {"violet": "on", "red": "on"})) == {"red": "on", "amber": OFF, "green": OFF}


_WISHES = st.lists(
    st.builds(
        wish,
        owner=st.sampled_from("abcdef"),
        pattern=st.dictionaries(st.sampled_from(PLAN.elements), st.sampled_from(["off", "on", "flash"])),
        priority=st.sampled_from([FLOW, CALL, OPERATOR]),
        since=st.integers(0, 5),
    ),
    max_size=6,
    unique_by=lambda request: request.owner,
)


@given(_WISHES, st.randoms(use_true_random=False))
def test_the_order_in_which_requests_came_to_be_known_decides_nothing(wishes: list[Request], random: object) -> None:
    shuffled = list(wishes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(PLAN, wishes, 0) == decide(PLAN, shuffled, 0)


@given(_WISHES)
def test_every_element_is_decided_and_by_somebody_who_asked(wishes: list[Request]) -> None:
    decision = decide(PLAN, wishes, 0)
    assert decision.levels.keys() == decision.winners.keys() == set(PLAN.elements)
    by_owner = {request.owner: request for request in wishes}
    for element, winner in decision.winners.items():
        if winner != "nobody":
            assert by_owner[winner].pattern[element] == decision.levels[element]
            rivals = [request for request in wishes if element in request.pattern]
            assert by_owner[winner].priority == max(request.priority for request in rivals)
