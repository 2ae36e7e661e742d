"""Requests as the examples of the Modbus Application Protocol Specification V1.1b3, section 6, print them."""

from edgeflow_modbus.codec import bits_decoder, layout, registers_decoder
from edgeflow_modbus.config import Device, Point
from edgeflow_modbus.pdu import Table, mask_register, place, read, write_coils, write_registers


def test_coils_are_read_as_in_section_6_1():
    request = read(1, Table.COIL, 19, 19, "")
    assert request.pdu.hex(" ") == "01 00 13 00 13"
    assert request.head.hex(" ") == "01 03"
    assert request.size == 5
    found = bits_decoder(range(19))(bytes.fromhex("CD6B05"))
    assert "".join("01"[bit] for bit in reversed(found[:8])) == "11001101"
    assert "".join("01"[bit] for bit in reversed(found[16:])) == "101"


def test_discrete_inputs_are_read_as_in_section_6_2():
    assert read(1, Table.DISCRETE, 196, 22, "").pdu.hex(" ") == "02 00 c4 00 16"


def test_holding_registers_are_read_as_in_section_6_3():
    request = read(1, Table.REGISTER, 107, 3, "")
    assert request.pdu.hex(" ") == "03 00 6b 00 03"
    assert request.head.hex(" ") == "03 06"
    fields = [(offset, layout(Point(register=offset), Device())) for offset in range(3)]
    assert list(registers_decoder(fields)(bytes.fromhex("022B00000064"))) == [555, 0, 100]


def test_input_registers_are_read_as_in_section_6_4():
    assert read(1, Table.INPUT, 8, 1, "").pdu.hex(" ") == "04 00 08 00 01"


def test_one_coil_is_written_as_in_section_6_5():
    request = write_coils(1, 172, [True], "")
    assert request.pdu.hex(" ") == "05 00 ac ff 00"
    assert request.head == request.pdu, "the answer is an echo"
    assert write_coils(1, 172, [False], "").pdu.hex(" ") == "05 00 ac 00 00"


def test_one_register_is_written_as_in_section_6_6():
    request = write_registers(1, 1, b"\0\3", "")
    assert request.pdu.hex(" ") == "06 00 01 00 03"
    assert request.head == request.pdu, "the answer is an echo"


def test_several_coils_are_written_as_in_section_6_11():
    bits = [True, False, True, True, False, False, True, True, True, False]
    request = write_coils(1, 19, bits, "")
    assert request.pdu.hex(" ") == "0f 00 13 00 0a 02 cd 01"
    assert request.head.hex(" ") == "0f 00 13 00 0a"


def test_several_registers_are_written_as_in_section_6_12():
    request = write_registers(1, 1, bytes.fromhex("000A0102"), "")
    assert request.pdu.hex(" ") == "10 00 01 00 02 04 00 0a 01 02"
    assert request.head.hex(" ") == "10 00 01 00 02"


def test_a_register_is_masked_as_in_section_6_16():
    request = mask_register(1, 4, 0xF2, 0x25, "")
    assert request.pdu.hex(" ") == "16 00 04 00 f2 00 25"
    assert request.head == request.pdu, "the answer is an echo"


def test_a_place_is_named_as_people_say_it():
    assert place(Table.COIL, 3, 1) == "coil 3"
    assert place(Table.INPUT, 0, 100) == "input registers 0 to 99"
