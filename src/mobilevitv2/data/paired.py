"""Images, each with a file of labels of the same name: a mask, or boxes in an XML file."""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from mobilevitv2.data.split_names import Layout, by_split, folders_in, names_in
from mobilevitv2.errors import DataError, some_of
from mobilevitv2.images.finding import LeftOut, visible_files
from mobilevitv2.images.reading import IMAGE_SUFFIXES

VOC_IMAGES = "JPEGImages"


@dataclass(frozen=True)
class PairFolders:
    """The two folders of a split; `names` says which of the files count, None means all."""

    images: Path
    labels: Path
    names: tuple[str, ...] | None = None


PairLayout = Layout[PairFolders]


def find_voc(
    source: Path, labels: str, lists: str, has_labels: Callable[[Path], bool]
) -> PairLayout | None:
    """Pascal VOC's layout, in a folder or in one for a year below; None if it isn't that.

    It is split by lists of names, or by folders. Raises DataError if there are several years.
    """
    places = [source, *sorted(source.glob("VOC2*")), *sorted(source.glob("VOCdevkit/VOC2*"))]
    roots = [r for r in places if (r / VOC_IMAGES).is_dir() and has_labels(r / labels)]
    if not roots:
        return None
    if len(roots) > 1:
        names = " and ".join(map(str, roots))
        raise DataError(f"{source} holds several data sets: {names}. Give one of them.")
    whole = PairFolders(roots[0] / VOC_IMAGES, roots[0] / labels)
    named = {path.stem.lower(): path for path in sorted((roots[0] / lists).glob("*.txt"))}
    listed = by_split(named)
    if not listed and "trainval" in named:
        listed = {"all": named["trainval"]}
    splits = {s: PairFolders(whole.images, whole.labels, names_in(p)) for s, p in listed.items()}
    return PairLayout(roots[0], splits or splits_inside(whole), "voc")


def splits_inside(whole: PairFolders) -> dict[str, PairFolders]:
    """Splits by the folders of the images; the labels may be split likewise, or not at all."""
    images = by_split(folders_in(whole.images))
    if whole.images == whole.labels or not images:
        return {"all": whole}
    labels = by_split(folders_in(whole.labels))
    return {s: PairFolders(folder, labels.get(s, whole.labels)) for s, folder in images.items()}


def pair_up(
    layout: PairLayout,
    suffixes: Collection[str],
    what: str,
    left_out: LeftOut,
    *,
    optional: bool = False,
) -> dict[str, list[tuple[Path, Path | None]]]:
    """Each split's images in the order of their names, and the file that labels each, if any.

    Raises DataError if there are no files, two have the same name, a listed one is missing, or
    one stands alone; an image may if its label is `optional`.
    """
    places = layout.splits.values()
    suffixes_in: dict[Path, set[str]] = defaultdict(set)  # images and labels may share a folder
    for place in places:
        suffixes_in[place.images].update(IMAGE_SUFFIXES)
        suffixes_in[place.labels].update(suffixes)
    files: dict[Path, list[Path]] = {}
    for folder, taken in suffixes_in.items():
        below = list(visible_files(folder, left_out, without=suffixes_in.keys() - {folder}))
        files[folder] = [p for p in below if p.suffix.lower() in taken and p.is_file()]
        left_out.strays += len(below) - len(files[folder])
    pairs: dict[str, list[tuple[Path, Path | None]]] = {}
    alone: set[Path] = set()
    for split, place in layout.splits.items():
        images = _by_name(files[place.images], place.images, IMAGE_SUFFIXES, "image", what)
        labels = _by_name(files[place.labels], place.labels, suffixes, what, what)
        names = (
            images.keys() if place.names is None else _listed(place, images.keys() | labels.keys())
        )
        if split == "test" and not any(name in labels for name in names):
            continue  # Pascal VOC keeps the labels of its test images to itself
        listed = labels if place.names is None else names
        alone |= {labels[name] for name in listed if name in labels}
        pairs[split] = [(images[n], labels.get(n)) for n in sorted(names) if n in images]
    every = [pair for of_split in pairs.values() for pair in of_split]
    unlabeled = [image for image, label in every if label is None and not optional]
    lonely = {f"images without a {what}": unlabeled}
    lonely[f"{what}s without an image"] = [*(alone - {label for _, label in every})]
    if found := "; ".join(f"{who}: {some_of(sorted(p))}" for who, p in lonely.items() if p):
        raise DataError(
            f"{layout.root} has {found}. Give each its other half, of the same name but for the "
            "suffix, or move what stands alone away."
        )
    return pairs


def _by_name(
    paths: list[Path], folder: Path, suffixes: Collection[str], kind: str, what: str
) -> dict[str, Path]:
    """The files with one of the suffixes, by their path in the folder without it."""
    named: dict[str, Path] = {}
    for path in (path for path in paths if path.suffix.lower() in suffixes):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if named.setdefault(name, path) != path:
            raise DataError(
                f"{named[name]} and {path} have the same name, by which images and {what}s are "
                "matched. Rename or remove one."
            )
    if not named:
        raise DataError(f"{folder} holds no {kind}s ({', '.join(sorted(suffixes))}). Add them.")
    return named


def _listed(place: PairFolders, there: Collection[str]) -> list[str]:
    """The names on a split's list, in which they may have the image's suffix."""
    names = [n if n in there else Path(n).with_suffix("").as_posix() for n in place.names or ()]
    if absent := [name for name in names if name not in there]:
        raise DataError(
            f"{place.images} lacks images that are on the list of its split: {some_of(absent)}. "
            "Add them, or take them off the list."
        )
    return list(dict.fromkeys(names))
