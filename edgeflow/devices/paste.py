"""Parts of a configuration as text to paste: one tag on a line, as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from edgeflow.devices.taglist import Imported


def tags_block(tags: Mapping[str, Mapping[str, Any]], indent: str = "") -> str:
    """A `tags:` block, one tag on a line."""
    width = max((len(name) for name in tags), default=0) + 1
    lines = [f"{indent}  {f'{name}:':<{width}} {one_line(tag)}" for name, tag in tags.items()]
    return "\n".join([f"{indent}tags:", *lines, ""])


def one_line(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return str(text).removesuffix("\n").removesuffix("\n...")


class _Dumper(yaml.SafeDumper):
    """Whole numbers and text as people write them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - part of the library's protocol
        return True


def devices_block(imported: Imported, link: str) -> str:
    """The devices of a list as a part of a configuration."""
    lines = ["devices:"]
    for name, draft in imported.devices.items():
        lines += [f"  {name}:", f"    link: {link}"]
        lines += [f"    {key}: {one_line(value)}" for key, value in draft.keys.items()]
        lines.append(tags_block(draft.tags, "    "))
    return "\n".join(lines)
