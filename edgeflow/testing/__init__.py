"""What tests of drivers, nodes and flows stand on: conformance suites, golden cases, a loop with a clock of its own."""
