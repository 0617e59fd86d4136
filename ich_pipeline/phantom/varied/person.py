"""One patient of the varied heads: age and outline, place in the picture, bleeds and scan, all drawn once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.head import HIGHEST_MM, LOWEST_MM, Head
from ich_pipeline.phantom.lesions import Lesion, drawn
from ich_pipeline.phantom.scanners import scanner_of
from ich_pipeline.phantom.study import PatientPlan, slice_spacing
from ich_pipeline.phantom.varied.inside import Inside
from ich_pipeline.phantom.varied.outside import Outside
from ich_pipeline.phantom.varied.scan import Scan
from ich_pipeline.phantom.varied.section import Outline, Swelling, VariedSection

PLAIN_FILL = 0.84  # share of the picture's height that a plain head takes
ASKEW = 0.15  # share of the patients who lie turned to a side, at full variation by up to 50°
INFANT, CHILD, OLD = 0.08, 0.1, 0.3  # shares of the patients at full variation


@dataclass(frozen=True)
class Person:
    """A patient and the picture's geometry."""

    head: Head
    outline: Outline
    outside: Outside
    inside: Inside
    scan: Scan
    field_of_view: float  # mm
    heights: tuple[float, ...]  # of the slices, mm
    draw: Draw

    @classmethod
    def drawn(cls, plan: PatientPlan, variation: float) -> Person:
        """Draw the patient of a plan with that strength of variation (0 … 1)."""
        draw = Draw("varied", plan.seed, plan.number)
        plain = Draw("patient", plan.seed, plan.number)
        head = _aged(Head.drawn(plain.child("head")), draw.child("age"), variation)
        head, field_of_view = _placed(head, draw.child("place"), variation)
        swellings = _swellings(draw.child("swelling"), variation)
        outline = Outline(draw.child("outline"), variation, swellings, infant=head.age == 0)
        deviation = scanner_of(plan.seed, plan.number).noise_hu
        spacing = slice_spacing(plan.slices)
        start = LOWEST_MM * head.height / 76 + draw.uniform(-3, 3) - variation * draw.uniform(-3, 13)
        heights = tuple(min(start + spacing * i, HIGHEST_MM + 6) for i in range(plan.slices))
        return cls(
            head,
            outline,
            Outside.drawn(draw.child("outside"), head, variation),
            Inside.drawn(draw.child("inside"), head, variation),
            Scan.drawn(draw.child("scan"), variation, deviation),
            field_of_view,
            heights,
            draw,
        )

    def section(self, height: float, size: int) -> VariedSection:
        """The slice at a height, mm, with ``size`` × ``size`` pixels."""
        edge = self.field_of_view / size
        positions: FloatArray = ((np.arange(size) - (size - 1) / 2) * edge).astype(np.float32)
        return VariedSection(self.head, height, edge, positions, positions, ring=self.outline.at(height))


def _aged(head: Head, draw: Draw, v: float) -> Head:
    """Infants to old age: thickness of bone, fluid spaces, calcifications."""
    adult = replace(
        head,
        bone=head.bone * (1 + v * draw.uniform(-0.35, 0.4)),
        scalp=head.scalp * (1 + v * draw.uniform(-0.4, 0.7)),
        half_width=head.half_width * (1 + v * draw.uniform(-0.04, 0.06)),
        ventricles=head.ventricles * (1 + v * draw.uniform(-0.25, 0.5)),
        atrophy=min(1.0, max(0.0, head.atrophy + v * draw.uniform(-0.2, 0.35))),
        confounders=head.confounders | frozenset(_more(draw, v)),
    )
    roll = draw.unit()
    if roll < INFANT * v:
        return replace(
            adult,
            age=0,
            bone=draw.uniform(1.4, 3.0),
            scalp=draw.uniform(2.2, 4.0),
            half_length=adult.half_width * draw.uniform(1.05, 1.25),
            atrophy=draw.uniform(0.05, 0.55),
            ventricles=draw.uniform(0.8, 1.9),
            calcified=frozenset(),
        )
    if roll < (INFANT + CHILD) * v:
        return replace(
            adult, age=8, bone=draw.uniform(2.6, 4.6), scalp=draw.uniform(2.8, 5), atrophy=0.05, calcified=frozenset()
        )
    if roll < (INFANT + CHILD + OLD) * v:
        return replace(adult, age=80, atrophy=draw.uniform(0.6, 1.15), ventricles=draw.uniform(1.1, 2.1))
    return adult


def _more(draw: Draw, v: float) -> list[str]:
    shares = {"dense_falx": 0.3, "dense_sinus": 0.3, "infarct": 0.06, "chronic_subdural": 0.03, "shunt": 0.02}
    return [name for name, share in shares.items() if draw.chance(v * share)]


def _placed(head: Head, draw: Draw, v: float) -> tuple[Head, float]:
    """The head's size, turn and place in the picture, and the field of view in mm."""
    length = 2 * (head.half_length + head.bone + head.scalp)
    width = 2 * (head.half_width + head.bone + head.scalp)
    field_of_view = length / (PLAIN_FILL + v * draw.bell(-0.27, 0.19))
    free_x, free_y = 0.4 * max(field_of_view - width, 0), 0.4 * max(field_of_view - length, 0)
    turn = draw.uniform(-0.4, 0.4) if draw.chance(ASKEW) else draw.uniform(-0.09, 0.09)
    return replace(
        head,
        turn=head.turn + v * turn,
        nod=head.nod + v * draw.uniform(-0.08, 0.08),
        roll=head.roll + v * draw.uniform(-0.06, 0.06),
        skew=head.skew + v * draw.bell(-0.06, 0.06),
        shift=(
            (1 - v) * head.shift[0] + v * draw.bell(-free_x, free_x),
            (1 - v) * head.shift[1] + v * draw.bell(-free_y, free_y),
        ),
    ), field_of_view


def _swellings(draw: Draw, v: float) -> tuple[Swelling, ...]:
    count = draw.integer(1, 2) if draw.chance(0.3 * v) else 0
    return tuple(
        Swelling(
            draw.uniform(0, 4), draw.uniform(-20, 50), draw.uniform(0.2, 0.7), draw.uniform(18, 45), draw.uniform(3, 14)
        )
        for _ in range(count)
    )


def varied_lesion(kind: str, draw: Draw, person: Person, faint: bool, variation: float) -> Lesion:
    """A bleed, often smaller, thinner or nearer to the brain's density than the phantom's."""
    lesion = drawn(kind, draw, person.head, list(person.heights), faint)
    own, v = draw.child("varied"), variation
    low, high = (46, 62) if faint else (50, 90)
    if kind == "subarachnoid":  # diluted by the fluid that it lies in
        low, high = low - 4, high - 14
    density = (1 - v) * lesion.density + v * own.bell(low, high)
    smaller = 1 + v * (own.uniform(-0.5, 0.15) if kind != "intraventricular" else 0.0)
    along, across, tall = lesion.size
    if kind in ("epidural", "subdural"):  # thinner, hardly shorter
        wide = 1 + v * own.uniform(-0.3, 0.2)
        size = (along * wide, across * smaller, tall * wide)
    else:
        size = (along * smaller, across * smaller, tall * smaller)
    return replace(lesion, density=density, size=size)
