"""Time and memory of serving one case: `python benchmarks/serving.py BUNDLE CASE [NETWORKS]`, from a project's top folder.

BUNDLE is a registered version's (`mlruns/artifacts/models/…/artifacts/artifacts/bundle`, or what `serving.bundle.assemble` wrote), CASE a
folder with the DICOM files of one study. Prints the cold time (a new process, from its start to the page), the warm time (least of
five: from the files to the answer and its page), what of it ran in ONNX Runtime, the ratio of the two, the same slices by Keras'
predict_on_batch where NETWORKS (`work/train`) is given, and memory at most.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from timing import seconds

from ich_pipeline.core.stopwatch import peak_mib, timed
from ich_pipeline.report.case_page import case_page
from ich_pipeline.serving.answer import answer
from ich_pipeline.serving.engine import ServedNetwork
from ich_pipeline.serving.system import System

WARM, SLICES = 5, 40
ONCE = "--once"


def main(bundle: Path, case: Path, networks: Path | None) -> None:
    """Measure and print."""
    began = time.perf_counter()
    subprocess.run([sys.executable, __file__, str(bundle), str(case), ONCE], check=True)
    print(f"cold, process and page: {time.perf_counter() - began:.2f} s")
    system = System.load(bundle)
    files = [path for path in case.rglob("*") if path.is_file()]
    best: dict[str, float] = {}
    for _ in range(WARM):
        with timed() as watch:
            began = time.perf_counter()
            found = system.read_case(files, demonstration=True)
            answer(found, uids=True, thumbnails=False)
            read = time.perf_counter() - began
            case_page(found)
            whole = time.perf_counter() - began
        if not best or whole < best["with its page"]:
            best = {"with its page": whole, "to the answer": read, **watch.seconds}
    bare = best["forward"]
    print(f"warm, {len(found.final)} slices: " + ", ".join(f"{name} {value:.3f} s" for name, value in best.items()))
    print(f"to the answer / in ONNX Runtime: {best['to the answer'] / bare:.2f}")
    print(f"with its page / in ONNX Runtime: {best['with its page'] / bare:.2f}")
    print(f"memory at most: {peak_mib():.0f} MiB, reading process {system.reader.peak_mib():.0f} MiB")
    if networks is not None:
        _beside_keras(system.networks, networks)


def once(bundle: Path, case: Path) -> None:
    """One case in a process of its own."""
    case_page(System.load(bundle).read_case([path for path in case.rglob("*") if path.is_file()], demonstration=True))


def _beside_keras(served: Mapping[str, ServedNetwork], folder: Path) -> None:
    from ich_pipeline.training.network import Network

    for name, network in served.items():
        keras_network, size = Network.load(folder / name), network.spec.image_size
        hu = np.random.default_rng(0).integers(-10, 160, (SLICES, size, size)).astype(np.float32)
        ours = seconds(lambda network=network, hu=hu: network.probabilities(hu), WARM)
        keras_network.model.predict_on_batch(hu)  # traces
        theirs = seconds(lambda model=keras_network.model, hu=hu: model.predict_on_batch(hu), WARM)
        apart = np.abs(network.probabilities(hu) - keras_network.probabilities(hu)).max()
        print(f"{name}: {SLICES} slices {ours:.3f} s, predict_on_batch {theirs:.3f} s, probabilities {apart:.1e} apart")


if __name__ == "__main__":
    if sys.argv[-1] == ONCE:
        once(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
