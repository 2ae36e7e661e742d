from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflow.store.documents import Documents, replace_file

FLOW = {"flow": "oee/press", "nodes": {"a": {"kind": "tag", "tag": "press1/good"}}}


def test_a_flow_version_is_the_hash_of_its_content_and_kept_once(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "documents.json")
    version = documents.add_flow(FLOW)
    assert documents.add_flow(json.loads(json.dumps(FLOW))) == version
    other = documents.add_flow({**FLOW, "title": "another"})
    again = Documents(tmp_path / "documents.json")
    assert again.flow(version) == FLOW
    assert again.versions() == [version, other]
    assert again.flow("0" * 64) is None


def test_a_small_document_replaces_the_one_before(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "documents.json")
    documents.put("layout", "press", {"x": 1})
    documents.put("layout", "press", {"x": 2})
    assert documents.get("layout", "press") == {"x": 2}
    assert documents.get("layout", "oven") is None


@settings(deadline=None)  # the disk is slow at times
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_torn_file_gives_way_to_the_copy_before_it(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "documents.json"
    documents = Documents(path)
    version = documents.add_flow(FLOW)
    documents.put("layout", "press", {"x": 1})
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content) - 2)])
    recovered = Documents(path)
    assert recovered.flow(version) == FLOW
    assert recovered.get("layout", "press") is None
    recovered.put("layout", "press", {"x": 3})
    assert Documents(path).get("layout", "press") == {"x": 3}


def test_a_version_whose_content_was_changed_on_the_disk_is_not_given_out_and_can_be_kept_anew(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "documents.json")
    version = documents.add_flow(FLOW)
    file = tmp_path / "flows" / f"{version}.json"
    for spoilt in (file.read_bytes().replace(b"press1/good", b"press1/best"), b"", os.urandom(512)):
        file.write_bytes(spoilt)
        assert documents.flow(version) is None
    assert documents.add_flow(FLOW) == version
    assert documents.flow(version) == FLOW


def test_old_versions_go_and_those_that_are_needed_stay(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "documents.json")
    versions = [documents.add_flow({**FLOW, "title": str(n)}) for n in range(10)]
    for n, version in enumerate(versions):
        os.utime(tmp_path / "flows" / f"{version}.json", ns=(n, n))
    documents.prune({versions[0], versions[4]}, 2)
    assert documents.versions() == [versions[0], versions[4], *versions[8:]]


@pytest.mark.parametrize("name", ["", "../admin", "0" * 63, "G" * 64])
def test_only_a_hash_names_a_version(tmp_path: Path, name: str) -> None:
    (tmp_path / "admin.json").write_text("{}")
    assert Documents(tmp_path / "documents.json").flow(name) is None


@pytest.mark.parametrize(
    "content", [b"{", b"", os.urandom(512), b'{"flows": 5}', b'{"documents": {"x": {"kind": "k"}}}', b"[" * 100_000]
)
def test_two_unreadable_copies_are_set_aside_and_there_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "documents.json"
    for _ in range(6):
        documents = Documents(path)
        documents.put("a", "b", 1)
        path.write_bytes(content)
        path.with_name("documents.json.previous").write_bytes(content)
        assert documents.get("a", "b") is None
        documents.put("a", "b", 2)
        assert Documents(path).get("a", "b") == 2
    aside = list(tmp_path.glob("documents.json.damaged-*"))
    assert 1 <= len(aside) <= 3
    assert {file.read_bytes() for file in aside} == {content}


def test_a_draft_that_a_power_cut_left_behind_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "documents.json"
    documents = Documents(path)
    documents.put("a", "b", 1)
    (tmp_path / ".documents.json.new").write_text('{"half')
    documents.put("a", "b", 2)
    assert Documents(path).get("a", "b") == 2


def test_a_replaced_file_has_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    replace_file(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_entry_that_somebody_has_cut_is_no_document(tmp_path: Path) -> None:
    content = {"documents": {"1": {"kind": "k", "name": "n"}}}
    (tmp_path / "documents.json").write_text(json.dumps(content))
    documents = Documents(tmp_path / "documents.json")
    assert documents.get("k", "n") is None
