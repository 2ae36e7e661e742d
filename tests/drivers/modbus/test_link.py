"""What a person may write of a connection, and what he is told when it does not go together."""

import pytest

from edgeflow.document import parse
from edgeflow.errors import ConfigError
from edgeflow_modbus import DRIVER
from edgeflow_modbus.config import Link


def link(text):
    return parse(text, "gateway.yaml").model(Link)


@pytest.mark.parametrize(
    ("text", "transport", "where"),
    [
        ("{host: 10.0.0.5}", "tcp", "10.0.0.5:502"),
        ("{host: 10.0.0.5, port: 1502, connections: 2}", "tcp", "10.0.0.5:1502"),
        ("{host: plc1.plant, transport: udp}", "udp", "plc1.plant:502"),
        ("{host: plc1.plant, transport: tls, ca: ca.pem, certificate: us.pem, key: us.key}", "tls", "plc1.plant:802"),
        ("{serial: /dev/ttyUSB0}", "rtu", "/dev/ttyUSB0"),
        ("{serial: /dev/ttyUSB0, baud: 19200, parity: even, stop_bits: 1, pause: 20 ms}", "rtu", "/dev/ttyUSB0"),
        ("{serial: /dev/ttyUSB0, transport: ascii, data_bits: 7, parity: even}", "ascii", "/dev/ttyUSB0"),
        ("{host: 10.0.0.6, port: 4196, transport: rtu-over-tcp}", "rtu-over-tcp", "10.0.0.6:4196"),
        ("{host: 10.0.0.6, port: 4196, transport: ascii-over-tcp, pause: 20 ms}", "ascii-over-tcp", "10.0.0.6:4196"),
    ],
)
def test_a_link_is_written_in_one_line(text, transport, where):
    written = link(text)
    assert (written.transport, written.where) == (transport, where)
    assert DRIVER.exclusive(written) is (written.serial is not None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "`transport: tcp` needs a device, for example `host: 10.0.0.5`"),
        ("{transport: rtu}", "`transport: rtu` needs a serial line, for example `serial: /dev/ttyUSB0`"),
        ("{transport: rtu, host: 10.0.0.5}", "write `transport: rtu-over-tcp` for a converter in the network"),
        ("{transport: tcp, serial: /dev/ttyUSB0}", "write `transport: rtu` or `transport: ascii`"),
        ("{host: 10.0.0.5, transport: rtu-over-tcp}", "a converter has a port of its own; write it"),
        ("{host: 10.0.0.5, baud: 9600}", "`baud` does not go with `transport: tcp`, which has host, port, connections"),
        ("{host: 10.0.0.5, baud: 9600}", "it goes with rtu and ascii"),
        ("{host: 10.0.0.5, ca: ca.pem}", "it goes with tls"),
        ("{serial: /dev/ttyUSB0, connections: 2}", "it goes with tcp and tls"),
        ("{host: a, port: 1, transport: rtu-over-tcp, connections: 2}", "it goes with tcp and tls"),
        ("{serial: /dev/ttyUSB0, baud: 9601}", "9601 baud is not usual; write one of 300, 600, 1200"),
        ("{serial: /dev/ttyUSB0, data_bits: 7}", "`transport: rtu` takes 8 data bits"),
        ("{host: a, transport: tls, key: us.key}", "`key` goes with `certificate`"),
        ("{host: a, transport: rs485}", "is not one of"),
        ("{host: a, connections: 3}", "is not one of"),
        ("{hosst: a}", "unknown key 'hosst'; did you mean 'host'?"),
    ],
)
def test_a_wrong_link_says_what_to_write_instead(text, said):
    with pytest.raises(ConfigError) as error:
        link(text)
    assert said in str(error.value)
