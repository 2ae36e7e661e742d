"""Where flow documents are found: the folders of the site first, then those that are shipped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(what: str) -> Path:
    """A folder that comes with the product (`flows`, `config`): in the wheel, or beside the package in a checkout."""
    inside = _PACKAGE / "shipped" / what
    return inside if inside.is_dir() else _PACKAGE.parent / what


def find_flow(name: str, folders: Iterable[Path]) -> Path | list[str]:
    """The document of a flow; where there is none, the names of all that exist."""
    roots = [*folders, shipped("flows")]
    for root in roots:
        path = root / name / "flow.yaml"
        if path.is_file():
            return path
    return sorted(str(path.parent.relative_to(root)) for root in roots for path in root.glob("**/flow.yaml"))
