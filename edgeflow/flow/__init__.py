"""Flows: the document people write, the lint that reads it, and the compiler that makes it run."""
