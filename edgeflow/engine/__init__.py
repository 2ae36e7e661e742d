"""The pure, synchronous core: timed inputs in, effects out."""
