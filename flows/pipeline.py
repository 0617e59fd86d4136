"""``make repro``: from nothing to a registered, explained model.

Makes data/ where it may, runs the DVC graph inside one MLflow run, sees to it that the registry holds what came out, and
says how far the recorded run was reproduced. With a Prefect API (``make ui`` running) every stage is a task of one flow.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from flows import ledger
from flows.arrivals import note_seen
from flows.engine import beforehand, data, layout, reproduction, side_by_side
from flows.engine.boundary import exit_status
from flows.engine.dvc import dvc, lines, stage_names, stages_to_run
from flows.engine.prefect_api import api_url, become_client, running_ui
from flows.engine.stage_task import run_stage
from flows.engine.timetable import Timetable
from ich_pipeline.commands.frozen import note_learners
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.lock import project_locked
from ich_pipeline.core.stopping import stop_on_signals


@dataclass(frozen=True)
class Outcome:
    """What a run of the pipeline did: whether any stage ran, and the registered version it ended with."""

    ran: bool
    version: str
    new_version: bool


def run_plain(params: Params, say: Callable[[str], None]) -> Outcome:
    """The whole graph with one ``dvc repro``; no server needed."""
    say(prepare(params))
    if not stages_to_run():
        say("Everything is up to date.")
        return _registered(ran=False)
    beforehand.check(params)
    timetable = Timetable(params)
    say(timetable.opening())

    def repro(run_id: str) -> None:
        for line in timetable.watch(lines(dvc("repro"), {"ICH_RUN_ID": run_id})):
            say(line)

    return _recorded(params, repro)


def run_as_flow(params: Params, url: str) -> Outcome:
    """The whole graph as a Prefect flow, each stage a task."""
    become_client(url)
    from prefect import flow
    from prefect.client.schemas.objects import State

    from flows.engine.prefect_show import failed

    outcomes: list[Outcome] = []
    errors: list[Exception] = []

    @flow(name="pipeline", persist_result=False)
    def pipeline() -> State | None:
        try:
            outcomes.append(run_inside_flow(params))
        except Exception as error:  # its words stay here: the state shows no more than its type
            errors.append(error)
            return failed(error)
        return None

    state = pipeline(return_state=True)
    if errors:
        raise errors[0]
    if not outcomes:
        raise RuntimeError(state.message or "the flow did not finish")
    return outcomes[0]


def run_inside_flow(params: Params, look: Callable[[], None] | None = None) -> Outcome:
    """The body of the flow; also the scheduled retraining's.

    Args:
        params: of the project.
        look: called when the cohorts are drawn and nothing has been trained yet; what it raises ends the run.

    Raises:
        InputError, DvcError: what went wrong, in one sentence; or any other exception. The stage's task is marked as failed
            with its type.
    """
    from prefect import task
    from prefect.client.schemas.objects import State
    from prefect.futures import wait
    from prefect.logging import get_run_logger
    from prefect.states import Completed

    from flows.engine.prefect_show import failed, progress_artifact

    logger = get_run_logger()
    failures: list[Exception] = []
    stopping = threading.Event()
    gpus = side_by_side.devices(params)
    slots = side_by_side.Slots(gpus) if len(gpus) > 1 else None

    @task(name="data", persist_result=False)
    def data_task() -> State | None:
        try:
            logger.info(prepare(params))
        except Exception as error:
            failures.append(error)
            return failed(error)
        return None

    @task(persist_result=False)
    def stage_task(stage: str, run_id: str, beside_others: bool) -> State | None:
        if stage not in waiting:  # neither it nor what it needs changed; the last `dvc repro` would find a mistake
            return Completed(name="Unchanged", message="as it was: nothing that it depends on has changed")
        environment = {"ICH_RUN_ID": run_id}
        try:
            with slots.one() if slots and beside_others else contextlib.nullcontext() as gpu:
                if gpu is not None:
                    logger.info("%s runs on GPU %s", stage, gpu)
                    environment["CUDA_VISIBLE_DEVICES"] = gpu
                run_stage(stage, environment, stopping)
        except Exception as error:
            failures.append(error)
            return failed(error)
        return None

    def run_together(stages: list[str], run_id: str) -> None:
        """All of them, whatever becomes of one: the others' hours are not thrown away."""
        beside = len(stages) > 1
        tasks = [stage_task.with_options(name=name, task_run_name=name) for name in stages]
        if beside:
            states = [
                f.state for f in wait([t.submit(n, run_id, beside) for t, n in zip(tasks, stages, strict=True)]).done
            ]
        else:
            states = [tasks[0](stages[0], run_id, beside, return_state=True)]
        if failures:
            raise failures[0]
        for state in states:
            if not state.is_completed():
                raise RuntimeError(f"{', '.join(stages)}: {state.message}")

    prepared = data_task(return_state=True)
    if failures:
        raise failures[0]
    if not prepared.is_completed():
        raise RuntimeError(f"data: {prepared.message}")
    waiting = stages_to_run()
    if not waiting:
        logger.info("Everything is up to date.")
        return _registered(ran=False)
    beforehand.check(params)
    names = stage_names()
    overall = progress_artifact("pipeline", f"0 of {len(names)} stages")
    first = names[: names.index("split") + 1] if look else []
    for name in first:
        run_together([name], "")  # none of these records a run
    if look:
        look()

    def repro(run_id: str) -> None:
        done = len(first)
        try:
            for together in side_by_side.groups(names[len(first) :], together=slots is not None):
                run_together(together, run_id)
                done += len(together)
                overall(done / len(names), f"{done} of {len(names)} stages, last {together[-1]}")
        finally:
            stopping.set()
        ran_again = [line for line in lines(dvc("repro"), {"ICH_RUN_ID": run_id}) if line.startswith("Running stage")]
        if ran_again:
            raise RuntimeError(
                f"stages ran again after each had run: {', '.join(ran_again)}; dvc.yaml lacks a dependency."
            )

    return _recorded(params, repro)


def _recorded(params: Params, repro: Callable[[str], None]) -> Outcome:
    """Run ``repro`` inside one MLflow parent run, then see to the registry."""
    from ich_pipeline.registry.tracking import Status, close_abandoned_runs, end_pipeline_run, start_pipeline_run
    from ich_pipeline.registry.versions import versions

    before = {version.number for version in versions(params.registry.model_name)}
    close_abandoned_runs()
    run_id = start_pipeline_run(params)
    status: Status = "FAILED"
    try:
        repro(run_id)
        outcome = _registered(ran=True)
        status = "FINISHED"
        return replace(outcome, new_version=int(outcome.version) not in before)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        end_pipeline_run(run_id, status)


def _registered(ran: bool) -> Outcome:
    """DVC knows nothing of the registry: where the store was lost since, register the same content again."""
    from flows.register import ensure_registered

    version, new = ensure_registered()
    note_seen()
    return Outcome(ran, version, new)


def closing(outcome: Outcome, params: Params) -> str:
    """What a person reads at the end: the table, where the page is, what to do next."""
    comparison = reproduction.compare()
    pages = running_ui() if api_url() else {}
    ui = (
        f"open {pages['mlflow_ui']} and {pages['prefect_ui']}"
        if pages
        else "`make ui` shows runs and models in the browser"
    )
    name = params.registry.model_name
    return "\n".join(
        [
            "",
            (layout.REPORTS / "metrics.md").read_text(encoding="utf-8").rstrip(),
            "",
            comparison.sentence()
            if comparison
            else "git holds no earlier run to compare with: commit dvc.lock and reports/metrics.json.",
            *filter(None, [reproduction.as_expected(params)]),
            f"Registered: {name} version {outcome.version}"
            + ("" if outcome.new_version else " (as before)")
            + ", alias challenger.",
            *ledger.publish(params),
            f"The page:   {(layout.REPORTS / 'index.html').absolute()}",
            f"Next:       `.venv/bin/ich promote` makes it the champion, if the gate lets it; `.venv/bin/ich predict FOLDER --out OUT` reads a case; {ui}.",
        ]
    )


def run_and_report(run: Callable[[Params], Outcome], name: str) -> int:
    """Run the pipeline by ``run``; turn what goes wrong into a sentence; returns the exit status."""
    from ich_pipeline.registry.store import tracking_uri

    started = time.monotonic()
    stop_on_signals()

    def work() -> None:
        params = load_params()
        tracking_uri()  # a folder in which the record cannot lie is told before any work
        with project_locked():
            outcome = run(params)
            print(closing(outcome, params))
        print(f"Took {time.monotonic() - started:.0f} s.")

    return exit_status(name, work, stopped="run it again and finished stages are not run twice")


def main() -> int:
    """Entry of ``python -m flows.pipeline``."""

    def run(params: Params) -> Outcome:
        url = api_url()
        return run_as_flow(params, url) if url else run_plain(params, lambda line: print(line, flush=True))

    return run_and_report(run, "pipeline")


def prepare(params: Params) -> str:
    """Before the graph runs: data/, what is left over, and who learned by now; says what was done about data/."""
    said = data.ensure(params)
    remove_left_over(params)
    note_learners()
    return said


def remove_left_over(params: Params) -> None:
    """Remove the folders of architectures and tests that params.yaml no longer names.

    Later stages depend on the whole of ``work/train`` and its like. A folder that no stage makes any more would count
    there, and nobody else could reproduce the hash.
    """
    for folder, items in (
        (layout.TRAIN, params.architectures),
        (layout.ABLATE, params.ablation),
        (layout.EVALUATE, params.tests),
    ):
        for left in folder.iterdir() if folder.is_dir() else ():
            if left.name not in items:
                shutil.rmtree(left)


if __name__ == "__main__":
    sys.exit(main())
