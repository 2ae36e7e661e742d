"""The built-in kinds of nodes, one per module."""
