"""EdgeFlow: an edge gateway agent for industrial devices."""

__version__ = "0.1.0"
