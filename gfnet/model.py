"""The three families of Global Filter Networks, from images to logits, exits and routes.

Letters in shapes, here and in the whole package: B images, H and W pixels, N tokens, C channels,
K classes, E exits (the last block's included).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gfnet.config import ModelConfig, configure
from gfnet.gates import UncertaintyGate
from gfnet.layers import NORM_EPS, Block, PatchEmbed
from gfnet.metadata import Metadata
from gfnet.routing import (
    ExitOutputs,
    RoutedOutputs,
    StageCall,
    Thresholds,
    answer_stages,
    limits_of,
    route_stages,
)


class GFNet(nn.Module):
    """The flat Global Filter Network (Rao et al., NeurIPS 2021), and what all families share.

    A model without gates has one exit, its last block: the same three calls serve every family.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.metadata = Metadata.default(config)
        dim = config.embed_dim
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.tokens, dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.head = nn.Linear(dim, config.num_classes)

    def initialise(self) -> None:
        """Draw fresh weights from torch's generator: truncated normal, deviation 0.02."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embed(self, images: Tensor) -> Tensor:
        """The (B, N, C) tokens that enter the first block."""
        embedded: Tensor = self.patch_embed(images) + self.pos_embed
        return embedded

    def readout(self, tokens: Tensor) -> Tensor:
        """The (B, K) logits of the tokens that leave the last block."""
        logits: Tensor = self.head(self.norm(tokens).mean(dim=1))
        return logits

    def early_readout(
        self,
        tokens: Tensor,  # noqa: ARG002 - a family with exits reads them
        block: int,
    ) -> tuple[Tensor, Tensor]:
        """The (B, K) logits and the (B,) gate scores of the exit after `block`."""
        raise ValueError(f"a {self.config.family} model has no exit after block {block}")

    def forward(self, images: Tensor) -> Tensor:
        """(B, K) logits at full depth of (B, 3, H, W) images."""
        tokens = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.readout(tokens)

    def forward_exits(self, images: Tensor) -> ExitOutputs:
        """Answer at every exit, in one pass that leaves nowhere."""
        return answer_stages(images, self._stages(), self._exits())

    @torch.no_grad()
    def route(self, images: Tensor, threshold: Thresholds = 0.5) -> RoutedOutputs:
        """Let each image leave at the first exit whose gate score reaches its threshold.

        Images that left are dropped before the next block is computed.

        Args:
            images: (B, 3, H, W).
            threshold: one for every gate, or one a gate. Compared in float32; +inf never leaves
                there, -inf always does. A NaN gate score never leaves.

        Raises:
            ValueError: the number of thresholds is not the number of gates, or one is NaN.
        """
        limits = limits_of(threshold, self.config.exit_blocks)
        return route_stages(images, self._stages(), limits, self.config.last_block)

    def _exits(self) -> tuple[int, ...]:
        """The blocks after which images leave, the last block included."""
        return (*self.config.exit_blocks, self.config.last_block)

    def _stages(self) -> list[StageCall]:
        """What runs between two exits."""
        firsts = [0, *(block + 1 for block in self.config.exit_blocks)]
        return [partial(self.stage, *ends) for ends in zip(firsts, self._exits(), strict=True)]

    def stage(self, first: int, last: int, entering: Tensor) -> tuple[Tensor, ...]:
        """Run blocks `first` to `last`, then the exit there.

        Args:
            first: number of a block.
            last: number of the last one to run.
            entering: (B, 3, H, W) images where `first` is 0, else (B, N, C) tokens.

        Returns: the tokens, (B, K) logits and (B,) gate scores; of the last block the logits alone.
        """
        tokens = entering if first else self.embed(entering)
        for block in list(self.blocks)[first : last + 1]:  # by number each costs 3 us to find
            tokens = block(tokens)
        if last == self.config.last_block:
            return (self.readout(tokens),)
        return (tokens, *self.early_readout(tokens, last))


class GFNetDistil(GFNet):
    """A student with a class and a distillation token; its answer is the mean of both heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        self.head_dist = nn.Linear(config.embed_dim, config.num_classes)

    def initialise(self) -> None:
        """Draw fresh weights, the tokens' included."""
        super().initialise()
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.dist_token, std=0.02)

    def embed(self, images: Tensor) -> Tensor:
        """Class token, distillation token, patches; positions added to all."""
        patches = self.patch_embed(images)
        tokens = (self.cls_token, self.dist_token)
        prefix = [token.expand(patches.shape[0], -1, -1) for token in tokens]
        return torch.cat([*prefix, patches], dim=1) + self.pos_embed

    def readout(self, tokens: Tensor) -> Tensor:
        """The mean of the class head's and the distillation head's logits."""
        by_class, by_distillation = self.readout_pair(tokens)
        return (by_class + by_distillation) / 2

    def readout_pair(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Both heads' (B, K) logits, class first, as distillation trains them."""
        read = self.norm(tokens[:, :2])  # a norm is each token's own: only these two are read
        return self.head(read[:, 0]), self.head_dist(read[:, 1])


class GFNetDistilDynn(GFNetDistil):
    """A distilled student whose images may leave early, through learned gates (JEI-DNN).

    A pair of heads and a gate exist for each block but the last, whichever exits are enabled.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        dim, classes, early = config.embed_dim, config.num_classes, config.depth - 1
        self.intermediate_heads = nn.ModuleList(nn.Linear(dim, classes) for _ in range(early))
        self.intermediate_heads_dist = nn.ModuleList(nn.Linear(dim, classes) for _ in range(early))
        self.gates = nn.ModuleList(UncertaintyGate() for _ in range(early))

    def early_logits(self, tokens: Tensor, block: int) -> Tensor:
        """The (B, K) logits of the exit after `block`, the final norm shared by all exits."""
        read = self.norm(tokens[:, :2])
        by_class = self.intermediate_heads[block](read[:, 0])
        by_distillation = self.intermediate_heads_dist[block](read[:, 1])
        logits: Tensor = (by_class + by_distillation) / 2
        return logits

    def early_readout(self, tokens: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """Logits of the exit after `block`, and its gate's opinion of them."""
        logits = self.early_logits(tokens, block)
        return logits, self.gates[block](logits)


_FAMILIES = {"gfnet": GFNet, "gfnet-distil": GFNetDistil, "gfnet-distil-dynn": GFNetDistilDynn}


def build(config: ModelConfig) -> GFNet:
    """A model of the given sizes with fresh weights, ready to evaluate (eval mode)."""
    model = _FAMILIES[config.family](config)
    model.initialise()
    return model.eval()


def create(name: str, **sizes: Any) -> GFNet:
    """A fresh model of a named variant or of a family; `gfnet.config.configure` tells the sizes.

    Raises:
        ConfigError: the name or a size is unknown, or the sizes contradict each other.
    """
    return build(configure(name, **sizes))
