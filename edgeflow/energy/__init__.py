"""Energy and demand per interval, as pure logic."""
