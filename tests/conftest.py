"""How the tests are spread over processes (`make test`): files stay together, the longest come first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_TOGETHER = {
    "tests/packaging/test_wheel.py": "usual ports",
    "tests/system/test_demo.py": "usual ports",
    "tests/system/test_first_steps.py": "usual ports",
}
"""Files that start what listens on the ports that the product has by default: one after the other."""
_LONGEST = ["usual ports", "tests/system/test_crash.py"]


def _part(nodeid: str) -> str:
    """What is run in one process, one after the other."""
    file = nodeid.partition("::")[0]
    return _TOGETHER.get(file, file)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    yield  # others have put them into an order at random
    places = {part: place for place, part in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(_part(item.nodeid), len(places)))


class _Parts(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return _part(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Any:
    return _Parts(config, log)
