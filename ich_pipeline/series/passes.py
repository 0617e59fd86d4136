"""Passes: slices that were taken one after another in one direction. Headers tell the order of taking in several ways.

AcquisitionNumber and the time may be of a scan, of a turn of the tube or of a slice, InstanceNumber may go on from scan to scan
or begin anew: each is a way to cut slices into passes, and none is right for all scanners.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.geometry import SAME_POSITION_MM
from ich_pipeline.dicom.header import Header

FEW = 4  # values of a number or a time; more of them are of slices or turns, not of scans

Positions = NDArray[np.float64]
Units = list[list[int]]  # slices that were taken together, unit after unit


@dataclass(frozen=True)
class Way:
    """Units in their order of taking, as one kind of evidence tells it.

    Attributes:
        sequences: each goes over the patient by itself; one, but where numbers begin anew.
        one_acquisition: nothing but InstanceNumber tells passes apart, so they may be the odd and the even slices of one scan.
    """

    sequences: list[Units]
    one_acquisition: bool = False


def ways(headers: Sequence[Header], slices: Sequence[int], positions: Positions, wide: float) -> Iterator[Way]:
    """The ways to tell the order of taking, those that tell scans apart before those that only order slices.

    Args:
        headers: of a series.
        slices: indices of those in question.
        positions: of all headers.
        wide: slices of one turn of the tube are no farther apart, in mm.
    """
    by_number = by_acquisition(headers, slices)
    by_time = _units(slices, lambda i: headers[i].acquired)
    by_instance = _units(slices, lambda i: headers[i].instance_number)
    if 2 <= len(by_number) <= FEW:
        yield Way([by_number])
    if len(by_time) >= 2:
        yield Way([by_time])
    if any(np.ptp(positions[unit]) > SAME_POSITION_MM for unit in by_instance):
        numbers = [headers[unit[0]].instance_number or 0 for unit in by_instance]
        if chains := _chains(by_instance, numbers, positions):
            yield Way(chains)
    elif by_instance:
        yield Way([by_instance], one_acquisition=len(by_number) == 1)
    if len(by_number) > FEW and all(np.ptp(positions[unit]) <= wide * len(unit) for unit in by_number):
        yield Way([by_number])


def by_acquisition(headers: Sequence[Header], slices: Sequence[int]) -> Units:
    """Slices by AcquisitionNumber, those without one last."""
    numbers = (2**31 if h.acquisition_number is None else h.acquisition_number for h in headers)
    known = dict(enumerate(numbers))
    return _units(slices, known.__getitem__)


def _units(slices: Sequence[int], key: Callable[[int], float | None]) -> Units:
    """Slices by a key, in its order; none where a slice has no key."""
    found: dict[float, list[int]] = defaultdict(list)
    for i in slices:
        value = key(i)
        if value is None:
            return []
        found[value].append(i)
    return [found[value] for value in sorted(found)]


def runs(units: Units, positions: Positions, reach: float, lies_on: Callable[[list[int], list[int]], bool]) -> Units:
    """Units put together while they go on in one direction.

    Args:
        units: in their order of taking.
        positions: of all slices.
        reach: slices nearer than so many mm show the same.
        lies_on: does a unit (first) lie on slices of a run?
    """
    middles = np.array([positions[unit].mean() for unit in units])
    steps = np.diff(middles)
    usual = float(np.median(np.abs(steps))) if len(steps) else 0.0
    off = np.where(np.abs(steps) < reach, np.inf, np.abs(np.abs(steps) - usual))
    found, direction = [[units[0]]], 0.0
    for i, unit in enumerate(units[1:], start=1):
        step, run = float(steps[i - 1]), found[-1]
        if step * direction < 0:
            # The one where it turns belongs to the side that it is at the usual step from.
            turning = [run.pop()] if len(run) > 1 and off[i - 2] > off[i - 1] else []
            found.append([*turning, unit])
            direction = step if turning else 0.0
        elif np.ptp(positions[unit]) > SAME_POSITION_MM and lies_on(unit, _flat(run)):
            found.append([unit])
            direction = 0.0
        else:
            run.append(unit)
            direction = direction or step
    return [_flat(run) for run in found]


def _flat(units: Units) -> list[int]:
    return [i for unit in units for i in unit]


def _chains(units: Units, numbers: Sequence[int], positions: Positions) -> list[Units]:
    """Slices whose numbers begin anew: each goes on from the one of the number before that lies one step away.

    None where there are more of a number than few: then it is no number of slices.
    """
    nodes = [_places(unit, positions) for unit in units]
    if max(map(len, nodes)) > FEW:
        return []
    at = [np.array([positions[node[0]] for node in here]) for here in nodes]
    pairs = [(a, b, m - n) for a, b, n, m in zip(at, at[1:], numbers, numbers[1:], strict=False) if len(a) == len(b)]
    step = float(np.median(np.concatenate([np.abs(b - a) / apart for a, b, apart in pairs]))) if pairs else 0.0
    chains: list[_Chain] = []
    for number, here in zip(numbers, nodes, strict=True):
        costs = sorted(
            (chain.cost(float(positions[node[0]]), number, step), c, n)
            for c, chain in enumerate(chains)
            for n, node in enumerate(here)
        )
        goes_on: dict[int, int] = {}
        for _, c, n in costs:
            if c not in goes_on.values() and n not in goes_on:
                goes_on[n] = c
        for n, node in enumerate(here):
            if n not in goes_on:
                chains.append(_Chain([]))
            chains[goes_on.get(n, -1)].add(node, float(positions[node[0]]), number)
    return [chain.units for chain in chains] if 1 < len(chains) <= FEW else []


def _places(unit: Sequence[int], positions: Positions) -> Units:
    found: Units = []
    for i in sorted(unit, key=lambda i: float(positions[i])):
        if found and positions[i] - positions[found[-1][0]] <= SAME_POSITION_MM:
            found[-1].append(i)
        else:
            found.append([i])
    return found


@dataclass
class _Chain:
    units: Units
    last: float = 0.0
    number: int = 0
    direction: float = 0.0

    def add(self, unit: list[int], position: float, number: int) -> None:
        self.direction = float(np.sign(position - self.last)) if self.units else 0.0
        self.units.append(unit)
        self.last, self.number = position, number

    def cost(self, position: float, number: int, step: float) -> float:
        """How far a position is from where the chain should go on, in mm."""
        way, expected = position - self.last, step * (number - self.number)
        return abs(way - self.direction * expected) if self.direction else abs(abs(way) - expected)
