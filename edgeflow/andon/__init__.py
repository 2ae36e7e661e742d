"""Calls and the patterns of lights, as pure logic."""
