"""An export's options: whether its target can do that, and how to get the target's package."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from mobilevitv2.config import image_sides
from mobilevitv2.errors import ConfigError
from mobilevitv2.processor_settings import MULTIPLE
from mobilevitv2.runtime.targets import Target
from mobilevitv2.tasks import task_named

# Height and width in px to trace models for several sizes at. Only a detector's last map has sides
# of 1 there, as at every size: an exporter assumes that they always are.
TRACED = (320, 384)

Sizes = Literal["any"] | int | Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """An export's options. Wrong values raise ConfigError, which names the target."""

    target: Target
    sizes: list[tuple[int, int]] | None  # each height and width in px; None: any multiples of 32
    batch: int | None = None
    task: str = "classification"
    precision: str = "fp32"
    input: str = "float"
    output: str = "logits"
    top_k: int | None = None  # how many classes output top_k gives; None: 5
    opset: int | None = None  # None: 20
    calibration: list[Any] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        target = self.target
        kind = "any" if self.sizes is None else "one" if len(self.sizes) == 1 else "several"
        outputs = task_named(self.task).outputs
        if self.output not in outputs:
            raise ConfigError(
                f"a model for {self.task} has no output {self.output}, but {' or '.join(outputs)}."
            )
        asked = {
            "precision": (self.precision, target.precisions),
            "image size": (kind, ("one",) if target.fixed else ("one", "several", "any")),
            "input": (self.input, target.inputs),
            "output": (self.output, [name for name in outputs if name not in target.lacks]),
        }
        for what, (value, possible) in asked.items():
            if value not in possible:
                raise ConfigError(
                    f"{target.name} can't have {what} {value}; it has {', '.join(possible)}."
                )
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch is {self.batch}; it must be at least 1.")
        if self.batch is None and target.fixed:
            raise ConfigError(f"{target.name} takes a fixed number of images; give batch.")
        if self.top_k is not None and self.output != "top_k":
            raise ConfigError(f"top_k is for output top_k, and this one is {self.output}.")
        if self.opset is not None and not target.opsets:
            raise ConfigError(f"{target.name} has no opset. Leave it out.")
        if self.opset not in (None, *range(17, 22)):
            raise ConfigError(f"opset is {self.opset}; it must be 17 to 21.")

    @property
    def best(self) -> int:
        """Classes that output top_k gives, if the model has that many."""
        return 5 if self.top_k is None else self.top_k

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only size; None for several."""
        return self.sizes[0] if self.sizes and len(self.sizes) == 1 else None

    @property
    def example_size(self) -> tuple[int, int]:
        """A size to trace the model with."""
        return self.fixed_size or TRACED


def parse_sizes(sizes: Any) -> list[tuple[int, int]] | None:
    """One side, (height, width), a list of such, or "any", to what `Request` holds."""
    if sizes == "any":
        return None
    if isinstance(sizes, int) or (
        isinstance(sizes, list | tuple) and len(sizes) == 2 and all(type(s) is int for s in sizes)
    ):
        sizes = [sizes]
    if not isinstance(sizes, list | tuple) or not sizes:
        raise ConfigError(
            f"image size is {sizes!r}; expected a side, (height, width), a list of them, or 'any'."
        )
    found = list(dict.fromkeys(image_sides(size) for size in sizes))
    if len(found) > 1 and any(side % MULTIPLE for size in found for side in size):
        raise ConfigError(f"image sizes are {sizes}; several must be multiples of {MULTIPLE} px.")
    return found


def check_installed(target: Target) -> None:
    """Raise ImportError with the command that installs what `target` needs."""
    missing = [name for name in target.packages if find_spec(name) is None]
    if not missing:
        return
    command = f"pip install 'mobilevitv2[{target.extra}]'"
    if target.alone:
        folder = f"{target.extra}-env"
        command = (
            "it needs another torch than the rest, so give it an environment of its own: "
            f"python -m venv {folder} && {folder}/bin/{command}, "
            f"then {folder}/bin/mobilevitv2 export ..."
        )
    raise ImportError(
        f"{target.name} needs {', '.join(missing)}, which is not installed. Get it with: {command}"
    )
