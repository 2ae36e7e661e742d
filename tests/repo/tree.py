"""The files of this repository, as git sees them."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def files() -> tuple[Path, ...]:
    """Every file that is committed or would be, without what is ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(path for name in sorted(told.split("\0")) if name and (path := ROOT / name).is_file())


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def texts() -> dict[str, str]:
    """The text of every file that is one, by its name."""
    found = {}
    for path in files():
        content = path.read_bytes()
        if b"\0" not in content:
            found[shown(path)] = content.decode("utf-8")
    return found


@cache
def modules() -> dict[str, ast.Module]:
    """The Python source of the product, parsed, by file name."""
    product = ("edgeflow/", "drivers/")
    return {
        name: ast.parse(text) for name, text in texts().items() if name.endswith(".py") and name.startswith(product)
    }
