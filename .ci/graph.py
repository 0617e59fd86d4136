"""The imports, as the stages' code dependencies in dvc.yaml and as the picture of the rooms in docs/architecture.md.

    python .ci/graph.py --check    # is every file that a stage's result comes from a dep of it, and nothing else? (in .ci/run)
    python .ci/graph.py --write    # put that into dvc.yaml (`make graph`)
    python .ci/graph.py --rooms    # rooms and arrows, as a Mermaid picture

A stage's code is what ``flows/<stage>.py`` imports, and so on. Two rooms are left out, since they cannot change what a stage
writes: ``flows/engine`` runs and shows stages, ``ich_pipeline/registry`` records them in MLflow, and nothing of either flows
back. The stage register is the exception: what it registers holds the whole package.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import grimp
import yaml

TOP = Path(__file__).resolve().parent.parent
LEFT_OUT = ("flows.engine", "ich_pipeline.registry")
WHOLE_PACKAGE = ("register",)
CODE = re.compile(r"      - (flows|ich_pipeline)\b")
NOTHING_BUT_A_DOCSTRING = 600  # bytes of an __init__.py


def imports() -> grimp.ImportGraph:
    """Every import of the product, those inside functions too, those for type checkers alone not."""
    return grimp.build_graph("ich_pipeline", "flows", exclude_type_checking_imports=True, cache_dir=None)


def code_of(stage: str, graph: grimp.ImportGraph) -> list[str]:
    """What stands in dvc.yaml: a room's folder where at least half of its files count, else the files that do."""
    if stage in WHOLE_PACKAGE:
        return ["flows/register.py", "ich_pipeline"]
    graph = _without(graph, LEFT_OUT)
    files = {_file(module) for module in {f"flows.{stage}"} | graph.find_upstream_modules(f"flows.{stage}")}
    by_room: dict[Path, set[Path]] = {}
    for file in files:
        if file.name != "__init__.py" or file.stat().st_size > NOTHING_BUT_A_DOCSTRING:
            by_room.setdefault(
                TOP.joinpath(*file.relative_to(TOP).parts[:2]) if file.parent != TOP / "flows" else file, set()
            ).add(file)
    deps: set[Path] = set()
    for room, counted in by_room.items():
        every = sum(1 for file in room.rglob("*.py") if file.name != "__init__.py")
        deps |= {room} if 2 * len(counted) >= every else counted
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
    """How many files of one room import from another."""
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
    if way == "--rooms":
        arrows = rooms(imports())
        named = {room for arrow in arrows for room in arrow}
        print(f"%% {len(named)} rooms, {len(arrows)} arrows\nflowchart TD")
        for (one, other), count in sorted(arrows.items()):
            print(f"    {one} -->|{count}| {other}")
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
    if sys.argv[1:] not in (["--check"], ["--write"], ["--rooms"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
