"""The binary decoder against the library's own encoder, and against bytes that are none."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary, variant_to_binary
from hypothesis import given
from hypothesis import strategies as some

from edgeflow_opcua.binary import Decoder, Malformed, Published, head, publish_response, shaped, ticks_ns

V = ua.VariantType
TIMES = some.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=some.just(UTC))  # noqa: DTZ001 - hypothesis wants them bare
TEXT = some.text(some.characters(exclude_categories=["Cs"]))
VALUES: dict[ua.VariantType, some.SearchStrategy[Any]] = {
    V.Boolean: some.booleans(), V.SByte: some.integers(-128, 127), V.Byte: some.integers(0, 255),
    V.Int16: some.integers(-(2**15), 2**15 - 1), V.UInt16: some.integers(0, 2**16 - 1),
    V.Int32: some.integers(-(2**31), 2**31 - 1), V.UInt32: some.integers(0, 2**32 - 1),
    V.Int64: some.integers(-(2**63), 2**63 - 1), V.UInt64: some.integers(0, 2**64 - 1),
    V.Float: some.floats(width=32, allow_nan=False), V.Double: some.floats(allow_nan=False), V.String: TEXT,
    V.ByteString: some.binary(), V.DateTime: TIMES, V.Guid: some.uuids(),
    V.QualifiedName: some.builds(ua.QualifiedName, TEXT, some.integers(0, 2**15 - 1)),
    V.LocalizedText: some.builds(ua.LocalizedText, TEXT),
    V.NodeId: some.builds(ua.NodeId, some.integers(0, 2**32 - 1) | TEXT.filter(bool), some.integers(0, 255)),
}  # fmt: skip


@given(some.sampled_from(list(VALUES)), some.data(), some.booleans())
def test_what_the_library_encodes_is_decoded(kind: ua.VariantType, data: some.DataObject, many: bool) -> None:
    one = VALUES[kind]
    value = data.draw(some.lists(one, max_size=5) if many else one)
    source = Decoder(variant_to_binary(ua.Variant(value, kind, is_array=many)))
    assert source.variant() == value
    assert source.at == len(source.data)


ITEMS = some.lists(
    some.tuples(
        some.integers(0, 2**32 - 1),
        some.sampled_from([V.Double, V.Int32, V.Boolean, V.String, V.LocalizedText]),
        some.booleans(),
        some.sampled_from([None, 0, 0x40920000, 0x80050000]),
        some.none() | TIMES,
        some.none() | TIMES,
        some.booleans(),
    ),
    max_size=6,
)


@given(ITEMS, some.data())
def test_what_a_server_publishes_is_decoded_as_the_library_does(items: list[Any], data: some.DataObject) -> None:
    response, wanted = ua.PublishResponse(), []
    notification = ua.DataChangeNotification()
    for handle, kind, empty, code, source, server, precise in items:
        value = None if empty else data.draw(VALUES[kind])
        status = None if code is None else ua.StatusCode(code)
        content = ua.DataValue(ua.Variant(None, V.Null) if empty else ua.Variant(value, kind), status, source, server)
        if precise and source:
            content.SourcePicoseconds = 5
        notification.MonitoredItems.append(ua.MonitoredItemNotification(handle, content))
        wanted.append((handle, value, code or 0, nanoseconds(source) or nanoseconds(server)))
    events = ua.EventNotificationList([ua.EventFieldList(3, [ua.Variant(7, V.UInt16), ua.Variant(None, V.Null)])])
    response.Parameters.SubscriptionId = 9
    response.Parameters.NotificationMessage.SequenceNumber = 4
    response.Parameters.NotificationMessage.NotificationData = [notification, events]
    result, published = published_in(struct_to_binary(response))
    assert (result, published.subscription, published.sequence, published.news) == (0, 9, 4, True)
    assert published.changes == wanted
    assert published.events == [(3, [7, None])]


def published_in(data: bytes) -> tuple[int, Published]:
    source = Decoder(data)
    return head(source), publish_response(source)


def values_in(data: bytes) -> list[Any]:
    source = Decoder(data)
    head(source)
    return source.many(Decoder.data_value)


def nanoseconds(moment: datetime | None) -> int:
    return 0 if moment is None else (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def test_a_keep_alive_is_no_news_and_the_end_of_a_subscription_is_told() -> None:
    response = ua.PublishResponse()
    assert not published_in(struct_to_binary(response))[1].news
    end = ua.StatusChangeNotification(ua.StatusCode(0x800A0000))
    response.Parameters.NotificationMessage.NotificationData = [end]
    assert published_in(struct_to_binary(response))[1].ended == 0x800A0000


def test_a_structure_stays_bytes_so_that_one_nobody_knows_harms_no_other() -> None:
    response = ua.ReadResponse()
    strange = ua.ExtensionObject(ua.NodeId(884, 0), b"\x01")  # a Range, cut off
    response.Results = [ua.DataValue(ua.Variant(strange)), ua.DataValue(ua.Variant(2.5))]
    values = values_in(struct_to_binary(response))
    assert (values[0][0].Body, values[1][0]) == (b"\x01", 2.5)


@given(some.binary(max_size=60))
def test_bytes_that_are_none_are_malformed_and_nothing_else(data: bytes) -> None:
    for read in (published_in, values_in, lambda raw: Decoder(raw).data_value()):
        try:
            read(data)
        except Malformed:
            continue


def test_an_array_longer_than_the_bytes_is_malformed_at_once() -> None:
    with pytest.raises(Malformed):
        Decoder(struct.pack("<i", 2**31 - 1)).many(Decoder.byte)
    with pytest.raises(Malformed):
        Decoder(struct.pack("<i", 2**31 - 1)).numbers(11)


def test_times_before_1970_and_after_9000_are_no_times() -> None:
    # 1 January 2000 is 10,957 days after 1970, and 1970 is 134,774 days after 1601.
    assert ticks_ns((134_774 + 10_957) * 86_400 * 10**7) == 10_957 * 86_400 * 10**9
    assert [ticks_ns(ticks) for ticks in (0, -5, 134_774 * 86_400 * 10**7, 2**63 - 1)] == [0, 0, 0, 0]


def test_dimensions_that_do_not_fit_leave_the_array_flat() -> None:
    assert shaped([1, 2, 3, 4], [2, 2]) == [[1, 2], [3, 4]]
    assert shaped([1, 2, 3], [2, 2]) == [1, 2, 3]


INT32 = struct.Struct("<i").pack


@pytest.mark.parametrize(
    ("variant", "why"),
    [
        # Arrays of nothing take no bytes however long they are: sixty kilobytes claimed to be gigabytes.
        (b"\x98" + INT32(12_000) + (b"\x80" + INT32(30_000)) * 12_000, "takes no bytes"),
        (b"\x95" + INT32(300_000) + b"\x00" * 300_000, "more than 200000 elements"),
        (b"\x98" + INT32(3) + (b"\x95" + INT32(90_000) + b"\x00" * 90_000) * 3, "more than 200000 elements"),
    ],
)
def test_a_few_bytes_that_claim_to_be_very_much_are_refused(variant: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        Decoder(variant).variant()


def test_an_array_of_very_many_dimensions_stays_flat() -> None:
    dimensions = 100_000
    variant = b"\xc6" + INT32(1) + INT32(7) + INT32(dimensions) + INT32(2**31 - 1) * dimensions
    assert Decoder(variant).variant() == [7]


def test_a_response_of_very_many_bytes_is_not_taken_apart() -> None:
    with pytest.raises(Malformed, match="bytes at once"):
        values_in(bytes(17_000_000))
