from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgeflow.store import homes as homes_module
from edgeflow.store.homes import FolderHome, Homes


def test_what_was_put_is_there_at_once_and_after_a_restart(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    home = homes.of("opcua")
    home.put("trusted/ab12.der", b"certificate")
    assert home.get("trusted/ab12.der") == b"certificate"
    homes.flush()
    again = Homes(tmp_path).of("opcua")
    assert again.get("trusted/ab12.der") == b"certificate"
    assert again.names() == ["trusted/ab12.der"]


def test_drivers_do_not_see_what_others_keep(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    homes.of("opcua").put("own/key.pem", b"secret")
    homes.flush()
    assert homes.of("modbus").get("own/key.pem") is None
    assert homes.of("modbus").names() == []


def test_what_is_removed_is_gone_before_and_after_it_is_saved(tmp_path: Path) -> None:
    home = Homes(tmp_path).of("opcua")
    home.put("pending/1.der", b"x")
    home.flush()
    home.put("pending/1.der", None)
    assert home.get("pending/1.der") is None
    assert home.names("pending/") == []
    home.flush()
    assert not (tmp_path / "opcua/pending/1.der").exists()


def test_a_file_that_a_person_copies_in_is_found(tmp_path: Path) -> None:
    home = Homes(tmp_path).of("opcua")
    (tmp_path / "opcua/trusted").mkdir(parents=True)
    (tmp_path / "opcua/trusted/server.der").write_bytes(b"by hand")
    assert home.names("trusted/") == ["trusted/server.der"]
    assert home.get("trusted/server.der") == b"by hand"


def test_only_the_owner_may_read_what_is_kept(tmp_path: Path) -> None:
    home = Homes(tmp_path).of("opcua")
    home.put("own/key.pem", b"secret")
    home.flush()
    path = tmp_path / "opcua/own/key.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../other/key", "/etc/passwd", "a//b", ".hidden", "Own/key", ""])
def test_a_name_that_is_no_path_below_the_home_is_a_bug_and_told(tmp_path: Path, name: str) -> None:
    home = Homes(tmp_path).of("opcua")
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        home.put(name, b"x")


def test_a_full_disk_loses_nothing_that_can_be_saved_later(tmp_path: Path) -> None:
    (tmp_path / "modbus").write_text("a file where the folder should be")
    home = Homes(tmp_path).of("modbus")
    home.put("learned/a", b"{}")
    with pytest.raises(OSError, match="modbus"):
        home.flush()
    assert home.get("learned/a") == b"{}"
    (tmp_path / "modbus").unlink()
    home.flush()
    assert (tmp_path / "modbus/learned/a").read_bytes() == b"{}"


def test_a_home_in_another_state_folder_says_how_a_command_finds_it(tmp_path: Path) -> None:
    assert FolderHome(tmp_path / "drivers" / "opcua").option == f" --state {tmp_path}"
    assert FolderHome(Path("/var/lib/edgeflow/drivers/opcua")).option == ""


def test_a_home_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes_module, "MOST_NAMES", 5)
    home = FolderHome(tmp_path / "drivers" / "fake")
    home.put("large", b"x" * (homes_module.MOST_BYTES + 1))
    assert home.get("large") is None
    for n in range(8):
        home.put(f"n{n}", b"x")
    assert home.names() == ["n0", "n1", "n2", "n3", "n4"]
    home.put("n0", b"other")
    home.put("n1", None)
    home.put("n7", b"x")
    home.flush()
    assert home.names() == ["n0", "n2", "n3", "n4", "n7"]
    (tmp_path / "drivers" / "fake" / "folder").mkdir()
    assert home.get("folder") is None, "what cannot be read is not there, and no error of the driver"
