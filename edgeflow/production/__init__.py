"""States, counters, calendars and OEE, as pure logic."""
