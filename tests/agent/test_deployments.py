"""Versions of flows: let in or refused, tried, kept or taken back; and the same after a kill at any of these moments."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgeflow.agent.deployments import MORE_VERSIONS
from edgeflow.document import parse, version
from edgeflow.model import Value
from edgeflow.store.database import Database
from edgeflow.store.store import FlowPointer
from edgeflow.sync.protocol import FlowReport
from edgeflow.testing.loop import in_virtual_time
from tests.agent.conftest import SITE, Folder, Gateway

FILE = """\
parameters: {lease: {type: number, default: 5, description: A number.}}
nodes:
  x: {kind: src, tag: d/x}
  sum: {kind: sum}
  light: {kind: light, output: lamp, lease: "{lease}"}
wires: [x -> sum, x -> light]
"""
ONE, TWO = FILE.replace("sum: {", "see: {kind: see}\n  sum: {"), FILE.replace("sum: {", "more: {kind: see}\n  sum: {")
FAILS = ONE.replace("see: {kind: see}", "fail: {kind: fail}").replace("[x ->", "[x -> fail, x ->")
STILLBORN = ONE.replace("see: {kind: see}", "s: {kind: stillborn}")
SILLY = ONE.replace("kind: see", "kind: seee")
FORGETS = FAILS.replace("  sum: {kind: sum}\n", "").replace("x -> sum, ", "")


def flow(content: str) -> dict[str, Any]:
    document: dict[str, Any] = parse(f"flow: t/f\n{content}").data
    return document


def of(content: str) -> str:
    return version(flow(content))


@pytest.fixture
def site(folder: Folder) -> Folder:
    folder.write(SITE + "flows: {f: {flow: t/f, with: {lease: 7}}}", {"t/f": FILE})
    return folder


def runs(gateway: Gateway) -> str:
    found = gateway.engine.flows["f"]
    assert not found.fault
    return found.plan.version


def total(gateway: Gateway) -> int:
    return int(gateway.engine.flows["f"].by_name["sum"].state.sum)


async def push(gateway: Gateway, content: str, given: Mapping[str, Value] | None = None) -> FlowReport:
    return await gateway.deployments.apply("f", flow(content), given)


def told(report: FlowReport) -> tuple[str, str, str]:
    return report.fate, report.active, report.wanted


async def life(site: Folder, *steps: Any) -> list[Any]:
    """One life of the process: each step is given the gateway; what it returns is collected. Ends like a kill."""
    found = []
    async with site.open() as gateway, gateway.run(clean=False):
        for step in steps:
            result = step(gateway)
            found.append(await result if asyncio.iscoroutine(result) else result)
    return found


def lives(*all_steps: tuple[Any, ...]) -> Any:
    @in_virtual_time
    async def run(site: Folder) -> list[Any]:
        return [result for steps in all_steps for result in await life(site, *steps)]

    return run


def later(seconds: float) -> Any:
    return lambda _gateway: asyncio.sleep(seconds)


def pushing(content: str, given: Mapping[str, Value] | None = None) -> Any:
    return lambda gateway: push(gateway, content, given)


def test_a_version_is_tried_and_kept_with_the_states_of_its_nodes(site: Folder) -> None:
    _, before, report, after = lives((later(1), total, pushing(ONE), total))(site)
    assert told(report) == ("accepted", of(ONE), of(ONE))
    assert after >= before > 0


def test_a_version_that_cannot_be_read_is_refused_and_the_old_one_goes_on(site: Folder) -> None:
    report, running = lives((pushing(SILLY), runs))(site)
    assert told(report) == ("refused", of(FILE), of(SILLY))
    assert "unknown kind 'seee'; did you mean 'see'?" in report.fate_reason
    assert running == of(FILE)


def test_a_version_that_does_not_start_is_taken_back(site: Folder) -> None:
    report, running, pointers = lives((pushing(STILLBORN), runs, lambda g: g.store.pointers()))(site)
    assert told(report) == ("rolled_back", of(FILE), of(STILLBORN))
    assert "node 's' failed while starting" in report.fate_reason
    assert (running, pointers["f"].state) == (of(FILE), "active")


@in_virtual_time
async def faulty(site: Folder) -> None:
    async with site.open() as gateway, gateway.run():
        await asyncio.sleep(1.5)
        site.wire.values[1] = 13
        before = total(gateway)
        report = await push(gateway, FORGETS)
        assert told(report) == ("rolled_back", of(FILE), of(FORGETS))
        assert "ZeroDivisionError: thirteen" in report.fate_reason
        assert runs(gateway) == of(FILE)
        assert total(gateway) >= before, "what only the old version has is not forgotten by the trial of the new one"


def test_a_fault_in_the_trial_brings_the_old_one_back_with_all_its_states(site: Folder) -> None:
    faulty(site)


def test_what_failed_is_shown_and_not_tried_again_after_a_restart(site: Folder) -> None:
    site.wire.values[1] = 13
    first, shown, again, running = lives(
        (pushing(FAILS),),
        (lambda g: g.deployments.standing("f"), pushing(FAILS), runs),
    )(site)
    assert told(first) == told(shown) == told(again) == ("rolled_back", of(FILE), of(FAILS))
    assert first.fate_reason == shown.fate_reason == again.fate_reason
    assert running == of(FILE)


def test_what_failed_is_tried_with_other_parameters(site: Folder) -> None:
    site.wire.values[1] = 13
    wire = site.wire.values
    failed, good = lives((pushing(FAILS), lambda g: wire.update({1: 1}), later(0.5), pushing(FAILS, {"lease": 9})))(
        site
    )[::3]
    assert (failed.fate, good.fate) == ("rolled_back", "accepted")


def test_a_version_that_was_kept_is_forgotten_as_a_failure(site: Folder) -> None:
    site.wire.values[1] = 13
    reports = lives((pushing(FAILS), pushing(ONE)), (lambda g: g.deployments.standing("f"),))(site)
    assert told(reports[2]) == ("accepted", of(ONE), of(ONE))


def test_an_instance_that_this_gateway_does_not_have_is_refused_and_reported(site: Folder) -> None:
    report, reports = lives((lambda g: g.deployments.apply("g", flow(ONE), None), lambda g: g.deployments.reports()))(
        site
    )
    assert (report.fate, report.fate_reason) == ("refused", "this gateway has no flow instance 'g'")
    assert [(r.instance, r.state) for r in reports] == [("f", "running"), ("g", "unknown")]


def test_what_was_refused_is_forgotten_with_the_wish_and_is_no_lasting_alarm(site: Folder) -> None:
    found = lives(
        (
            lambda g: g.deployments.apply("g", flow(ONE), None),
            pushing(STILLBORN),
            lambda g: list(g.view.unready()),
            lambda g: g.deployments.withdraw(set()),
            lambda g: g.deployments.reports(),
        ),
        (lambda g: g.deployments.reports(),),
    )(site)
    assert not [problem for problem in found[2] if "flow" in problem]
    for reports in (found[4], found[5]):
        assert [(r.instance, r.state, r.fate) for r in reports] == [("f", "running", "accepted")]


def test_the_same_version_again_changes_nothing(site: Folder) -> None:
    def started(gateway: Gateway) -> Any:
        return gateway.engine.flows["f"]

    _, before, report, after = lives((pushing(ONE), started, pushing(ONE), started))(site)
    assert told(report) == ("accepted", of(ONE), of(ONE))
    assert before is after


def test_the_same_version_with_other_parameters_is_swapped_in(site: Folder) -> None:
    def lease(gateway: Gateway) -> Any:
        return gateway.engine.flows["f"].plan.parameters["lease"]

    assert lives((lease, pushing(ONE), lease, pushing(ONE, {"lease": 9}), lease), (lease,))(site)[::2] == [7, 7, 9]
    wrong = lives((pushing(ONE, {"lease": "x"}),))(site)[0]
    assert (wrong.fate, "is not a number" in wrong.fate_reason) == ("refused", True)


def test_without_parameters_of_its_own_a_pushed_version_follows_the_configuration(site: Folder) -> None:
    lives((pushing(ONE),))(site)
    site.write(SITE + "flows: {f: {flow: t/f, with: {lease: 8}}}", {"t/f": FILE})
    running, given = lives((runs, lambda g: g.engine.flows["f"].plan.parameters))(site)
    assert (running, given) == (of(ONE), {"lease": 8})


@in_virtual_time
async def killed_in_trial(site: Folder, times: int) -> list[tuple[str, tuple[str, str, str]]]:
    """A push whose trial is cut short by a kill, and so are the next starts; then one that lives on."""
    found = []
    async with site.open() as gateway, gateway.run(clean=False):
        pushing_it = asyncio.create_task(push(gateway, ONE))
        await asyncio.sleep(0.5)
        found.append((runs(gateway), told(gateway.deployments.standing("f"))))
        pushing_it.cancel()
        with suppress(asyncio.CancelledError):
            await pushing_it
    for _ in range(times):
        async with site.open() as gateway, gateway.run(clean=False):
            await asyncio.sleep(0.5)
            found.append((runs(gateway), told(gateway.deployments.standing("f"))))
    async with site.open() as gateway, gateway.run(clean=False):
        await asyncio.sleep(5)
        found.append((runs(gateway), told(gateway.deployments.standing("f"))))
        again = await push(gateway, ONE)
        found.append((runs(gateway), told(again)))
    return found


def test_a_kill_in_the_trial_is_given_one_more_try(site: Folder) -> None:
    trial, kept, again = killed_in_trial(site, 0)
    assert trial == (of(ONE), ("trial", of(ONE), of(ONE)))
    assert kept == again == (of(ONE), ("accepted", of(ONE), of(ONE)))


def test_a_version_in_whose_trial_the_process_dies_twice_is_never_tried_again(site: Folder) -> None:
    _, second, back, again = killed_in_trial(site, 1)
    assert second[1][0] == "trial"
    assert back == again == (of(FILE), ("rolled_back", of(FILE), of(ONE))), (
        "nor when the central server asks for it again"
    )


def test_a_trial_after_a_restart_that_fails_goes_back(site: Folder) -> None:
    @in_virtual_time
    async def run() -> tuple[str, str]:
        async with site.open() as gateway, gateway.run(clean=False):
            task = asyncio.create_task(push(gateway, FAILS))
            await asyncio.sleep(0.5)
            task.cancel()
        site.wire.values[1] = 13
        async with site.open() as gateway, gateway.run(clean=False):
            await asyncio.sleep(3)
            return gateway.deployments.standing("f").fate, runs(gateway)

    assert run() == ("rolled_back", of(FILE))


def test_a_push_waits_for_the_trial_of_another(site: Folder) -> None:
    @in_virtual_time
    async def run() -> list[tuple[str, str, str]]:
        async with site.open() as gateway, gateway.run():
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(push(gateway, content)) for content in (ONE, TWO)]
            return [told(task.result()) for task in both]

    assert run() == [("accepted", of(ONE), of(ONE)), ("accepted", of(TWO), of(TWO))]


def test_a_kept_version_that_no_longer_fits_gives_way_to_the_file(site: Folder) -> None:
    other = ONE.replace("x: {kind: src, tag: d/x}", "x: {kind: tag, tag: d/y}")
    lives((pushing(other),))(site)
    site.write((SITE + "flows: {f: {flow: t/f}}").replace("      y:", "      z:"), {"t/f": FILE})
    running, report = lives((runs, lambda g: g.deployments.standing("f")))(site)
    assert (running, report.fate) == (of(FILE), "refused")
    assert "no longer fits the configuration" in report.fate_reason
    site.write((SITE + "flows: {f: {flow: t/f}}"), {"t/f": FILE})
    assert lives((runs,))(site) == [of(other)], "and is back when it fits again"


def test_documents_that_cannot_be_read_do_not_keep_the_gateway_from_its_work(site: Folder) -> None:
    lives((pushing(ONE),))(site)
    (site.path / "flows" / f"{of(ONE)}.json").write_text("{")
    running, report = lives((runs, lambda g: g.deployments.standing("f")))(site)
    assert (running, report.fate) == (of(FILE), "refused")
    assert "is not here" in report.fate_reason


def test_a_document_that_a_node_cannot_bear_is_refused_in_words(site: Folder) -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    document = flow(ONE)
    document["nodes"]["x"]["tag"] = deep
    with pytest.raises(RecursionError):
        version(document)
    document["nodes"]["x"]["tag"] = {"a": ["b"]}
    (report,) = lives((lambda g: g.deployments.apply("f", document, None),))(site)
    assert report.fate == "refused"


def test_a_flow_of_the_configuration_that_is_quarantined_may_be_replaced(site: Folder) -> None:
    @in_virtual_time
    async def run() -> tuple[str, str, str]:
        async with site.open() as gateway, gateway.run():
            site.wire.values[1] = 13
            await asyncio.sleep(0.5)
            stopped = gateway.deployments.standing("f").state
            problems = " ".join(gateway.view.unready())
            site.wire.values[1] = 1
            await asyncio.sleep(0.5)
            return stopped, problems, (await push(gateway, ONE)).fate

    site.write(SITE + "flows: {f: {flow: t/f}}", {"t/f": FAILS})
    stopped, problems, after = run()
    assert (stopped, after) == ("quarantined", "accepted")
    assert "the flow f does not run: node 'fail' (fail) failed" in problems


def test_a_version_that_fails_after_its_trial_gives_way_to_the_good_one_before_it(site: Folder) -> None:
    @in_virtual_time
    async def run() -> tuple[FlowReport, str, FlowReport, str]:
        async with site.open() as gateway, gateway.run(clean=False):
            await push(gateway, ONE)
            assert (await push(gateway, FAILS)).fate == "accepted"
            await asyncio.sleep(60)
            site.wire.values[1] = 13
            await asyncio.sleep(0.5)
            first = gateway.deployments.standing("f"), runs(gateway)
        async with site.open() as gateway, gateway.run(clean=False):
            await asyncio.sleep(0.5)
            return *first, gateway.deployments.standing("f"), runs(gateway)

    report, running, again, after = run()
    assert running == after == of(ONE)
    assert told(report) == told(again) == ("rolled_back", of(ONE), of(FAILS))
    assert "thirteen" in report.fate_reason


def test_a_version_is_quarantined_and_the_process_dies_before_it_is_taken_back(site: Folder) -> None:
    @in_virtual_time
    async def run() -> str:
        async with site.open() as gateway, gateway.run(clean=False):
            await push(gateway, FAILS)
            await asyncio.sleep(2.5)
        site.wire.values[1] = 13
        async with site.open() as gateway, gateway.run(clean=False):
            await asyncio.sleep(1)
            return runs(gateway)

    assert run() == of(FILE)


def test_a_push_is_told_as_on_trial_after_a_first_look_and_a_failure_within_the_trial_goes_back(site: Folder) -> None:
    @in_virtual_time
    async def run() -> list[FlowReport]:
        async with site.open() as gateway, gateway.run(clean=False):
            loop, begin_s = asyncio.get_running_loop(), asyncio.get_running_loop().time()
            first = await push(gateway, FAILS)
            assert loop.time() - begin_s < 3
            await asyncio.sleep(115)
            late = gateway.deployments.standing("f")
            site.wire.values[1] = 13
            await asyncio.sleep(1)
            assert runs(gateway) == of(FILE)
            site.wire.values[1] = 1
            back = gateway.deployments.standing("f")
            await push(gateway, ONE)
            await asyncio.sleep(121)
            return [first, late, back, gateway.deployments.standing("f")]

    site.write(SITE.replace("deploy: {trial: 2 s}\n", "") + "flows: {f: {flow: t/f}}", {"t/f": FILE})
    reports = run()
    assert [report.fate for report in reports] == ["trial", "trial", "rolled_back", "accepted"]
    assert [bool(report.trial_until) for report in reports] == [True, True, False, False]


def test_a_version_that_only_says_bad_where_the_one_before_gave_values_is_not_accepted(site: Folder) -> None:
    mute = FILE.replace("  sum: {kind: sum}", "  n: {kind: nothing}\n  sum: {kind: sum}").replace(
        "x -> sum", "x -> n, n -> sum"
    )
    report, running = lives((later(1), pushing(mute), runs))(site)[1:]
    assert (report.fate, running) == ("rolled_back", of(FILE))
    assert report.fate_reason == "node 'sum' gave values before, and gives BAD ones now"


RENAMED = FAILS.replace("  sum: {kind: sum}", "  total: {kind: sum}").replace("x -> sum", "x -> total")
REFED = FAILS.replace("x -> sum", "y -> sum").replace("nodes:\n", "nodes:\n  y: {kind: src, tag: d/y}\n")


@in_virtual_time
async def filmed(site: Folder, content: str, film: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A push that fails in its trial, with a copy of the disk after every transaction; the sum when it was pushed."""
    transaction, frames = Database.transaction, 0

    async def copying(database: Database, work: Any) -> Any:
        nonlocal frames
        result = await transaction(database, work)
        for file in site.path.glob("edgeflow.db*"):
            shutil.copy(file, film / f"{frames:03}-{file.name}")
        frames += 1
        return result

    async with site.open() as gateway, gateway.run(clean=False):
        await asyncio.sleep(1.5)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", copying)
            before = total(gateway)
            assert (await push(gateway, content)).fate == "trial"
            await asyncio.sleep(1.2)
            site.wire.values[1] = 13
            await asyncio.sleep(2.5)
            assert runs(gateway) == of(FILE)
        return before


@pytest.mark.parametrize("content", [FORGETS, RENAMED, REFED], ids=["removed", "renamed", "fed by another"])
def test_whenever_the_process_dies_the_good_version_comes_back_with_its_states(
    site: Folder, content: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write(SITE.replace("trial: 2 s", "trial: 9 s") + "flows: {f: {flow: t/f}}", {"t/f": FILE})
    film = tmp_path_factory.mktemp("film")
    before = filmed(site, content, film, monkeypatch)
    frames = sorted({path.name[:3] for path in film.iterdir()})
    assert len(frames) > 4

    @in_virtual_time
    async def goes_on() -> tuple[str, int]:
        async with site.open() as gateway, gateway.run(clean=False):
            await asyncio.sleep(3)
            return runs(gateway), total(gateway)

    for frame in frames:
        for file in site.path.glob("edgeflow.db*"):
            file.unlink()
        (site.path / "documents.json").unlink(missing_ok=True)
        for file in film.glob(f"{frame}-*"):
            shutil.copy(file, site.path / file.name[4:])
        assert goes_on()[0] == of(FILE)
        assert goes_on()[1] >= before, f"after transaction {frame}"


def test_sixty_pushes_leave_the_few_versions_that_somebody_may_come_back_to(site: Folder) -> None:
    contents = [ONE.replace("nodes:", f"title: number {n}\nnodes:") for n in range(60)]
    *_, active, kept = lives((*[pushing(content) for content in contents], runs, lambda g: g.documents.versions()))(
        site
    )
    assert active == of(contents[-1])
    assert {active, of(contents[-2])} <= set(kept)
    assert len(kept) <= 2 + MORE_VERSIONS + 1


def test_pointers_keep_whether_parameters_were_given(site: Folder) -> None:
    @in_virtual_time
    async def run() -> dict[str, FlowPointer]:
        async with site.open() as gateway:
            odd = {"a": 10**30, "b": [None, "ü"]}
            await gateway.store.commit({}, [], pointers=[FlowPointer("a", "f", "v"), FlowPointer("b", "f", "v", odd)])
            return await gateway.store.pointers()

    found = run()
    assert found["a"].parameters is None
    assert found["b"].parameters == {"a": 10**30, "b": [None, "ü"]}
