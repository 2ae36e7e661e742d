"""The process on the gateway: configuration, assembly, API."""
