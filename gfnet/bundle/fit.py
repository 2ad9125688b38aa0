"""Checks that the parts of a manifest fit together: stages to each other, exits to their rule."""

from __future__ import annotations

from collections.abc import Iterator

from gfnet.bundle.errors import BundleError, shortened
from gfnet.bundle.manifest import (
    BATCH,
    MANIFEST_NAME,
    BundleManifest,
    SingleEntry,
    StageEntry,
    TensorEntry,
)

MAX_NUMBERS = 2**24
"""Values of one tensor between two graphs, per image: 64 MiB in float32."""

_FLOAT = "float32"
_WITHIN = ("gate", "max_prob", "margin", "entropy")
"""Rules whose scores, and so thresholds, lie from 0 to 1; `patience` counts exits."""


def check_fit(manifest: BundleManifest, where: str) -> None:
    """Check a manifest for consistency.

    Raises:
        BundleError: with all problems that were found.
    """
    problems = [
        *_names(manifest),
        *_shapes(manifest),
        *_first_and_last(manifest),
        *_connections(manifest),
        *_exits(manifest),
        *(_single(manifest, manifest.single) if manifest.single else ()),
    ]
    if problems:
        file = f"{where}: {MANIFEST_NAME}"
        raise BundleError("\n".join(f"{file}: {problem}" for problem in problems))


def _names(manifest: BundleManifest) -> Iterator[str]:
    files = [graph.file for graph in manifest.graphs]
    folded = [file.casefold() for file in files]
    for file in sorted({each for each in files if folded.count(each.casefold()) > 1}):
        yield f"the file name {file} stands for several graphs; upper and lower case do not differ"
    texts = [manifest.name, manifest.origin, *manifest.class_names, *files]
    for graph in manifest.graphs:
        names = [tensor.name for tensor in (*graph.inputs, *graph.outputs)]
        if len(set(names)) < len(names):
            yield f"{graph.file}: a tensor's name stands twice; each must have its own"
        texts += names
    for text in texts:
        if not text.isprintable():
            yield f"{shortened(text)} has control characters; use letters, digits and signs"
    if len(set(manifest.class_names)) < len(manifest.class_names):
        yield "a class name stands twice; each class has its own"


def _shapes(manifest: BundleManifest) -> Iterator[str]:
    for stage in manifest.stages:
        for tensor in (*stage.inputs, *stage.outputs):
            if tensor.shape[0] != BATCH or BATCH in tensor.shape[1:]:
                yield (
                    f"{stage.file}: {shortened(tensor.name)} is {tensor.describe()}; its first"
                    f" size must be {BATCH!r}, and no other"
                )
    for graph in manifest.graphs:
        for tensor in (*graph.inputs, *graph.outputs):
            if tensor.numbers > MAX_NUMBERS:
                yield (
                    f"{graph.file}: {shortened(tensor.name)} is {tensor.describe()}; allowed: at"
                    f" most {MAX_NUMBERS:,} values per image"
                )


def _first_and_last(manifest: BundleManifest) -> Iterator[str]:
    if not all(0 <= mean <= 1 for mean in manifest.preprocessing.mean):
        yield (
            f"preprocessing.mean is {list(manifest.preprocessing.mean)}; allowed: 0 to 1, since"
            " colours are from 0 to 1 here (divide by 255, and std too)"
        )
    side = manifest.preprocessing.crop
    image = TensorEntry("the image", _FLOAT, (BATCH, 3, side, side))
    first, last = manifest.stages[0], manifest.stages[-1]
    if len(first.inputs) != 1 or not first.inputs[0].is_like(image):
        found = ", ".join(each.describe() for each in first.inputs) or "nothing"
        yield (
            f"{first.file}: the first stage takes {found}; it must take one image,"
            f" {image.describe()}, as preprocessing.crop says"
        )
    if last.state or last.score:
        yield f"{last.file}: the last stage gives more than logits; its state must be []"


def _connections(manifest: BundleManifest) -> Iterator[str]:
    for stage, following in zip(manifest.stages[:-1], manifest.stages[1:], strict=True):
        given, taken = stage.state, following.inputs
        if not given:
            yield f"{stage.file}: gives no state to {following.file}; only the last stage may"
        elif len(given) != len(taken) or not all(map(TensorEntry.is_like, given, taken)):
            yield (
                f"{stage.file} gives {_listed(given)}, but {following.file} takes"
                f" {_listed(taken)}: they must agree in number, order, type and shape"
            )


def _exits(manifest: BundleManifest) -> Iterator[str]:
    blocks = [stage.exit_block for stage in manifest.stages]
    if blocks != sorted(set(blocks)):
        yield f"the stages' exit_block are {blocks}; each must be larger than the one before"
    logits = TensorEntry("logits", _FLOAT, (BATCH, manifest.classes))
    score = TensorEntry("score", _FLOAT, (BATCH,))
    for stage in manifest.stages:
        for found, wanted in ((stage.logits, logits), (stage.score, score)):
            if found is not None and not found.is_like(wanted):
                yield (
                    f"{stage.file}: {wanted.name} {shortened(found.name)} are {found.describe()};"
                    f" allowed: {wanted.describe()}"
                )
    yield from _rules(manifest, manifest.stages[:-1])
    exits = len(blocks) - 1
    if len(manifest.thresholds) not in {0, exits}:
        yield f"it has {len(manifest.thresholds)} thresholds for {exits} early exits"
    most = 1 if manifest.exit_rule in _WITHIN else len(blocks)
    for limit in manifest.thresholds:
        if most < limit < float("inf"):
            yield (
                f"its threshold {limit:g} is out of the range of {manifest.exit_rule}: allowed are"
                f" 0 to {most}, or 'inf': no image exits there"
            )
    if len(manifest.class_names) not in {0, manifest.classes}:
        yield f"it has {len(manifest.class_names)} class names for {manifest.classes} classes"


def _rules(manifest: BundleManifest, early: tuple[StageEntry, ...]) -> Iterator[str]:
    without = [stage.file for stage in early if stage.score is None]
    if manifest.exit_rule == "gate" and without:
        yield (
            f"exit_rule is gate, but {', '.join(without)} give no score: give one per image, or"
            " choose a rule that reads the logits, such as max_prob"
        )
    elif without and len(without) < len(early):
        yield f"{', '.join(without)} give no score, other stages do: all early stages, or none"


def _single(manifest: BundleManifest, single: SingleEntry) -> Iterator[str]:
    side, exits = manifest.preprocessing.crop, len(manifest.stages) - 1
    wanted = [
        (single.image, TensorEntry("image", _FLOAT, (1, 3, side, side))),
        *((each, TensorEntry("threshold", _FLOAT, (1,))) for each in single.thresholds),
        (single.logits, TensorEntry("logits", _FLOAT, (1, manifest.classes))),
        (single.exit_block, TensorEntry("exit_block", "int64", (1,))),
        (single.score, TensorEntry("score", _FLOAT, (1,))),
    ]
    for found, allowed in wanted:
        if not found.is_like(allowed):
            yield (
                f"{single.file}: {allowed.name} {shortened(found.name)} is {found.describe()};"
                f" allowed: {allowed.describe()}"
            )
    if len(single.thresholds) != exits:
        yield f"{single.file}: takes {len(single.thresholds)} thresholds for {exits} early exits"


def _listed(tensors: tuple[TensorEntry, ...]) -> str:
    return ", ".join(each.describe() for each in tensors) or "nothing"
