"""The third stage: adds exits to a static model, and gates that choose among them.

JEI-DNN (Regol et al., ICLR 2024): backbone, final norm and final heads are frozen. The heads of the
enabled exits warm up alone. Then phases alternate: in one the gates learn where each image should
exit, in the other the heads learn from the images that exit at them. `rules` has each rule by
itself, `exit_stage` the steps. This project adds optional joint epochs after the warm-up, in which
the backbone learns with all heads.
"""

from __future__ import annotations

from gfnet.model import GFNet
from gfnet.training.loop import fresh
from gfnet.training.settings import ExitTraining


def with_fresh_exits(static: GFNet, exit_blocks: tuple[int, ...], seed: int) -> GFNet:
    """Return a model with the outputs of `static` at full depth, and with untrained exits.

    Raises:
        ConfigError: no such model can have these exits.
    """
    model = fresh(static.config.grown(exit_blocks), seed)
    model.load_state_dict(model.state_dict() | static.state_dict())
    return model


def phase_of(epoch: int, warmup_epochs: int, training: ExitTraining) -> str:
    """Return the phase of an epoch: `warm-up`, `joint`, then `gates` and `heads` in turn.

    Args:
        epoch: counted from 1.
        warmup_epochs: of the heads alone.
        training: gives joint_epochs, and phase_epochs for each turn.
    """
    since = epoch - warmup_epochs - 1
    if since < 0:
        return "warm-up"
    if since < training.joint_epochs:
        return "joint"
    return "heads" if (since - training.joint_epochs) // training.phase_epochs % 2 else "gates"
