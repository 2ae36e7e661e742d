"""One simulated plant for all commands that are tried on one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.shop import Plant


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant(tmp_path_factory.mktemp("plant")) as plant:
        yield plant
