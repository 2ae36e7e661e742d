"""Links, devices and outputs: everything that speaks with the plant through drivers."""
