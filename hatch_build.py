"""Refuses to build a wheel without its pages."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PagesHook(BuildHookInterface):  # type: ignore[type-arg] # hatchling gives no types to fill in
    """The pages are built by `make setup` (npm), never by the build backend."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Called before the wheel is put together; an editable install may go without pages."""
        if self.target_name != "wheel" or version == "editable":
            return
        for page in ("agent", "central"):
            index = Path(self.root, "edgeflow", "web", "pages", page, "index.html")
            if not index.is_file():
                raise FileNotFoundError(f"{index} is missing: run `make setup` first")
