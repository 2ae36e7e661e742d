"""What one flow may cost the others: its share of the loop, its records, the size of its states."""

from __future__ import annotations

import sys
import time

from edgeflow.units import NS_PER_S

SHARE = 0.25
"""So much of the loop's computing time one flow may take, in the long run."""
BURST_NS = 40_000_000
"""So much more it may take at once; what comes beyond is left out until it has paid for it."""
TICK_NS, TICK_MESSAGES = 40_000_000, 512
"""So long one tick of so many messages may compute; it cannot be interrupted, and everything else waits for it."""
PATIENCE_NS = 3 * NS_PER_S // 2
"""A flow that is beyond its share for so long is stopped."""
RECORDS, RECORDS_NS = 2_000, 10 * NS_PER_S
"""So many records a flow may make in so long: 12,000 a minute."""
NODE_BYTES = 2_000_000
FLOW_BYTES = 8_000_000
"""How large the saved state of a node, and of all nodes of a flow, may be."""


class Budget:
    """The computing time of one flow, told from the time in which the system let others run.

    `allowed_ns`: how far the flow's busy time may come before it must be looked at again. Until then it costs
    its ticks one comparison.
    """

    __slots__ = ("_busy_ns", "_cpu_ns", "_debt_ns", "_mono_ns", "_over_since_ns", "allowed_ns")

    def __init__(self, mono_ns: int, *, limited: bool) -> None:
        self.allowed_ns = BURST_NS if limited else sys.maxsize
        self._debt_ns = self._busy_ns = self._over_since_ns = 0
        self._cpu_ns, self._mono_ns = time.thread_time_ns(), mono_ns

    def over(self, busy_ns: int, mono_ns: int) -> bool:
        """Whether the flow has taken more than its share, now that it has been busy for so long in all."""
        cpu_ns = time.thread_time_ns()
        used_ns = min(busy_ns - self._busy_ns, cpu_ns - self._cpu_ns)
        self._debt_ns = max(0, self._debt_ns + used_ns - round((mono_ns - self._mono_ns) * SHARE))
        self._busy_ns, self._cpu_ns, self._mono_ns = busy_ns, cpu_ns, mono_ns
        self.allowed_ns = busy_ns + max(-1, BURST_NS - self._debt_ns)
        if self._debt_ns < BURST_NS // 2:
            self._over_since_ns = 0
        elif self._debt_ns > BURST_NS and not self._over_since_ns:
            self._over_since_ns = mono_ns
        return self._debt_ns > BURST_NS

    def hopeless(self, mono_ns: int) -> bool:
        """Whether it has been so for too long."""
        return bool(self._over_since_ns) and mono_ns - self._over_since_ns > PATIENCE_NS
