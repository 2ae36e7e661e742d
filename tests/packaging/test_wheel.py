"""The wheel holds everything, and what is installed from it alone serves everything."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from openapi_spec_validator import validate

from edgeflow.agent.api import VIEWS
from edgeflow.driver import names as drivers
from tests.packaging.conftest import ROOT, build_wheel

PRODUCT = ("config", "drivers", "edgeflow", "flows")
FILES = ("LICENSE", "README.md", "hatch_build.py", "pyproject.toml")


def test_the_wheel_holds_pages_flows_configurations_and_drivers(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for page in ("agent", "central"):
        assert f"edgeflow/web/pages/{page}/index.html" in held
    for folder in ("flows", "config"):
        shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.yaml")}
        assert shipped
        assert {f"edgeflow/shipped/{name}" for name in shipped} <= held
    for package in (ROOT / "drivers").glob("*/__init__.py"):
        kinds = ("*.py", "*.yaml")
        found = (path for kind in kinds for path in package.parent.rglob(kind))
        source = {path.relative_to(ROOT / "drivers").as_posix() for path in found}
        assert source <= held
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "edgeflow").rglob("*.py")}
    assert modules <= held


def test_the_wheel_holds_nothing_that_only_developers_need(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    own = re.compile(r"(edgeflow|edgeflow_\w+|edgeflow-[\w.]+\.dist-info)/")
    assert not [name for name in held if not own.match(name)]
    assert not [name for name in held if "node_modules" in name or "__pycache__" in name or "/." in name]


@pytest.mark.parametrize("page", ["agent", "central"])
def test_no_wheel_is_built_without_its_pages(tmp_path: Path, page: str) -> None:
    tree = tmp_path / "tree"
    for name in PRODUCT:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    shutil.rmtree(tree / "edgeflow/web/pages" / page)
    done = build_wheel(tree, tmp_path / "dist")
    assert done.returncode != 0
    assert f"pages/{page}/index.html is missing: run `make setup` first" in done.stderr + done.stdout
    assert not list(tmp_path.glob("dist/*.whl"))


def bare(installed: Path) -> dict[str, str]:
    """An environment in which there is nothing but the installation: no Node, no checkout."""
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG", "TMPDIR")}
    return kept | {"PATH": f"{installed}:/usr/sbin", "PYTHONWARNINGS": "error::ResourceWarning"}


def test_the_installed_product_finds_its_drivers_flows_and_configurations(installed: Path, tmp_path: Path) -> None:
    def told(*command: str) -> str:
        line = [installed / command[0], *command[1:]]
        done = subprocess.run(line, check=False, cwd=tmp_path, env=bare(installed), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    script = "import edgeflow, edgeflow.driver as d, edgeflow.flow.library as l, json"
    script += "; print(json.dumps([edgeflow.__file__, sorted(d.names()), str(l.shipped('config'))]))"
    place, found, config = json.loads(told("python", "-c", script))
    assert Path(place).is_relative_to(installed.parent)
    assert found == sorted(drivers())
    for name in ("demo.yaml", "gateway.yaml"):
        assert "is valid" in told("edgeflow", "validate", f"{config}/{name}")
    assert re.search(r"^[1-9]\d* passed, 0 failed$", told("edgeflow", "test"), re.MULTILINE)


@pytest.fixture(scope="module")
def demo(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses that the demo prints, installed from the wheel."""
    folder = tmp_path_factory.mktemp("demo")
    said = folder / "said.txt"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [installed / "edgeflow", "demo"], cwd=folder, env=bare(installed), stdout=out, stderr=out
        )
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 90
        while "Ctrl-C ends everything" not in said.read_text("utf-8"):
            assert process.poll() is None, said.read_text("utf-8")
            assert time.monotonic() < deadline, said.read_text("utf-8")
            time.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        yield dict(re.findall(r"^  (\S[\w ,/]*?) {2,}(http://\S+)", said.read_text("utf-8"), re.MULTILINE))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert len(family) >= 3
    assert not psutil.wait_procs(family, timeout=10)[1]


def get(address: str) -> tuple[str, str]:
    """The body and the media type of an answer that is a success."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.status == 200
        return answer.read().decode(), answer.headers.get_content_type()


def test_every_page_and_every_file_of_it_is_served_from_the_wheel(demo: dict[str, str]) -> None:
    views = {"local pages": VIEWS, "central server": ("/",)}
    for name, paths in views.items():
        server = demo[name].rstrip("/")
        for path in paths:
            page, media = get(server + path)
            assert media == "text/html"
            assert "not built" not in page
            parts = re.findall(r"""(?:src|href)=["']?(/[^"'> ]+)""", page)
            assert any(part.endswith(".js") for part in parts)
            assert any(part.endswith(".css") for part in parts)
            for part in parts:
                assert get(server + part)[0]


def test_the_installed_servers_describe_and_measure_themselves(demo: dict[str, str]) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: make system"
    for name in ("local pages", "central server"):
        server = demo[name].rstrip("/")
        assert get(f"{server}/healthz")
        validate(json.loads(get(f"{server}/api/v1/openapi.json")[0]))
        metrics, media = get(f"{server}/metrics")
        assert media == "text/plain"
        checked = subprocess.run(
            [promtool, "check", "metrics"], check=False, input=metrics, capture_output=True, text=True
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, ""), name
