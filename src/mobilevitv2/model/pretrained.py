"""What all models share: opening any checkpoint, saving, the hub, a few properties."""

import inspect
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from mobilevitv2.checkpoint.files import NOTE, safetensors_bytes, write_weights
from mobilevitv2.checkpoint.layouts import LAYOUTS, check, from_ours, task_of
from mobilevitv2.checkpoint.opening import Checkpoint, open_checkpoint
from mobilevitv2.config import CONFIG_NAME, MobileViTV2Config, checked_labels
from mobilevitv2.errors import CheckpointError, require
from mobilevitv2.files.source import WEIGHTS_NAME
from mobilevitv2.files.writing import write_together
from mobilevitv2.processor_settings import FILE_NAME

if TYPE_CHECKING:
    from mobilevitv2.model.backbone import MobileViTV2Model

logger = logging.getLogger(__name__)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """A network's trainable parameters for an optimizer; no weight decay for one dimension."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


class MobileViTV2PreTrainedModel(nn.Module):
    """A model with a config, opened from checkpoints and saved to them."""

    config_class = MobileViTV2Config
    base_model_prefix = "mobilevitv2"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["AttentionStage"]
    checkpoint_layout: str | None = None  # of the checkpoint it is from; None without one

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | nn.Module | Checkpoint,
        *,
        config: MobileViTV2Config | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
        dtype: torch.dtype | None = None,
        ignore_mismatched_sizes: bool = False,
        **overrides: Any,
    ) -> Self:
        """A model in eval mode, from a hub id, a folder, a weights file or a live model.

        The layouts of transformers, timm and ml-cvnets are recognized by their keys; `overrides`
        are config fields (`num_labels`, `id2label`, `output_stride`, ...) or arguments of the
        class. `source` may also be an open `Checkpoint`.

        Every tensor must fit, with exceptions that are logged: the head is new if the checkpoint
        has none, or if `num_labels` or `id2label` ask for other classes or another task; a backbone
        leaves out a checkpoint's head; with `ignore_mismatched_sizes` all tensors of another shape
        are new. Raises CheckpointError with all differences, ConfigError, or FileNotFoundError.
        """
        given = None if config is None else config.to_dict()
        hub: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
        checkpoint = open_checkpoint(source, given, local_files_only=local_files_only, **hub)
        options = cls._options_among(overrides)
        any_head = bool(overrides.keys() & {"num_labels", "id2label"})
        names = checkpoint.config.get("id2label")
        if names and overrides.get("num_labels") == len(names):
            del overrides["num_labels"]  # no change, and the class names stay
        model = cls(cls.config_class.from_dict(checkpoint.config, **overrides), **options)
        model._load(checkpoint, any_head=any_head, any_shape=ignore_mismatched_sizes)
        model.checkpoint_layout = checkpoint.layout
        return model.to(dtype).eval()

    @classmethod
    def _options_among(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        """Move the arguments of `__init__` out of `overrides`; the rest must be config fields."""
        arguments = inspect.signature(cls).parameters.keys() - {"config"}
        options = {name: overrides.pop(name) for name in arguments & overrides.keys()}
        known = {field.name for field in fields(cls.config_class)}
        if strange := sorted(overrides.keys() - known):
            raise TypeError(
                f"{cls.__name__}.from_pretrained doesn't know {', '.join(strange)}: neither an "
                f"argument nor a field of {cls.config_class.__name__}."
            )
        return options

    def _load(self, checkpoint: Checkpoint, *, any_head: bool, any_shape: bool) -> None:
        backbone = f"{self.base_model_prefix}."
        inside = "" if hasattr(self, self.base_model_prefix) else backbone  # we are the backbone
        expected = {f"{inside}{key}": tensor for key, tensor in self.state_dict().items()}
        state, unknown, task = dict(checkpoint.state), checkpoint.unknown, task_of(expected)
        if checkpoint.task not in (task, "backbone"):
            if task != "backbone" and not any_head:
                raise CheckpointError(
                    f"{checkpoint.name} is a {checkpoint.task} checkpoint, and "
                    f"{type(self).__name__} is for {task}. Open it with the class for "
                    f"{checkpoint.task}; or, for its backbone under a new head, pass num_labels or "
                    "id2label."
                )
            state = {key: tensor for key, tensor in state.items() if key.startswith(backbone)}
            unknown = [key for key in unknown if task_of([key]) == "backbone"]
            logger.warning("%s: leaving out its %s head", checkpoint.name, checkpoint.task)

        head = {key for key in expected if not key.startswith(backbone)}
        other = {k for k in expected if k in state and state[k].shape != expected[k].shape}
        fresh = other if any_shape else set()
        if checkpoint.task != task or (any_head and head & other):
            fresh = fresh | head
        if fresh:
            logger.warning(
                "%s doesn't have, in this model's shape, %s: newly initialized, to be trained "
                "before use",
                checkpoint.name,
                ", ".join(key for key in expected if key in fresh),
            )
        state |= {key: expected[key] for key in fresh}
        try:
            check(state, expected, checkpoint.layout, unknown)
        except CheckpointError as error:
            hint = " For a new head, pass num_labels." if head & other else ""
            raise CheckpointError(f"{checkpoint.name}: {error}{hint}") from None
        self.load_state_dict({key.removeprefix(inside): tensor for key, tensor in state.items()})

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        state_dict: Mapping[str, Tensor] | None = None,
        push_to_hub: bool = False,
        repo_id: str | None = None,
    ) -> None:
        """Write config.json and model.safetensors, which transformers opens too; both or neither.

        Also preprocessor_config.json, if the config holds its content and the folder has none. The
        weights' metadata repeats the config. `state_dict` is other weights of this model, such as a
        moving average. With `push_to_hub` the folder also goes to the hub, as `repo_id` or under
        its own name.
        """
        state = self.state_dict() if state_dict is None else state_dict
        if state_dict is not None:
            check(state_dict, self.state_dict(), "transformers")
        config = {
            **self.config.to_dict(),
            "architectures": [type(self).__name__],
            "dtype": str(self.dtype).removeprefix("torch."),
        }
        for stale in ("torch_dtype", "_name_or_path", "_commit_hash"):  # of the file it came from
            config.pop(stale, None)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            folder / WEIGHTS_NAME: safetensors_bytes(state, self._note()),
            folder / CONFIG_NAME: text.encode(),
        }
        if self.config.preprocessor_config and not (folder / FILE_NAME).exists():
            settings = json.dumps(self.config.preprocessor_config, indent=2, sort_keys=True) + "\n"
            files[folder / FILE_NAME] = settings.encode()
        write_together(files)
        if push_to_hub:
            self.push_to_hub(repo_id or folder.name)

    def save_as(self, path: str | Path, *, layout: str) -> None:
        """Save in a published layout: a folder for "transformers", one file for the others.

        timm and ml-cvnets open .pth and .pt; timm .safetensors too. The config and class names are
        in such a file's metadata, which those two ignore.
        """
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}.")
        if layout == "transformers":
            self.save_pretrained(path)
        else:
            write_weights(from_ours(self.state_dict(), layout), path, self._note())

    def _note(self) -> dict[str, str]:
        """The config as metadata of weights, for when they travel alone."""
        return {NOTE: json.dumps(self.config.to_dict())}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if metadata is not None and not prefix.endswith(f"{self.base_model_prefix}."):
            metadata.update(self._note())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload MobileViTv2",
        private: bool | None = None,
        revision: str | None = None,
        token: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Save to a hub repository, made if needed, and return the commit's address."""
        api = require("huggingface_hub", extra="torch").HfApi(token=token)
        repository = api.create_repo(repo_id, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            commit = api.upload_folder(
                repo_id=repository.repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )
        return commit.commit_url

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def num_parameters(self, only_trainable: bool = False) -> int:
        """How many numbers are learned; buffers such as running means don't count."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    parameter_groups = parameter_groups

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations in backward: less memory, more time."""
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        self._set_gradient_checkpointing(False)

    def _set_gradient_checkpointing(self, on: bool) -> None:
        for module in self.modules():
            if hasattr(module, "gradient_checkpointing"):
                setattr(module, "gradient_checkpointing", on)  # noqa: B010 - a bool, says pyright

    def _gives_hidden_states(self, output_hidden_states: bool | None) -> bool:
        default = self.config.output_hidden_states
        return default if output_hidden_states is None else output_hidden_states

    def _returns_dict(self, return_dict: bool | None) -> bool:
        return self.config.return_dict if return_dict is None else return_dict


class MobileViTV2TaskModel(MobileViTV2PreTrainedModel):
    """A backbone with a head for named classes."""

    mobilevitv2: "MobileViTV2Model"
    num_labels: int | None

    def freeze(self, stages: int = 5) -> None:
        """Freeze the backbone's stem and first `stages` stages; the head still trains."""
        self.mobilevitv2.freeze(stages)

    def unfreeze(self) -> None:
        self.mobilevitv2.unfreeze()

    def reset_classifier(
        self, num_labels: int, id2label: Mapping[int, str] | Sequence[str] | None = None
    ) -> None:
        """New class scores for `num_labels` classes, without colors; the rest stays as learned."""
        named = None if id2label is None else checked_labels(id2label)
        self.config.id2label = MobileViTV2Config(num_labels=num_labels, id2label=named).id2label
        self.config.forget_class_facts()
        self.num_labels = num_labels
        self._reset_scores()

    def _reset_scores(self) -> None:
        """Give the head new last layers for the config's classes, with the old device and dtype."""
        raise NotImplementedError
