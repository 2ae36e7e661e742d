"""The simulated factory: real protocols in front of exact physics, and the truth of what it made beside them."""
