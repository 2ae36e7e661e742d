from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeflow.model import Record
from edgeflow.store.wire import WireRecord, encode
from edgeflow.sync.protocol import Batch, Lost, batch_json

EPOCH = "00c0ffee00c0ffee"


def row(n: int) -> tuple[int, bytes]:
    return n, encode(Record("oee", str(n), 1, 1_763_618_400_000_000_000, {"n": n}))


@given(held=st.sets(st.integers(min_value=1, max_value=60), min_size=1))
def test_a_batch_stands_for_every_number_from_its_first_to_its_last(held: set[int]) -> None:
    batch = Batch.model_validate_json(batch_json(EPOCH, 1, [row(n) for n in sorted(held)]))
    following, found = batch.seq, set()
    for item in batch.records:
        if isinstance(item, Lost):
            following += item.lost
        else:
            assert item.data == {"n": following}
            found.add(following)
            following += 1
    assert found == held
    assert following == max(held) + 1


def test_the_batch_is_what_the_design_says() -> None:
    batch = orjson.loads(batch_json(EPOCH, 7, [row(7)]))
    assert list(batch) == ["protocol", "epoch", "seq", "records"]
    assert list(batch["records"][0]) == [
        *("stream", "key", "version", "at", "from", "to", "place", "flow", "flow_version"),
        *("quality", "coverage", "status", "data"),
    ]


@pytest.mark.parametrize("epoch", ["", "123", "00C0FFEE00C0FFEE", "00c0ffee00c0ffee0", "zzzzzzzzzzzzzzzz"])
def test_an_epoch_is_sixteen_hexadecimal_digits(epoch: str) -> None:
    with pytest.raises(ValidationError):
        Batch.model_validate_json(batch_json(epoch, 1, [row(1)]))


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text(max_size=5), JSON_LIKE, max_size=4))
def test_whatever_a_flow_puts_into_a_record_central_can_read_and_keep(data: dict[str, object]) -> None:
    text = encode(Record("oee", "a", 1, 1_763_618_400_000_000_000, data))
    record = WireRecord.model_validate_json(text)
    assert WireRecord.model_validate_json(record.model_dump_json(by_alias=True)) == record
