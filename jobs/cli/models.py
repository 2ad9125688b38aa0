"""Commands that show, import and train checkpoints."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gfnet.bundle.precisions import BUNDLE_PRECISIONS
from gfnet.runtimes.availability import CALIBRATION_IMAGES, MAX_CALIBRATION_IMAGES
from jobs.cli.base import ADDRESS, FAILED, RESULTS, main, narrate, program, show
from jobs.common.errors import UsageError
from storage import Root


def _numbers(separator: str, kind: type, count: int | None = None) -> Callable[..., Any]:
    """Make a parser of an option such as 7,9,10 or 43x6; None if the option is not given."""

    def read(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            numbers = tuple(kind(part) for part in value.split(separator))
        except ValueError:
            numbers = ()
        if not numbers or count not in (None, len(numbers)):
            what = "whole numbers" if kind is int else "numbers"
            shape = f"{count or 'some'} {what}, separated by {separator!r}"
            raise click.BadParameter(f"{value!r}; give {shape}")
        return numbers

    return read


@main.command()
def models() -> None:
    """List the bundled checkpoints, which a grid may name.

    \b
    Example:
      gfjobs models
    """
    import gfnet
    from gfnet.costs import count_exit_costs
    from jobs.common.formatting import format_count
    from jobs.common.tables import text_table

    rows = []
    for name, path in gfnet.bundled().items():
        metadata = gfnet.inspect_checkpoint(path).metadata
        config = metadata.config
        rows.append(
            (
                name,
                config.family,
                format_count(config.parameters()),
                format_count(count_exit_costs(config, config.default_rule)[-1].multiply_adds),
                config.img_size,
                config.depth,
                ",".join(map(str, config.exit_blocks)) or None,
                config.num_classes,
            )
        )
    columns = ("model", "family", "params", "MACs", "px", "blocks", "exits", "classes")
    show(text_table(columns, rows))


@main.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The checkpoint to write; default: checkpoints/NAME.safetensors.",
)
@click.option(
    "--img-size",
    type=click.IntRange(1),
    help="Resample the model for images of this side, in pixels.",
)
@click.option(
    "--filter-grid", callback=_numbers("x", int, 2), help="Grid that its tokens form, such as 43x6."
)
@click.option(
    "--exit-blocks", callback=_numbers(",", int), help="Blocks with a trained exit, such as 7,9,10."
)
@click.option("--classes", help="Class names, such as cat,dog; or a file with one per line.")
@click.option("--resize", type=click.IntRange(1), help="Shorter side before the crop, in pixels.")
@click.option("--interpolation", type=click.Choice(["nearest", "bilinear", "bicubic"]))
@click.option("--mean", callback=_numbers(",", float, 3), help="Mean of red, green, blue in 0..1.")
@click.option(
    "--std",
    callback=_numbers(",", float, 3),
    help="Standard deviation of red, green, blue in 0..1.",
)
@click.option(
    "--exif",
    type=click.Choice(["ignore", "apply"]),
    help="What to do with an EXIF orientation; default: ignore, like torchvision.",
)
@click.option("--force", is_flag=True, help="Replace an existing output.")
def import_file(file: Path, output: Path | None, classes: str | None, **wanted: Any) -> None:
    """Import FILE (torch.save or safetensors) as a checkpoint.

    Sizes and filter grid are inferred from the shapes, and shown. No code in FILE is run.

    \b
    Example:
      gfjobs import gfnet-xs.pth
    """
    from jobs.common.tables import text_table
    from jobs.training.checkpoint_import import Importing, import_checkpoint, read_classes

    output = output or Path("checkpoints") / f"{file.stem}.safetensors"
    imported = import_checkpoint(
        Importing(
            file,
            output,
            img_size=wanted["img_size"],
            filter_grid=wanted["filter_grid"] or (),
            exit_blocks=wanted["exit_blocks"],
            class_names=read_classes(classes) if classes else (),
            resize=wanted["resize"],
            interpolation=wanted["interpolation"],
            mean=wanted["mean"],
            std=wanted["std"],
            exif=wanted["exif"],
            is_forced=wanted["force"],
        )
    )
    for note in imported.notes:
        narrate(note)
    show(text_table(("", "value"), imported.facts))
    narrate("next, evaluate it; or name it in a grid under models, and see its cells:")
    narrate(f"  {program()} eval {shlex.quote(str(output))} --data NAME")
    narrate(f"  {program()} plan GRID")


@main.command("export")
@click.argument("checkpoint")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write; with the ending .gfbundle, one zip.",
)
@click.option(
    "--precision",
    type=click.Choice(list(BUNDLE_PRECISIONS)),
    default="float32",
    show_default=True,
    help="Precision of matrix products.",
)
@click.option(
    "--calibration",
    metavar="DATASET",
    help="Of int8: its ranges are those of training images of this data set, named as in a grid.",
)
@click.option(
    "--calibration-images",
    type=click.IntRange(1, MAX_CALIBRATION_IMAGES),
    default=CALIBRATION_IMAGES,
    show_default=True,
    help="How many of them.",
)
@click.option("--single", is_flag=True, help="Add the graph that routes one image by itself.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def export_file(
    checkpoint: str,
    output: Path,
    *,
    precision: str,
    calibration: str | None,
    calibration_images: int,
    single: bool,
    force: bool,
) -> None:
    """Export CHECKPOINT (a path or a bundled name) as a staged bundle.

    One ONNX graph per exit, for any batch size and without an FFT, and a manifest. The bundle is
    compared with the checkpoint before it is written.

    \b
    Example:
      gfjobs export digits-dynn -o digits-dynn.gfbundle
      gfjobs export digits-dynn -o int8.gfbundle \\
          --precision int8 --calibration digits
    """
    from jobs.common.tables import text_table
    from jobs.training.bundle_export import Exporting, export_checkpoint

    exported = export_checkpoint(
        Exporting(
            checkpoint,
            output,
            precision=precision,
            calibration=calibration,
            calibration_images=calibration_images,
            has_single=single,
            is_forced=force,
        )
    )
    for line in exported.checks:
        narrate(line)
    show(text_table(("", "value"), exported.facts))


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The checkpoint to write; default: the recipe's output.",
)
@click.option("--resume", is_flag=True, help="Resume an interrupted training.")
@click.option("--force", is_flag=True, help="Train from the start, replacing an earlier training.")
@click.option(
    "--device",
    default="any",
    show_default=True,
    help="Device as torch names it, such as cuda:1; with --address, as a node registered it.",
)
@ADDRESS
@RESULTS
def train(
    *,
    recipe: Path,
    output: Path | None,
    resume: bool,
    force: bool,
    device: str,
    address: str | None,
    results: Root,
) -> None:
    """Train a checkpoint by RECIPE, a YAML file.

    Each epoch saves a state next to the output, from which --resume continues, and a row in the
    table training of the results root. Only --force replaces an existing checkpoint.

    \b
    Example:
      gfjobs train examples/train/digits-gfnet.yaml -o digits-gfnet.safetensors
    """
    from dataclasses import replace
    from functools import partial

    from jobs.cluster.address import check_address
    from jobs.training.compute import run_training_job
    from jobs.training.recipe import read_recipe
    from jobs.training.train import train as train_recipe
    from jobs.training.view import TrainingDisplay

    if resume and force:
        raise click.UsageError("--resume continues, --force starts again: give one of them")
    checked = read_recipe(recipe)
    if output and output.suffix != ".safetensors":
        raise UsageError(f"-o {output}: give a path that ends in .safetensors, the format written")
    if output:
        checked = replace(checked, output=output.absolute())
    compute = run_training_job
    if address:
        check_address(address)
        from jobs.cluster.ray import train_on_node  # loads Ray

        compute = partial(train_on_node, address=address)
    try:
        with TrainingDisplay() as display:
            path = train_recipe(
                checked,
                display.report,
                device=device,
                compute=compute,
                is_resumed=resume,
                is_forced=force,
                results=results,
                narrate=narrate,
            )
    except KeyboardInterrupt:
        again = [word for word in sys.argv[1:] if word not in {"--resume", "--force"}]
        narrate("interrupted; resume after the last finished epoch with:")
        narrate(f"  {program()} {shlex.join(again)} --resume")
        sys.exit(FAILED)
    narrate("next, evaluate it; or name it in a grid under models, and see its cells:")
    narrate(f"  {program()} eval {shlex.quote(str(path))} --data NAME")
    narrate(f"  {program()} plan GRID")
    show(f"{path}\n")
