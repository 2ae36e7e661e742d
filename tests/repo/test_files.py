"""What no file of this repository may hold, and what it must."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.repo.tree import ROOT, files, shown, texts

ADDRESS = re.compile(r"\b[a-z][a-z.+]*://(?:[^\s/@\"'`]*@)?(\[[0-9a-f:]+\]|[\w-]+(?:\.[\w-]+)*)")
OURS = re.compile(
    r"""(.*\.)?(example|localhost|invalid|test)   # names that are reserved for documentation and tests
    | (127|10)\.\d+\.\d+\.\d+ | 192\.168\.\d+\.\d+ | 0\.0\.0\.0 | \[::1\]
    | [a-z_]+ | S                                 # a placeholder: host, {port}, ...
    """,
    re.VERBOSE,
)
SOURCES = {
    "www.w3.org",
    "www.apache.org",
    "keepachangelog.com",
    "semver.org",
    "opcfoundation.org",
    "www.opcfoundation.org",
}
OF_PACKAGES = {"feross.org", "github.com", "opencollective.com", "paulmillr.com", "tidelift.com", "www.patreon.com"}
"""npm writes into its lock file where a package asks for money; nothing is fetched from there."""


def test_every_address_is_one_that_we_know() -> None:
    """Where packages come from is a matter of the machine, not of this repository."""
    unknown = {
        f"{name}: {host}"
        for name, text in texts().items()
        for host in ADDRESS.findall(text)
        if not OURS.fullmatch(host)
        and host not in SOURCES
        and not (name.endswith("/package-lock.json") and host in OF_PACKAGES)
    }
    assert not unknown


def test_no_file_speaks_of_the_machine_that_it_was_written_on() -> None:
    path = re.compile(r"(?<![\w./-])/(?:work|home|Users|mnt)/\w[\w./-]*|[A-Z]:\\\w+")
    found = {f"{name}: {place}" for name, text in texts().items() for place in path.findall(text)}
    assert not found


LOCKS = [shown(path) for path in files() if path.name == "package-lock.json"]


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_of_npm_holds_a_download_address(name: str) -> None:
    lock = json.loads(texts()[name])
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if "integrity" not in package and not package.get("link")]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt", "requirements-dev.txt"])
def test_every_locked_package_has_one_version_and_hashes(name: str) -> None:
    entries = re.sub(r"\s*\\\n\s*", " ", (ROOT / name).read_text("utf-8")).splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^#]+?)?( --hash=sha256:[0-9a-f]{64})+", entry.strip()), entry


def test_the_locks_fit_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    wanted = {
        "requirements.txt": project["project"]["dependencies"],
        "requirements-build.txt": groups["build"],
        "requirements-dev.txt": [
            *project["project"]["dependencies"],
            *groups["build"],
            *(one for one in groups["dev"] if isinstance(one, str)),
        ],
    }
    locked = {}
    for name, asked in wanted.items():
        pins = dict(re.findall(r"^([a-z0-9-]+)==([\w.]+)", (ROOT / name).read_text("utf-8"), re.MULTILINE))
        locked[name] = pins
        for text in asked:
            one = Requirement(text)
            pin = pins.get(re.sub(r"[-_.]+", "-", one.name).lower())
            assert pin, f"{name} lacks {one.name}: make lock"
            assert Version(pin) in one.specifier, f"{name} has {one.name} {pin}, not {one.specifier}: make lock"
    for name in ("requirements.txt", "requirements-build.txt"):
        assert locked[name].items() <= locked["requirements-dev.txt"].items(), f"{name} has other versions: make lock"


def test_every_driver_and_every_flow_explains_itself() -> None:
    names = {shown(path) for path in files()}
    folders = {name.rsplit("/", 1)[0] for name in names if re.fullmatch(r"drivers/\w+/__init__\.py", name)}
    folders |= {name.rsplit("/", 1)[0] for name in names if re.fullmatch(r"flows/.+/flow\.yaml", name)}
    assert len(folders) > 5
    for folder in sorted(folders):
        assert f"{folder}/README.md" in names, f"{folder} has no README.md"
        assert texts()[f"{folder}/README.md"].startswith("# "), f"{folder}/README.md has no title"


def test_every_flow_that_is_shipped_has_golden_cases() -> None:
    names = [PurePosixPath(shown(path)) for path in files()]
    flows = {name.parent for name in names if name.name == "flow.yaml" and name.parts[0] == "flows"}
    tried = {name.parent.parent for name in names if name.parent.name == "cases" and name.suffix == ".yaml"}
    assert flows
    assert flows <= tried
