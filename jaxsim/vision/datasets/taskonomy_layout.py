"""Reader of Taskonomy in the folder arrangements in use, which are identified by the folders' names."""

import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxsim.io.files import few, warn
from jaxsim.vision.datasets import image_files, splits
from jaxsim.vision.datasets.records import HELD_OUT, Dataset, Label, Layout, Values, chosen, every_fourth
from jaxsim.vision.datasets.taskonomy_encodings import CLASSES, DOMAINS

FILE = re.compile(r"(point_(\d+)_view_(\d+))_domain_(\w+)(\.(?:png|npy|json))")
ARRANGEMENTS = {
    "omnitools": "DOMAIN/taskonomy/BUILDING",
    "original": "DOMAIN/BUILDING",
    "tiny": "BUILDING_DOMAIN, or that with DOMAIN in it as an archive unpacks",
    "sample": "DOMAIN, of one building",
}
"""Folder of a domain and a building in each arrangement."""

COMPLETE = "complete_only=True (--complete-only)"


class Place(NamedTuple):
    """Files of one domain of one building: `folder / (stem + tail)` for every stem; and names of other files."""

    folder: Path
    tail: str
    stems: frozenset[str]
    others: tuple[str, ...]


Places = dict[str, dict[str, Place]]
"""By domain, then by building."""


def taskonomy(
    root: str | Path,
    targets: Sequence[str] = (),
    *,
    buildings: Sequence[str] | None = None,
    complete_only: bool = False,
) -> Dataset:
    """Read Taskonomy (Zamir et al. 2018): pictures from `rgb`, any of `taskonomy_encodings.DOMAINS` as targets.

    The folder has one of `ARRANGEMENTS`. An id is 'BUILDING/point_P_view_V', ordered by building, point and view.
    Units: depths in meters, masked where 65535; edges and keypoints 16 bits as 0 to 1; normals and the two principal
    curvatures (v - 127) / 127; reshading 0 to 1; segment_semantic 1 background, 2 to 17 objects, masked where 0;
    class_object and class_scene vectors of shares. Axes of normals are those of the files. `mask_valid`, if it exists,
    masks the targets made from the mesh. `taskonomy_encodings.as_trained` gives the training targets of the released
    networks.

    Args:
        root: the folder that contains the domains' folders.
        targets: names of domains.
        buildings: buildings to read, all by default; `read_buildings` reads the published splits.
        complete_only: leave out buildings that lack a domain, and pictures that lack a file of one, with a warning that
            counts them; the domains are those of the targets or, without targets, all in the folder.

    Raises:
        FileNotFoundError: the folder, a domain, a building, or files of single pictures are missing.
        ValueError: there are no pictures, layouts are mixed, a file is out of place, or a target is unknown.
    """
    root, wanted = splits.folder_of(root), chosen("Taskonomy", targets, tuple(DOMAINS))
    layout, folders = _layout(root)
    if "rgb" not in folders:
        raise ValueError(f"{root} has no Taskonomy pictures: there is no folder of domain rgb in it.")
    checked = [domain for domain in DOMAINS if domain in folders] if complete_only and not wanted else [*wanted]
    if "mask_valid" in folders and any(DOMAINS[name].mesh for name in checked):
        checked.append("mask_valid")
    needed = list(dict.fromkeys(["rgb", *checked]))
    asked = sorted({b for domain in needed for b in folders.get(domain, {})}) if buildings is None else buildings
    kept = list(dict.fromkeys(asked))
    if complete_only:
        places, kept = _complete(root, {domain: folders.get(domain, {}) for domain in needed}, kept)
    else:
        places = {domain: _places(root, domain, folders.get(domain, {}), kept) for domain in needed}
        _check_complete(root, places, kept)
    if others := [name for of in places.values() for place in of.values() for name in place.others]:
        warn(f"{root}: left out {len(others)} files whose names are not those of Taskonomy: {few(others)}.")
    ids = tuple(f"{b}/{stem}" for b in kept for stem in sorted(places["rgb"][b].stems, key=_order))
    if not ids:
        raise ValueError(f"{root} has no Taskonomy pictures in its rgb folders.")
    labels = {
        name: Label(
            functools.partial(_path, places[name]),
            functools.partial(_values, name, places[name], places.get("mask_valid") if DOMAINS[name].mesh else None),
        )
        for name in wanted
    }
    return Dataset(f"Taskonomy ({layout})", ids, functools.partial(_picture, places["rgb"]), labels)


def _order(stem: str) -> tuple[int, int]:
    point, view = re.findall(r"\d+", stem)
    return int(point), int(view)


def _layout(root: Path) -> tuple[str, dict[str, dict[str, Path]]]:
    """The arrangement, and the folder of every domain and building, from folder names alone."""
    found: dict[str, dict[str, dict[str, Path]]] = {}
    for layout, domain, building, folder in _folders(root):
        found.setdefault(layout, {}).setdefault(domain, {})[building] = folder
    if len(found) > 1:
        shown = [f"{next(iter(next(iter(part.values())).values()))} ({name})" for name, part in found.items()]
        raise ValueError(f"{root} mixes Taskonomy layouts: {' and '.join(shown)}.")
    if not found:
        raise ValueError(
            f"{root} has no Taskonomy folders. Folders must be arranged as {'; or '.join(ARRANGEMENTS.values())}."
        )
    return next(iter(found.items()))


def _folders(root: Path) -> Iterator[tuple[str, str, str, Path]]:
    known = ("rgb", *DOMAINS)
    for place in _subfolders(root):
        if place.name in known:
            for folder in _subfolders(place):
                if folder.name == "taskonomy":
                    yield from (("omnitools", place.name, building.name, building) for building in _subfolders(folder))
                elif _holds_views(folder):  # false for other parts of Omnidata next to Taskonomy
                    yield "original", place.name, folder.name, folder
            if _holds_views(place):
                yield "sample", place.name, root.resolve().name, place
        else:
            ends = [domain for domain in known if place.name.endswith("_" + domain)]
            if ends:
                domain = max(ends, key=len)
                inner = place / domain
                building = place.name.removesuffix("_" + domain)
                yield "tiny", domain, building, inner if inner.is_dir() else place


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _holds_views(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(FILE.fullmatch(entry.name) for entry in entries)


def _places(root: Path, domain: str, folders: dict[str, Path], kept: Sequence[str]) -> dict[str, Place]:
    """The files of a domain by building."""
    if not folders:
        raise FileNotFoundError(f"{root} has no folder of domain {domain}.")
    lost = [building for building in kept if building not in folders]
    if lost:
        text = f"{root} lacks {domain} for {len(lost)} of the {len(kept)} buildings: {few(lost)}."
        raise FileNotFoundError(f"{text} To leave them out, give {COMPLETE}.")
    return {building: _place(folders[building], domain) for building in kept}


def _place(folder: Path, domain: str) -> Place:
    stems, tails, others = set(), {}, []
    known = DOMAINS[domain].files if domain in DOMAINS else ()
    for name in sorted(splits.names_in(folder)):
        parts = FILE.fullmatch(name)
        if parts is None:
            others.append(name)
            continue
        stem, _, _, own, suffix = parts.groups()
        if own not in (known or (domain,)):
            raise ValueError(f"{folder / name} is a file of domain {own!r} in the folder of {domain!r}.")
        stems.add(stem)
        tails.setdefault(f"_domain_{own}{suffix}", name)
    if len(tails) > 1:
        raise ValueError(f"{folder} names its files in two ways: {' and '.join(tails.values())}.")
    return Place(folder, next(iter(tails), ""), frozenset(stems), tuple(others))


def _check_complete(root: Path, places: Places, kept: Sequence[str]) -> None:
    """Check that every picture has a file in every domain, and warn of files without a picture."""
    spare = {}
    for domain, of_building in places.items():
        for building in kept:
            shown, there = places["rgb"][building].stems, of_building[building].stems
            absent = sorted(shown - there, key=_order)
            if absent:
                error = splits.absent_files(of_building[building].folder, absent, len(shown), f"{building}'s rgb")
                raise FileNotFoundError(f"{error} To leave out such pictures, give {COMPLETE}.")
            if there - shown:
                spare[domain] = spare.get(domain, 0) + len(there - shown)
    if spare:
        counts = ", ".join(f"{number} of {domain}" for domain, number in spare.items())
        warn(f"{root}: left out files that have no rgb picture: {counts}.")


def _complete(
    root: Path, folders: dict[str, dict[str, Path]], asked: Sequence[str]
) -> tuple[dict[str, dict[str, Place]], list[str]]:
    """Locations of what is in every domain, and the buildings; warn about the rest."""
    lacking = {b: [domain for domain, found in folders.items() if b not in found] for b in asked}
    kept = [building for building in asked if not lacking[building]]
    places = {domain: _places(root, domain, found, kept) for domain, found in folders.items() if found or kept}
    whole = {b: frozenset.intersection(*(place[b].stems for place in places.values())) for b in kept}
    views = {b: frozenset.union(*(place[b].stems for place in places.values())) for b in kept}
    lost = [f"{b} (without {', '.join(domains)})" for b, domains in lacking.items() if domains]
    total, count = (sum(map(len, of.values())) for of in (views, whole))
    if not count:
        raise ValueError(f"{root} has no picture with files in all of {', '.join(folders)}; incomplete: {few(lost)}.")
    counts = {domain: total - sum(len(place[b].stems) for b in kept) for domain, place in places.items()}
    shown = ", ".join(f"{number} without {domain}" for domain, number in counts.items() if number)
    parts = [f"{len(lost)} of {len(asked)} buildings: {few(lost)}"] if lost else []
    parts += [f"{total - count} of {total} pictures of the others: {shown}"] if count < total else []
    if parts:
        warn(f"{root}: left out {'; and '.join(parts)}.")
    cut = {
        domain: {b: one._replace(stems=whole[b]) for b, one in of_building.items()}
        for domain, of_building in places.items()
    }
    return cut, [b for b in kept if whole[b]]


def _path(places: dict[str, Place], name: str) -> Path:
    building, stem = name.rsplit("/", 1)
    place = places[building]
    return place.folder / (stem + place.tail)


def _picture(places: dict[str, Place], name: str):
    return image_files.picture(_path(places, name))


def _values(domain: str, places: dict[str, Place], whole: dict[str, Place] | None, name: str) -> Values:
    values, mask = DOMAINS[domain].decode(_path(places, name))
    if whole is None or mask is None:
        return Values(values, mask)
    there = DOMAINS["mask_valid"].decode(_path(whole, name)).values
    if there.shape != mask.shape:
        raise ValueError(f"{_path(whole, name)} is of {there.shape} pixels where {domain} has {mask.shape}.")
    return Values(values, mask & there)


def _read_folder(root: Path, split: str | None, targets: tuple[str, ...], *, complete_only: bool = False) -> Dataset:
    return taskonomy(root, targets, complete_only=complete_only)


def _train_val(root: Path, targets: tuple[str, ...], *, complete_only: bool = False) -> tuple[Dataset, Dataset]:
    """Split by the folder's list of splits; without a list, hold out every fourth building."""
    lists = sorted(root.glob("train_val_test_*.csv"))
    if len(lists) > 1:
        raise ValueError(f"{root} has {len(lists)} lists of splits; keep one of {', '.join(p.name for p in lists)}.")
    if lists:
        train, val = (splits.read_buildings(lists[0], part) for part in ("train", "val"))
        read = functools.partial(taskonomy, root, targets, complete_only=complete_only)
        return read(buildings=train), read(buildings=val)
    whole = taskonomy(root, targets, complete_only=complete_only)
    buildings = list(dict.fromkeys(name.rsplit("/", 1)[0] for name in whole.ids))
    if len(buildings) < HELD_OUT:
        return every_fourth(whole)
    held = set(buildings[HELD_OUT - 1 :: HELD_OUT])
    val = [name for name in whole.ids if name.rsplit("/", 1)[0] in held]
    return whole.without(val), whole.select(val)


TASKONOMY = Layout(
    marks=(("rgb/*",), ("*_rgb",)),
    targets={
        "semantic": "segment_semantic",
        "depth": "depth_zbuffer",
        "normals": "normal",
        "object": "class_object",
        "scene": "class_scene",
    },
    read=_read_folder,
    train_val=_train_val,
    classes=lambda root: CLASSES,
    unlabeled=(0,),
    incomplete=True,
)
