"""What a person writes for OPC UA, and how values are converted for writing."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from edgeflow.errors import Rejected
from edgeflow_opcua import Device, Link, Point
from edgeflow_opcua.binary import Decoder
from edgeflow_opcua.value import as_variant, to_scalar

V = ua.VariantType


@pytest.mark.parametrize(
    "node",
    [
        "i=2258",
        "ns=2;i=7",
        "ns=2;s=Filler.Good",
        "ns=3;s=a;b=c",
        "nsu=urn:maker:machine;s=x",
        "nsu=http://maker.example/UA/;i=5001",
        "ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a",
        "ns=1;b=M/RbKBsRVkePCePcx24oRA==",
    ],
)
def test_every_form_of_a_node_is_taken(node: str) -> None:
    assert Point(node=node).node == node


@pytest.mark.parametrize("node", ["", "Filler.Good", "ns=two;s=x", "ns=2,s=x", "ns=2;g=12", "nsu=;s=x", "s="])
def test_a_mistyped_node_is_refused_with_an_example(node: str) -> None:
    with pytest.raises(ValidationError, match=r"write a node like `ns=2;s=Filler\.Good`"):
        Point(node=node)


@pytest.mark.parametrize("url", ["10.0.0.7:4840", "http://10.0.0.7", "opc.tcp://", "opc.tcp://host:port"])
def test_a_mistyped_address_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValidationError, match=r"write the address like `opc\.tcp://"):
        Link(url=url)


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="leave user name and password out"):
        Link(url="opc.tcp://me:secret@10.0.0.7:4840")


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least `1 ms`"):
        Device.model_validate({"heartbeat": "0 s"})


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(V.SByte, -128, 127), (V.Byte, 0, 255), (V.Int16, -32768, 32767), (V.UInt16, 0, 65535),
     (V.Int32, -2147483648, 2147483647), (V.UInt32, 0, 4294967295),
     (V.Int64, -9223372036854775808, 9223372036854775807), (V.UInt64, 0, 18446744073709551615)],
)  # fmt: skip
def test_integers_are_written_within_their_range_only(kind: ua.VariantType, low: int, high: int) -> None:
    for value in (low, high):
        assert as_variant(value, kind.value) == ua.Variant(value, kind)
    for value in (low - 1, high + 1):
        with pytest.raises(Rejected, match="outside"):
            as_variant(value, kind.value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1.5, V.Int32), ("1", V.Int32), (True, V.Int32), (1, V.Boolean), ("x", V.Double), (True, V.Double), (1e39, V.Float),
     (float("nan"), V.Double), (float("inf"), V.Int64), (5, V.String), ("x", V.ByteString), ("x", V.DateTime),
     (None, V.Double), (None, V.String)],
)  # fmt: skip
def test_what_would_be_changed_by_writing_is_rejected(value: Any, kind: ua.VariantType) -> None:
    with pytest.raises(Rejected):
        as_variant(value, kind.value)


@pytest.mark.parametrize(("value", "kind", "sent"), [(3.0, V.UInt16, 3), (3, V.Double, 3.0), ("x", V.String, "x")])
def test_a_value_is_written_in_the_type_of_its_node(value: Any, kind: ua.VariantType, sent: Any) -> None:
    variant = as_variant(value, kind.value)
    assert (variant.Value, type(variant.Value), variant.VariantType) == (sent, type(sent), kind)


def test_an_array_keeps_its_shape_and_ragged_rows_are_rejected() -> None:
    matrix = as_variant([[1, 2], [3, 4], [5, 6]], V.Int16.value, many=True)
    assert (matrix.Value, matrix.Dimensions) == ([1, 2, 3, 4, 5, 6], [3, 2])
    with pytest.raises(Rejected, match="not of the same length"):
        as_variant([[1, 2], [3]], V.Int16.value, many=True)


def test_the_type_of_a_node_is_that_of_the_value_it_holds() -> None:
    def kind(variant: ua.Variant) -> object:
        return Decoder(struct_to_binary(ua.DataValue(variant))).kind()

    assert kind(ua.Variant(1, V.Int32)) == (6, False)
    assert kind(ua.Variant([1], V.Int32)) == (6, True)
    assert kind(ua.Variant(None, V.Null)) is None


@given(some.sampled_from(["boolean", "integer", "number", "text", "bytes"]), some.data())
def test_a_value_of_a_server_is_shown_or_refused_with_a_reason(kind: Any, data: some.DataObject) -> None:
    plain = (
        some.none() | some.booleans() | some.integers(-(2**63), 2**64 - 1) | some.floats() | some.text() | some.binary()
    )
    value = data.draw(plain | some.lists(plain) | some.dictionaries(some.text(), plain))
    reason = ""
    try:
        shown = to_scalar(value, kind)
    except ValueError as error:
        shown, reason = None, str(error)
    assert (shown is None) == ("the server gives" in reason)
