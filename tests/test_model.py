"""The shared words: qualities in order, blocks taken apart, models that take nothing unknown."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import Field, ValidationError

from edgeflow.model import BAD, GOOD, UNCERTAIN, Block, Sample, Strict, Tag


def test_the_worst_of_several_qualities_is_their_maximum() -> None:
    assert max(GOOD, UNCERTAIN) is UNCERTAIN
    assert max(UNCERTAIN, BAD, GOOD) is BAD
    assert not GOOD, "so `if quality` asks whether anything is wrong"


def test_a_block_is_taken_apart_into_samples_with_both_times() -> None:
    block = Block("d", ("d/a", "d/b"), [1, None], 10, 20, {1: (BAD, "no answer")})
    assert block.samples() == [
        Sample("d/a", 1, GOOD, 10, 20),
        Sample("d/b", None, BAD, 10, 20, "no answer"),
    ]


def test_a_block_with_a_value_too_few_is_not_taken_apart_wrongly() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Block("d", ("d/a", "d/b"), [1], 10, 20).samples()


def test_a_tag_knows_its_device() -> None:
    assert Tag("press1/good").device == "press1"


def test_a_tag_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tag("press1/good").name = "other"  # type: ignore[misc]


class Model(Strict):
    """For this test."""

    port: int = Field(default=1, description="A port.")


def test_a_strict_model_refuses_what_it_does_not_know_and_does_not_change() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Model.model_validate({"prot": 2})
    with pytest.raises(ValidationError, match="frozen"):
        Model().port = 2  # type: ignore[misc]
