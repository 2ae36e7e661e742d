"""MQTT as the driver and the publishing service share it: settings of a broker, and one connection to it."""
