"""A tool whose whole work is to keep something fails where that cannot be kept."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from edgeflow.errors import Rejected
from edgeflow.store.homes import FolderHome
from edgeflow_opcua.trust import TRUSTED, Trust
from tests.cli.shop import here
from tests.drivers.opcua.servers import make_pair


def test_an_approval_that_cannot_be_kept_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, home = make_pair(tmp_path, "server"), FolderHome(tmp_path / "state" / "drivers" / "opcua")
    with suppress(Rejected):
        Trust(home).check(pair.der, "opc.tcp://127.0.0.1:4840", "urn:edgeflow:test:secured")
    home.flush()
    approve = ("opcua", "trust", pair.fingerprint, "--url", "opc.tcp://127.0.0.1:4840", "--state", tmp_path / "state")

    def full(_: FolderHome) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(FolderHome, "flush", full)
        done = here(*approve)
    assert (done.returncode, "cannot be written (No space left on device)" in done.stderr) == (1, True)

    done = here(*approve)
    assert (done.returncode, done.stderr) == (0, "")
    (kept,) = Trust(FolderHome(tmp_path / "state" / "drivers" / "opcua")).entries(TRUSTED)
    assert kept.certificate == pair.certificate
