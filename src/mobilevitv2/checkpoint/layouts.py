"""The three published key layouts, side by side; our own models use transformers' one.

Every tensor has the same shape in all three, so a checkpoint is converted by renaming alone. The
tables are one-to-one: one direction is written here, the other is computed.

Sources: state dicts of ml-cvnets (v0.2 and later), timm 1.0 and transformers 5.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from mobilevitv2.errors import CheckpointError

Row = tuple[str, str | None, str | None, tuple[str, ...]]
Rows = tuple[Row, ...]
Places = tuple[str, str | None, str | None]

WEIGHT = ("weight",)
AFFINE = ("weight", "bias")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

LAYOUTS = ("transformers", "timm", "cvnets")  # the order of the columns below

# Each row: the module's name in the three layouts, and the tensors in it.
STEM = (
    ("convolution", "conv", "conv", WEIGHT),
    ("normalization", "bn", "norm", BATCH_NORM),
)
INVERTED_RESIDUAL = (
    ("expand_1x1.convolution", "conv1_1x1.conv", "exp_1x1.block.conv", WEIGHT),
    ("expand_1x1.normalization", "conv1_1x1.bn", "exp_1x1.block.norm", BATCH_NORM),
    ("conv_3x3.convolution", "conv2_kxk.conv", "conv_3x3.block.conv", WEIGHT),
    ("conv_3x3.normalization", "conv2_kxk.bn", "conv_3x3.block.norm", BATCH_NORM),
    ("reduce_1x1.convolution", "conv3_1x1.conv", "red_1x1.block.conv", WEIGHT),
    ("reduce_1x1.normalization", "conv3_1x1.bn", "red_1x1.block.norm", BATCH_NORM),
)
LOCAL = (
    ("conv_kxk.convolution", "conv_kxk.conv", "local_rep.0.block.conv", WEIGHT),
    ("conv_kxk.normalization", "conv_kxk.bn", "local_rep.0.block.norm", BATCH_NORM),
    ("conv_1x1.convolution", "conv_1x1", "local_rep.1.block.conv", WEIGHT),
)
ATTENTION = (
    ("layernorm_before", "norm1", "pre_norm_attn.0", AFFINE),
    (
        "attention.qkv_proj.convolution",
        "attn.qkv_proj",
        "pre_norm_attn.1.qkv_proj.block.conv",
        AFFINE,
    ),
    (
        "attention.out_proj.convolution",
        "attn.out_proj",
        "pre_norm_attn.1.out_proj.block.conv",
        AFFINE,
    ),
    ("layernorm_after", "norm2", "pre_norm_ffn.0", AFFINE),
    ("ffn.conv1.convolution", "mlp.fc1", "pre_norm_ffn.1.block.conv", AFFINE),
    ("ffn.conv2.convolution", "mlp.fc2", "pre_norm_ffn.3.block.conv", AFFINE),
)
PROJECTION = (
    ("layernorm", "norm", "global_rep.{depth}", AFFINE),
    ("conv_projection.convolution", "conv_proj.conv", "conv_proj.block.conv", WEIGHT),
    ("conv_projection.normalization", "conv_proj.bn", "conv_proj.block.norm", BATCH_NORM),
)
CLASSIFIER: Rows = (("classifier", "head.fc", "classifier.1", AFFINE),)
# timm has neither segmentation nor detection.
HEAD_CONVOLUTION: Rows = (
    ("convolution", None, "block.conv", WEIGHT),
    ("normalization", None, "block.norm", BATCH_NORM),
)
HEAD_SCORES: Rows = (("convolution", None, "block.conv", AFFINE),)
SEPARABLE: Rows = (
    ("conv_3x3.convolution", None, "dw_conv.block.conv", WEIGHT),
    ("conv_3x3.normalization", None, "dw_conv.block.norm", BATCH_NORM),
    ("conv_1x1.convolution", None, "pw_conv.block.conv", WEIGHT),
    ("conv_1x1.normalization", None, "pw_conv.block.norm", BATCH_NORM),
)
POOLED_MAP: Rows = (("conv_1x1.convolution", None, "1.block.conv", WEIGHT),)
PREDICTOR: Rows = (  # the projection is there only where the map has other channels
    ("projection.convolution", None, "proj_layer.block.conv", WEIGHT),
    ("projection.normalization", None, "proj_layer.block.norm", BATCH_NORM),
    ("conv_3x3.convolution", None, "loc_cls_layer.dw_conv.block.conv", WEIGHT),
    ("conv_3x3.normalization", None, "loc_cls_layer.dw_conv.block.norm", BATCH_NORM),
    ("conv_1x1.convolution", None, "loc_cls_layer.pw_conv.block.conv", AFFINE),
)
LAST_PREDICTOR: Rows = (("conv_1x1.convolution", None, "loc_cls_layer.block.conv", AFFINE),)

# Where the rows stand: their prefix in the three layouts. Slots: i stage from 0, s = i + 1,
# b block of the stage, j attention layer, depth the number of attention layers of the stage.
IN_STEM = ("mobilevitv2.conv_stem.", "stem.", "conv_1.block.")
IN_STAGE = ("mobilevitv2.encoder.layer.{i}.layer.{b}.", "stages.{i}.{b}.", "layer_{s}.{b}.block.")
IN_DOWNSAMPLING = (
    "mobilevitv2.encoder.layer.{i}.downsampling_layer.",
    "stages.{i}.0.",
    "layer_{s}.0.block.",
)
IN_BLOCK = ("mobilevitv2.encoder.layer.{i}.", "stages.{i}.1.", "layer_{s}.1.")
IN_ATTENTION = (
    "mobilevitv2.encoder.layer.{i}.transformer.layer.{j}.",
    "stages.{i}.1.transformer.{j}.",
    "layer_{s}.1.global_rep.{j}.",
)
AT_TOP = ("", "", "")

# The heads, each a list of (place, rows), in the reference's order.
HEADS: dict[str, list[tuple[Places, Rows]]] = {
    "classification": [(AT_TOP, CLASSIFIER)],
    "auxiliary": [
        (("auxiliary_head.conv.", None, "seg_head.aux_head.0."), HEAD_CONVOLUTION),
        (("auxiliary_head.classifier.", None, "seg_head.aux_head.2."), HEAD_SCORES),
    ],
    "deeplabv3": [
        *(
            (
                (
                    f"segmentation_head.aspp.convs.{i}.",
                    None,
                    f"seg_head.aspp.aspp_layer.convs.{i}.",
                ),
                HEAD_CONVOLUTION,
            )
            for i in range(4)
        ),
        (
            (
                "segmentation_head.aspp.convs.4.conv_1x1.",
                None,
                "seg_head.aspp.aspp_layer.convs.4.aspp_pool.conv_1x1.",
            ),
            HEAD_CONVOLUTION,
        ),
        (
            ("segmentation_head.aspp.project.", None, "seg_head.aspp.aspp_layer.project."),
            HEAD_CONVOLUTION,
        ),
    ],
    "pspnet": [
        *(
            (
                (
                    f"segmentation_head.pyramid.branches.{i}.",
                    None,
                    f"seg_head.psp_layer.psp_branches.{i}.1.",
                ),
                HEAD_CONVOLUTION,
            )
            for i in range(4)
        ),
        (
            ("segmentation_head.pyramid.fusion.", None, "seg_head.psp_layer.fusion.0."),
            HEAD_CONVOLUTION,
        ),
    ],
    "segmentation": [
        (("segmentation_head.classifier.", None, "seg_head.classifier."), HEAD_SCORES),
    ],
    "detection": [
        *(
            ((f"detection_head.extra_layers.{i}.", None, f"extra_layers.os_{64 << i}."), SEPARABLE)
            for i in range(3)
        ),
        (("detection_head.extra_layers.3.", None, "extra_layers.os_-1."), POOLED_MAP),
        *(
            ((f"detection_head.predictors.{i}.", None, f"ssd_heads.{i}."), PREDICTOR)
            for i in range(5)
        ),
        (("detection_head.predictors.5.", None, "ssd_heads.5."), LAST_PREDICTOR),
    ],
}

# Other published spellings of a layout: pattern and what stands in the tables instead.
SPELLINGS = {
    "transformers": (r"^(?=conv_stem\.|encoder\.layer\.)", "mobilevitv2."),  # bare MobileViTV2Model
    "timm": (r"^stages_(?=\d)", "stages."),  # features_only=True
    "cvnets": (r"^encoder\.(?=conv_1\.|layer_)", ""),  # inside a segmentation or detection model
}
WRAPPERS = ("module.", "model.", "_orig_mod.")  # DataParallel, Lightning, torch.compile
IN_A_TASK_MODEL = "encoder."  # what ml-cvnets puts before the backbone's keys, but for classifiers
TASK_HEADS = {  # first part of a key, by task; in any layout
    "classifier": "classification",
    "head": "classification",
    "segmentation_head": "segmentation",
    "auxiliary_head": "segmentation",
    "seg_head": "segmentation",
    "detection_head": "detection",
    "extra_layers": "detection",
    "ssd_heads": "detection",
}
VERSION_1 = re.compile(r"(stages\.\d\.1\.conv_fusion|layer_\d\.1\.fusion|layer\.\d\.fusion)\.")


def key_table(
    layout: str, n_attn_blocks: Sequence[int], heads: Sequence[str] = tuple(HEADS)
) -> dict[str, str]:
    """Every key of a model with these heads in `layout`, to our name, in the models' own order."""
    column = LAYOUTS.index(layout)
    table = {}

    def add(places: Places, rows: Rows, **slots: int) -> None:
        for row in rows:
            if places[column] is None or row[column] is None:
                continue
            theirs, ours = (f"{places[c]}{row[c]}".format(**slots) for c in (column, 0))
            table.update({f"{theirs}.{tensor}": f"{ours}.{tensor}" for tensor in row[3]})

    add(IN_STEM, STEM)
    for i, b in ((0, 0), (1, 0), (1, 1)):
        add(IN_STAGE, INVERTED_RESIDUAL, i=i, s=i + 1, b=b)
    for i, depth in enumerate(n_attn_blocks, start=2):
        add(IN_DOWNSAMPLING, INVERTED_RESIDUAL, i=i, s=i + 1)
        add(IN_BLOCK, LOCAL, i=i, s=i + 1)
        for j in range(depth):
            add(IN_ATTENTION, ATTENTION, i=i, s=i + 1, j=j)
        add(IN_BLOCK, PROJECTION, i=i, s=i + 1, depth=depth)
    for head in heads:
        for places, rows in HEADS[head]:
            add(places, rows)
    return table


def count_attention_layers(keys: Collection[str], layout: str = "transformers") -> list[int]:
    """How many attention layers stages 3, 4 and 5 have, read off the keys (cf. `n_attn_blocks`)."""
    counts = []
    for i in (2, 3, 4):
        place = IN_ATTENTION[LAYOUTS.index(layout)].format(i=i, s=i + 1, j="J")
        layer = re.compile(re.escape(place).replace("J", r"(\d{1,4})") + r"\w+\.")
        found = [int(match[1]) for match in map(layer.match, keys) if match]
        counts.append(min(max(found, default=-1) + 1, len(keys)))
    return counts


def recognize(keys: Iterable[str]) -> str:
    """The name of the layout that has most of these keys. Raises CheckpointError for none."""
    keys = list(keys)
    if any(VERSION_1.search(key) for key in keys):
        raise CheckpointError(
            "these weights have the fusion layers of MobileViT version 1, which MobileViTv2 lacks. "
            "Open them with the library that made them."
        )
    known = {layout: len(_matched(keys, layout)) for layout in LAYOUTS}
    layout = max(known, key=known.__getitem__)
    if known[layout] < 0.5 * len(keys) or not keys:
        seen = ", ".join(keys[:6]) or "nothing"
        raise CheckpointError(
            f"this is no MobileViTv2 checkpoint as {', '.join(LAYOUTS)} lay it out: "
            f"{known[layout]} of its {len(keys)} keys are known. It begins with {seen}."
        )
    return layout


def task_of(keys: Iterable[str]) -> str:
    """What a checkpoint is for: "backbone", "classification", "segmentation" or "detection"."""
    heads = {key.split(".")[0] for key in _unwrapped(list(keys))}
    return next((task for head, task in TASK_HEADS.items() if head in heads), "backbone")


def rename(state: Mapping[str, Tensor], layout: str) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under our names, and the keys that have none."""
    matched = _matched(list(state), layout)
    renamed = {ours: state[key] for key, ours in matched.items()}
    return renamed, [key for key in state if key not in matched]


def to_ours(
    state: Mapping[str, Tensor], layout: str, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors under our names; exactly those of `expected`, in name and shape.

    `expected` is the state dict of a model with a head. All differences are one CheckpointError.
    """
    renamed, unknown = rename(state, layout)
    check(renamed, expected, layout, unknown)
    return renamed


def from_ours(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """A model's state dict under the names of `layout`. Raises CheckpointError for other keys."""
    ours = _respelled(list(state), "transformers")
    table = key_table(layout, count_attention_layers(ours.values()))
    names = {our: their for their, our in table.items()}
    if unknown := [key for key, our in ours.items() if our not in names]:
        raise CheckpointError(f"the layout of {layout} has no place for: {', '.join(unknown)}.")
    inside = layout == "cvnets" and task_of(state) not in ("backbone", "classification")
    return {
        f"{IN_A_TASK_MODEL if inside and task_of([key]) == 'backbone' else ''}{names[ours[key]]}": t
        for key, t in state.items()
    }


def check(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    layout: str,
    unknown: Sequence[str] = (),
) -> None:
    """Raise CheckpointError with every difference between a renamed state dict and a model's.

    `unknown` are keys of the file that have no name here. What is said uses the file's own names.
    """
    depths = count_attention_layers(expected)
    names = {our: their for their, our in key_table(layout, depths).items()}
    differences = {
        "missing": [names.get(key, key) for key in expected if key not in state],
        "unexpected": [*unknown, *(names.get(key, key) for key in state if key not in expected)],
        "of another shape or kind": [
            f"{names.get(key, key)} is {_kind(state[key])} where {_kind(wanted)} is wanted"
            for key, wanted in expected.items()
            if key in state and not _fits(state[key], wanted)
        ],
    }
    said = [f"{len(keys)} {what}: {', '.join(keys)}" for what, keys in differences.items() if keys]
    if said:
        raise CheckpointError(
            f"the checkpoint (layout of {layout}) does not fit the model. {'; '.join(said)}."
        )


def _matched(keys: list[str], layout: str) -> dict[str, str]:
    """Those keys that `layout` knows, to our names; of two spellings of one key, the first."""
    plain = _respelled(keys, layout)
    table = key_table(layout, count_attention_layers(plain.values(), layout))
    matched = {table[name]: key for key, name in reversed(plain.items()) if name in table}
    return {key: ours for ours, key in reversed(matched.items())}


def _respelled(keys: list[str], layout: str) -> dict[str, str]:
    """Each key to the spelling that the tables use."""
    pattern, replacement = SPELLINGS[layout]
    plain = _unwrapped(keys)
    return {key: re.sub(pattern, replacement, name) for key, name in zip(keys, plain, strict=True)}


def _unwrapped(keys: list[str]) -> list[str]:
    """The keys without the prefixes that all of them owe to a wrapper around the model."""
    while prefix := next((w for w in WRAPPERS if keys and all(k.startswith(w) for k in keys)), ""):
        keys = [key.removeprefix(prefix) for key in keys]
    return keys


def _fits(tensor: Tensor, wanted: Tensor) -> bool:
    """Same shape, and floats where floats are wanted: quantized integers are no weights."""
    floats = tensor.is_floating_point() or not wanted.is_floating_point()
    return tensor.shape == wanted.shape and floats


def _kind(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
