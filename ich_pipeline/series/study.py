"""One study: try its candidate series in order of preference, decode the first that holds, account for all its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.contrast_header import told, volume_named
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.series.cautions import with_cautions
from ich_pipeline.series.choice import LEAST_SHARE, Standing, standings, why_behind
from ich_pipeline.series.group_volume import Verdicts, Volume, decode_group
from ich_pipeline.series.joining import series_of
from ich_pipeline.series.looking import Look, no_skull
from ich_pipeline.series.series import Group, judged, stack
from ich_pipeline.series.unread import not_read

# A reconstruction that was made later, a thick average, a virtual image: in this order, where nothing else is there.
LAST_RESORTS = (Reason.SECONDARY, Reason.REFORMATTED, Reason.VIRTUAL)


# Does a header say that a series shows another part of the body than the head? It may be wrong, so it never tells
# alone.

_HEAD = re.compile(r"\b(HEAD|BRAIN|SKULL|CRANI\w*|CEREBR\w*|NEURO\w*|KOPF|SCHAEDEL|CCT|TETE)\b")
_OTHER = re.compile(
    r"\b([CTL] ?-?SPINE|[CTL]SP|SPINE|CERVICAL|CERVIX|NECK|HALS|HWS|CHEST|THORAX|LUNG|ABDOMEN|PELVIS|SHOULDER|CAROTID\w*)\b"
)


def named_elsewhere(header: Header) -> str:
    """The field that names another part of the body, where none names the head; empty where none does."""
    said = {"BodyPartExamined": told(header.body_part), "SeriesDescription": told(header.series_description)}
    if any(_HEAD.search(text) for text in said.values()):
        return ""
    return next((f"{keyword} {text.splitlines()[0]}" for keyword, text in said.items() if _OTHER.search(text)), "")


@dataclass(frozen=True)
class StudyReading:
    """What became of one study's candidates.

    Attributes:
        groups: the candidates and last resorts: as given, but for those joined of parts that the pixels showed to be of
            different parts of the body.
        parted: there was such a group.
        volume: the chosen series, None where none is usable.
        chosen: index of the chosen group in ``groups``, −1 for none.
        group_reasons: reason and detail of each group.
        places: place of each group in the choice: 1 the chosen one, 2 the runner-up and so on, 0 for one
            whose pixels left too little, and for a last resort that was not needed.
        verdicts: file name → reason and detail, for every file of every group.
        cautions: what a person must know of the chosen series; also at the end of its detail.
    """

    groups: tuple[Group, ...]
    parted: bool
    volume: Volume | None
    chosen: int
    group_reasons: tuple[tuple[Reason, str], ...]
    places: tuple[int, ...]
    verdicts: Verdicts
    cautions: tuple[str, ...] = ()


def read_study(
    groups: Sequence[Group],
    ingest: IngestParams,
    failed: Mapping[str, tuple[Reason, str]] | None = None,
    others: Sequence[Group] = (),
) -> StudyReading:
    """Decode the best usable series of a study.

    A file that cannot be decoded is rejected and its neighbours stay; only where too few slices are left does the next
    series of the study get its turn.

    Args:
        groups: the study's candidates and last resorts, at least one, in any order.
        ingest: all but workers and slice_thickness_mm count.
        failed: verdicts of slices whose decoding is known to bring the process down: rejected unread.
        others: the study's groups that are set aside; where the head goes on in one of them, that is said.
    """
    failed = failed or {}
    look = Look(ingest, failed)
    given, groups = groups, _without_doubt(groups, look, ingest)
    parted = len(groups) > len(given)
    order, standing = _order(groups, look, ingest)
    # Of those parted above: every other group's fate is told below.
    verdicts: Verdicts = {h.name: (g.reason, g.detail) for g in groups if g.reason for h in g.headers}
    reasons = {i: (g.reason, g.detail) for i, g in enumerate(groups) if g.reason}
    places = [0] * len(groups)
    chosen, volume = -1, None
    for i in order:
        group = groups[i]
        if volume is not None:
            if group.reason is not None:
                continue  # a last resort that is not needed keeps its reason
            behind = why_behind(group, standing[i], groups[chosen], standing[chosen], ingest)
            reasons[i] = _not_chosen(group, groups[chosen], behind)
            used = {h.sop_instance_uid for h in volume.headers}
            copy = (Reason.DUPLICATE_INSTANCE, "")
            verdicts |= {h.name: copy if h.sop_instance_uid in used else reasons[i] for h in group.headers}
            if places[i] == 2:
                reasons[chosen] = (Reason.USED, f"{reasons[chosen][1]}; the runner-up {behind}")
            continue
        volume, outcome, why = _decode(group, ingest, failed)
        if volume is None and group.reason is not None:
            mine = (group.reason, f"{group.detail}; {why[1]}")
            outcome = {name: mine if found == why else found for name, found in outcome.items()}
            why = mine
        verdicts |= outcome
        if volume is None:
            reasons[i] = why
            continue
        chosen = i
        rank = [j for j in order[order.index(i) :] if j == i or groups[j].reason is None]
        for place, j in enumerate(rank, start=1):
            places[j] = place
        left = sum(place > 0 for place in places)
        alone = "the only usable series of the study"
        reasons[i] = (Reason.USED, alone if left == 1 else f"first of {left} usable series")
    cautions: tuple[str, ...] = ()
    if volume is not None:
        rest = [g for i, g in enumerate(groups) if i != chosen]
        unread, broken = not_read(volume, groups[chosen], [*rest, *others], look, verdicts, named_elsewhere)
        verdicts |= {n: why for n, why in broken.items() if n in verdicts and verdicts[n][0] is Reason.NOT_CHOSEN}
        cautions = _cautions(groups[chosen], volume) + unread
        reasons[chosen] = (Reason.USED, with_cautions(reasons[chosen][1], cautions))
    fates = tuple(reasons[i] for i in range(len(groups)))
    return StudyReading(tuple(groups), parted, volume, chosen, fates, tuple(places), verdicts, cautions)


def _order(groups: Sequence[Group], look: Look, ingest: IngestParams) -> tuple[list[int], dict[int, Standing]]:
    """Indices of the groups in the order in which they are tried; and the standing of each among its like.

    A candidate that shows hardly any brain beside a last resort that does goes behind it: it is a neck, or an end of a head.
    """
    kinds = [[i for i, g in enumerate(groups) if g.reason is None]]
    kinds += [[i for i, g in enumerate(groups) if g.reason is kind and g.last_resort] for kind in LAST_RESORTS]
    brains = _brains(groups, kinds[0], [i for members in kinds[1:] for i in members], look)
    most = max(brains.values(), default=0.0)
    standing: dict[int, Standing] = {}
    for members in kinds:
        shown = [brains[i] for i in members if i in brains]
        of_kind = [groups[i] for i in members]
        known = shown if len(shown) == len(members) else None
        standing |= dict(zip(members, standings(of_kind, ingest, known, most if known else 0.0), strict=True))
    order = [i for members in kinds for i in sorted(members, key=standing.__getitem__)]
    return sorted(order, key=lambda i: standing[i].elsewhere), standing


def _brains(groups: Sequence[Group], candidates: list[int], last: list[int], look: Look) -> dict[int, float]:
    """Millimetres of brain of the groups among which that makes a difference: a look costs time.

    Last resorts are looked at only where one might show so much more than the candidates that these are set behind it.
    """
    if len(candidates) + len(last) < 2:
        return {}
    brains = {i: look.brain_mm(groups[i]) for i in candidates}
    enough = max(brains.values(), default=0.0)
    if enough < LEAST_SHARE * max((groups[i].coverage_mm for i in last), default=0.0):
        brains |= {i: look.brain_mm(groups[i]) for i in last}
    return brains


def _without_doubt(groups: Sequence[Group], look: Look, ingest: IngestParams) -> list[Group]:
    """Groups whose parts might be different parts of the body, parted where a part shows no brain."""
    found: list[Group] = []
    for group in groups:
        brains = [part for part in group.parts if len(part.slots) < ingest.minimum_slices or look.brain_mm(part) > 0]
        if len(brains) == len(group.parts):
            found.append(group)
            continue
        headers = [header for part in brains for header in part.headers]
        apart = [part for part in group.parts if part not in brains]
        found += [judged(one, ingest) for one in ([stack(headers, ingest)] if headers else []) + apart]
    return found


def _not_chosen(group: Group, chosen: Group, behind: str) -> tuple[Reason, str]:
    if group.acquisition and chosen.acquisition and group.first.series_uid == chosen.first.series_uid:
        return Reason.OTHER_ACQUISITION, f"{group.acquisition}, a second acquisition of the same stretch, {behind}"
    return Reason.NOT_CHOSEN, behind


def _decode(
    group: Group, ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]]
) -> tuple[Volume | None, Verdicts, tuple[Reason, str]]:
    """As :func:`decode_group`; a series of which header and pixels say that it shows no head is none."""
    volume, verdicts, why = decode_group(group, ingest, failed)
    elsewhere = named_elsewhere(group.first)
    if volume is None or not elsewhere or not no_skull(volume.hu, volume.positions_mm, volume.spacing_mm):
        return volume, verdicts, why
    why = (Reason.NO_BRAIN, f"{elsewhere}, and the pixels show no brain inside a skull")
    good = (Reason.USED, Reason.DUPLICATE_INSTANCE, Reason.DUPLICATE_POSITION)
    return None, {name: why if found[0] in good else found for name, found in verdicts.items()}, why


def _cautions(group: Group, volume: Volume) -> tuple[str, ...]:
    found = []
    if group.reason is not None:
        found.append(f"read as a last resort, since nothing better is there: {group.reason} ({group.detail})")
    if len(series := series_of(volume.headers)) > 1:
        found.append(f"one head in {len(series)} series that adjoin or fill each other's holes, read as one")
    found += dict.fromkeys(h.remark for h in volume.headers if h.remark)
    kernels = list(dict.fromkeys(h.kernel for h in volume.headers))
    if len(kernels) > 1:
        found.append(f"reconstructed with {len(kernels)} kernels: {', '.join(k or 'one not named' for k in kernels)}")
    if named := next(filter(None, (volume_named(h.series_description) for h in volume.headers)), ""):
        found.append(f"SeriesDescription names a volume ({named}): if of contrast agent, this series is not to be read")
    if no_skull(volume.hu, volume.positions_mm, volume.spacing_mm):
        found.append("no slice shows brain inside a closed skull: is it a head?")
    return tuple(found)
