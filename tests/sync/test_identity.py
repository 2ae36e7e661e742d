from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from edgeflow.sync import identity
from edgeflow.sync.settings import CentralSettings, TokenReference


def test_the_same_token_is_tried_again_with_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "central.enrolling.json"
    first = identity.draft(path, "token")
    assert identity.draft(path, "token") == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert "token" not in path.read_text().replace('"enrolled_with"', "")


def test_another_token_gets_another_key(tmp_path: Path) -> None:
    path = tmp_path / "central.enrolling.json"
    first = identity.draft(path, "one")
    second = identity.draft(path, "two")
    assert second.key != first.key
    assert second.enrolled_by("two")
    assert not second.enrolled_by("one")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"gateway": 5}'])
def test_a_file_that_cannot_be_read_is_no_identity(tmp_path: Path, content: str) -> None:
    path = tmp_path / "central.json"
    path.write_text(content)
    assert identity.load(path) is None


def test_a_token_is_read_from_a_file_beside_the_configuration_or_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "central.token").write_text("secret\n")
    assert TokenReference(file=Path("central.token")).read(tmp_path) == "secret"
    assert TokenReference(file=Path("absent")).read(tmp_path) is None
    assert TokenReference(env="CENTRAL").read(tmp_path, {"CENTRAL": " secret "}) == "secret"
    assert TokenReference(env="CENTRAL").read(tmp_path, {}) is None


@pytest.mark.parametrize("written", [{}, {"file": "a", "env": "B"}])
def test_a_reference_names_one_place(written: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"either `file: central\.token` or `env"):
        TokenReference.model_validate(written)


def test_the_section_reads_as_in_the_example_configuration() -> None:
    settings = CentralSettings.model_validate({"url": "https://central.example", "token": {"file": "central.token"}})
    assert str(settings.token) == "the file central.token"
