"""Who may decide what an output shows: requests, priorities, leases."""
