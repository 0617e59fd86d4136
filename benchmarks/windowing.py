"""Three windows of a 40-slice case: ours against pydicom's ``apply_windowing``. Prints a ratio and the largest difference."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing
from timing import seconds

from ich_pipeline.windowing.windows import Window, window_channels

WINDOWS = (Window("brain", 40, 80), Window("subdural", 80, 200), Window("stroke", 40, 40))


def with_pydicom(hu: np.ndarray) -> np.ndarray:
    """The same channels by the peer."""
    channels = []
    for window in WINDOWS:
        header = Dataset()
        header.WindowCenter, header.WindowWidth = float(window.center), float(window.width)
        header.VOILUTFunction = "LINEAR_EXACT"
        header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 16, 1
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        low, high = -(2.0**15), 2.0**15 - 1  # its output range
        channels.append((apply_windowing(hu, header) - low) / (high - low))
    return np.stack(channels, axis=-1)


def main() -> None:
    """Compare on noise over the whole range of HU."""
    hu = np.random.default_rng(0).integers(-1024, 3000, (40, 512, 512)).astype(np.int16)
    ours, theirs = window_channels(hu, WINDOWS), with_pydicom(hu)
    ratio = seconds(lambda: with_pydicom(hu)) / seconds(lambda: window_channels(hu, WINDOWS))
    print(f"three windows of 40 slices of 512 × 512: {ratio:.1f} times faster than pydicom's apply_windowing")
    print(f"largest difference {np.abs(ours - theirs).max():.1e} (of 0..1)")


if __name__ == "__main__":
    main()
