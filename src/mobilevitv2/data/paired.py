"""Images and a file of labels for each, of the same name: masks, or boxes in XML files."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from mobilevitv2.data.sentences import some_of
from mobilevitv2.data.split_names import Layout, by_split, names_in
from mobilevitv2.errors import DataError

VOC_IMAGES = "JPEGImages"


@dataclass(frozen=True)
class PairFolders:
    """The two folders of a split; `names` says which of the files count, None means all."""

    images: Path
    labels: Path
    names: tuple[str, ...] | None = None


PairLayout = Layout[PairFolders]


def voc_roots(source: Path, has_labels: Callable[[Path], bool]) -> list[Path]:
    """The folders of Pascal VOC's layout that a folder is, or has for each year."""
    beside = [source, *sorted(source.glob("VOC2*")), *sorted(source.glob("VOCdevkit/VOC2*"))]
    return [root for root in beside if (root / VOC_IMAGES).is_dir() and has_labels(root)]


def only_root(source: Path, roots: list[Path]) -> Path:
    """Raises DataError where there are several."""
    if len(roots) > 1:
        names = " and ".join(map(str, roots))
        raise DataError(f"{source} holds several data sets: {names}. Give one of them.")
    return roots[0]


def voc_splits(whole: PairFolders, lists: Path) -> dict[str, PairFolders]:
    """By the lists of names in a folder; {} where it has none."""
    named = {path.stem.lower(): path for path in sorted(lists.glob("*.txt"))}
    listed = by_split(named)
    if not listed and "trainval" in named:
        listed = {"all": named["trainval"]}
    return {s: PairFolders(whole.images, whole.labels, names_in(p)) for s, p in listed.items()}


def by_name(paths: Iterable[Path], folder: Path, what: str) -> dict[str, Path]:
    """Files by their path in the folder without the suffix. Raises DataError if two share one."""
    named: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if named.setdefault(name, path) != path:
            raise DataError(
                f"{named[name]} and {path} have the same name, by which images and {what} are "
                "matched. Rename or remove one."
            )
    return named


def listed_names(place: PairFolders, there: Collection[str]) -> list[str]:
    """The names on a split's list, where they may have the suffix of the image.

    Raises DataError for one that isn't `there`.
    """
    names = [n if n in there else Path(n).with_suffix("").as_posix() for n in place.names or ()]
    if absent := [name for name in names if name not in there]:
        raise DataError(
            f"{place.images} lacks images that are on the list of its split: {some_of(absent)}. "
            "Add them, or take them off the list."
        )
    return list(dict.fromkeys(names))
