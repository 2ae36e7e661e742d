"""The errors of EdgeFlow: a small tree, each with a message a person can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78


class EdgeFlowError(Exception):
    """Everything EdgeFlow raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a document: where it is, what it is, and what to write instead.

    `line` and `column` count from 1; 0 means that the place is not known. `path` is dotted.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place} {self.path}: {self.message}" if self.path else f"{place} {self.message}"


class ConfigError(EdgeFlowError):
    """A document cannot be used; `problems` says where and why, one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class LinkDown(EdgeFlowError):
    """The link is lost or did not answer by the deadline; its session must be discarded."""


class Rejected(EdgeFlowError):
    """The other side, or a rule of ours, said no; asking again in the same way is no use."""


class Unconfirmed(Rejected):
    """A value was sent and acknowledged, but the device holds another one, or it cannot be read back: no refusal."""


class Silent(Rejected):
    """One device behind a link did not answer in time; the link itself serves the others.

    `points`: what a request of several asked for, as indices into the prepared points; None speaks of the device.
    """

    def __init__(self, reason: str, points: tuple[int, ...] | None = None) -> None:
        super().__init__(reason)
        self.points = points
