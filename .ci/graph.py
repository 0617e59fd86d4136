"""The imports, as the stages' code dependencies in dvc.yaml and as the picture of the rooms in docs/architecture.md.

    python .ci/graph.py --check    # is every file that a stage's result comes from a dep of it, and nothing else? (in .ci/run)
    python .ci/graph.py --write    # put that into dvc.yaml (`make graph`)
    python .ci/graph.py --picture  # docs/rooms.png: which room imports from which, now and at the commit BEFORE

A stage's code is what ``flows/<stage>.py`` imports, and so on. Two rooms are left out, since they cannot change what a stage
writes: ``flows/engine`` runs and shows stages, ``ich_pipeline/registry`` records them in MLflow, and nothing of either flows
back. The stage register is the exception: what it registers holds the whole package.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import grimp
import yaml

BEFORE = "c112a1b"  # the last commit without rooms
TOP = Path(__file__).resolve().parent.parent
LEFT_OUT = ("flows.engine", "ich_pipeline.registry")
WHOLE_PACKAGE = ("register",)
CODE = re.compile(r"      - (flows|ich_pipeline)\b")
NOTHING_BUT_A_DOCSTRING = 600  # bytes of an __init__.py


def imports() -> grimp.ImportGraph:
    """Every import of the product, those inside functions too, those for type checkers alone not."""
    return grimp.build_graph("ich_pipeline", "flows", exclude_type_checking_imports=True, cache_dir=None)


def code_of(stage: str, graph: grimp.ImportGraph) -> list[str]:
    """What stands in dvc.yaml: a room's folder where at least two thirds of its files count, else the files that do."""
    if stage in WHOLE_PACKAGE:
        return ["flows/register.py", "ich_pipeline"]
    graph = _without(graph, LEFT_OUT)
    files = {_file(module) for module in {f"flows.{stage}"} | graph.find_upstream_modules(f"flows.{stage}")}
    if any("training" in file.parts for file in files):
        files.add(TOP / "ich_pipeline" / "__init__.py")  # it sets how TensorFlow computes, and no import names it
    by_room: dict[Path, set[Path]] = {}
    for file in files:
        if file.name != "__init__.py" or file.stat().st_size > NOTHING_BUT_A_DOCSTRING:
            alone = file.parent in (TOP / "flows", TOP / "ich_pipeline")
            by_room.setdefault(file if alone else TOP.joinpath(*file.relative_to(TOP).parts[:2]), set()).add(file)
    deps: set[Path] = set()
    for room, counted in by_room.items():
        every = sum(1 for file in room.rglob("*.py") if file.name != "__init__.py")
        deps |= {room} if 3 * len(counted) >= 2 * every else counted
        if room not in deps and any('"templates"' in file.read_text(encoding="utf-8") for file in counted):
            deps.add(room / "templates")
    return sorted(path.relative_to(TOP).as_posix() for path in deps)


def write(text: str, code: dict[str, list[str]]) -> str:
    """dvc.yaml with these code dependencies in place of those that stand there."""
    out, stage, deps = [], "", False
    for line in text.splitlines():
        if found := re.match(r"  (\w+):$", line):
            stage, deps = found[1], False
        elif re.match(r"    \w+:", line):
            if deps:
                out += [f"      - {dep}" for dep in code[stage]]
            deps = line == "    deps:"
        if not (deps and CODE.match(line)):
            out.append(line)
    return "\n".join(out) + "\n"


def rooms(graph: grimp.ImportGraph) -> Counter[tuple[str, str]]:
    """How many imports go from one room to another."""
    arrows: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            if _room(module) != _room(other):
                arrows[_room(module), _room(other)] += 1
    return arrows


def _room(module: str) -> str:
    parts = module.split(".")
    if parts[0] == "flows":
        return "flows.engine" if parts[1:2] == ["engine"] else "flows"
    return parts[1] if len(parts) > 1 else "ich_pipeline"


def rooms_at(commit: str) -> Counter[tuple[str, str]]:
    """The rooms of another commit, looked at in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", commit, "flows", "ich_pipeline"], cwd=TOP, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        command = [sys.executable, __file__, "--count"]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": folder}, check=True, capture_output=True, text=True
        )
    return Counter({(one, other): count for one, other, count in json.loads(done.stdout)})


def order_of(arrows: Counter[tuple[str, str]]) -> list[str]:
    """Rooms so that as few imports as possible go upwards: each time the room with the fewest left to import comes next."""
    left = {room for arrow in arrows for room in arrow}
    order: list[str] = []
    while left:
        weight = {room: sum(n for (a, b), n in arrows.items() if a == room and b in left and b != a) for room in left}
        used = {room: sum(n for (a, b), n in arrows.items() if b == room and a in left) for room in left}
        nearest = min(sorted(left), key=lambda room: (weight[room], -used[room]))
        order.append(nearest)
        left.remove(nearest)
    return order


def draw(file: Path) -> None:
    """Two matrices: a row imports from the columns that are marked. Below the diagonal is the one direction."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    both = ((f"before ({BEFORE})", rooms_at(BEFORE)), ("now", rooms(imports())))
    figure, axes = plt.subplots(1, 2, figsize=(17, 9.5), layout="constrained")
    for axis, (title, arrows) in zip(axes, both, strict=True):
        order = order_of(arrows)
        place = {room: i for i, room in enumerate(order)}
        table = np.zeros((len(order), len(order)))
        for (one, other), count in arrows.items():
            table[place[one], place[other]] = count
        against = np.argwhere(np.triu(table, 1) > 0)
        axis.imshow(np.where(table > 0, np.log1p(table), np.nan), cmap="Blues", vmin=0, vmax=np.log1p(60))
        for row, column in against:
            axis.add_patch(
                plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#c0392b", linewidth=1.6)
            )
        axis.plot([-0.5, len(order) - 0.5], [-0.5, len(order) - 0.5], color="0.6", linewidth=0.8)
        axis.set_xticks(range(len(order)), order, rotation=90, fontsize=8)
        axis.set_yticks(range(len(order)), order, fontsize=8)
        axis.xaxis.tick_top()
        for side in axis.spines.values():
            side.set_visible(False)
        axis.tick_params(length=0)
        up = f", {len(against)} of them upwards (red)" if len(against) else ", none upwards"
        axis.set_title(f"{title}: {len(order)} rooms, {len(arrows)} arrows{up}", fontsize=12)
        axis.set_ylabel("imports from →")
    figure.savefig(file, dpi=100, metadata={"Software": None})


def _without(graph: grimp.ImportGraph, packages: tuple[str, ...]) -> grimp.ImportGraph:
    for package in packages:
        for module in [m for m in graph.modules if m == package or m.startswith(package + ".")]:
            graph.remove_module(module)
    return graph


def _file(module: str) -> Path:
    path = TOP / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def main(way: str) -> int:
    """Do what the one argument says; 1 where dvc.yaml is not as the imports are."""
    if way == "--count":
        print(json.dumps([[*arrow, count] for arrow, count in rooms(imports()).items()]))
        return 0
    if way == "--picture":
        draw(TOP / "docs" / "rooms.png")
        return 0
    file = TOP / "dvc.yaml"
    text = file.read_text(encoding="utf-8")
    wanted = write(text, {stage: code_of(stage, imports()) for stage in yaml.safe_load(text)["stages"]})
    if way == "--write":
        file.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        print("dvc.yaml: the code dependencies are not the imports; `make graph` writes them anew.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["--check"], ["--write"], ["--picture"], ["--count"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
