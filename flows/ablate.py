"""Stage ablate: the same training as stage train, but one window in all three channels."""

from __future__ import annotations

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from flows.train import ITEM, train


def body(stage: Stage) -> StageResult:
    """Read what train reads, write work/ablate/<architecture>."""
    windowing = stage.params.windowing
    single = next(window for window in windowing.windows if window.name == windowing.single)
    return train(stage, (single,) * len(windowing.windows), layout.ABLATE)


if __name__ == "__main__":
    main("ablate", body, ITEM)
