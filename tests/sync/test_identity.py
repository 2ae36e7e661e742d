from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from edgeflow.document import parse
from edgeflow.errors import ConfigError
from edgeflow.model import Secret
from edgeflow.sync import identity
from edgeflow.sync.client import CentralClient
from edgeflow.sync.settings import CentralSettings


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
    beside = {"folder": tmp_path}
    assert Secret.model_validate({"file": "central.token"}, context=beside).read() == "secret"
    assert Secret.model_validate({"file": "absent"}, context=beside).read() is None
    assert Secret(env="CENTRAL").read({"CENTRAL": "secret"}) == "secret"
    assert Secret(env="CENTRAL").read({}) is None


SECRET = "hunter2"


@pytest.mark.parametrize("written", [{}, {"file": "a", "env": "B"}])
def test_a_reference_names_one_place(written: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"either `\{file: name\.secret\}` or `\{env"):
        Secret.model_validate(written)


@pytest.mark.parametrize(
    "central",
    [
        "{url: 'https://central.example', token: hunter2}",
        "{url: 'https://central.example', token: [hunter2]}",
        "{url: 'https://central.example', token: {env: 'hunter2!'}}",
        "{url: 'https://central.example', token: {value: hunter2}}",
        "{url: 'https://user:hunter2@central.example'}",
        "{url: 'https://hunter2@central.example'}",
        "{url: 'htps://user:hunter2@central.example'}",
        "{url: 'https://user:hun/ter2@central.example', token: {file: a}}",
        "{url: 'https://central.example', password: hunter2}",
    ],
)
def test_a_secret_that_stands_where_it_may_not_is_not_repeated(central: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(central, "gateway.yaml").model(CentralSettings)
    assert SECRET not in str(error.value)
    assert "ter2" not in str(error.value)


def test_nor_is_it_where_a_command_is_given_it() -> None:
    with pytest.raises(ConfigError) as error:
        CentralClient("https://user:hunter2@central.example")
    assert SECRET not in str(error.value)


def test_the_section_reads_as_in_the_example_configuration() -> None:
    settings = CentralSettings.model_validate({"url": "https://central.example", "token": {"file": "central.token"}})
    assert str(settings.token) == "the file central.token"
