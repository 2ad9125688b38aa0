"""The families of Global Filter Networks, from images to logits, exits and routes.

Letters in shapes, here and in the whole package: B images, H and W pixels, N tokens, C channels,
K classes, E exits (the last block's included).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from gfnet.confidence import confidences
from gfnet.config import EXIT_RULES, ModelConfig, configure
from gfnet.gates import UncertaintyGate
from gfnet.layers import NORM_EPS, Block, PatchEmbed, PatchMerge, ScaledBlock
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
    """The flat Global Filter Network (Rao et al., NeurIPS 2021), and base class of all families.

    A model without gates has one exit, after its last block, so the same three calls serve every
    family.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.exit_rule = config.default_rule  # another: `gfnet.with_rule`
        self.confidences = confidences(self.exit_rule, config)
        self.metadata = Metadata.default(config)
        dim = config.levels[-1].dim
        self.patch_embed = self._make_embedding()
        self.pos_embed = nn.Parameter(torch.zeros(1, config.tokens, config.embed_dim))
        self.blocks = self._make_blocks()
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.head = nn.Linear(dim, config.num_classes)

    def _make_embedding(self) -> nn.Module:
        return PatchEmbed(self.config)

    def _make_blocks(self) -> nn.ModuleList:
        (level,) = self.config.levels
        return nn.ModuleList(Block(level) for _ in range(self.config.depth))

    def numbered_blocks(self) -> list[Block]:
        """Return all blocks in their order."""
        return list(cast("Iterable[Block]", self.blocks))

    def patch_merges(self) -> dict[int, nn.Module]:
        """Return what merges tokens between two stages, by the block that follows."""
        return {}

    def norms(self) -> list[nn.Module]:
        """Return the norms of all exits, the last block's first."""
        return [self.norm]

    def initialise(self) -> None:
        """Draw fresh weights from torch's generator: truncated normal, standard deviation 0.02."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embed(self, images: Tensor) -> Tensor:
        """Return the (B, N, C) input tokens of the first block."""
        embedded: Tensor = self.patch_embed(images) + self.pos_embed
        return embedded

    def readout(self, tokens: Tensor) -> Tensor:
        """Return the (B, K) logits for the output tokens of the last block."""
        logits: Tensor = self.head(self.norm(tokens).mean(dim=1))
        return logits

    def exit_tokens(self, tokens: Tensor) -> Tensor:
        """Return those of (B, N, C) tokens that an early exit reads."""
        return tokens

    def exit_heads(self, block: int) -> tuple[nn.Module, ...]:
        """Return what only the exit after `block` has, except its gate."""
        raise ValueError(f"a {self.config.family} model has no exit after block {block}")

    def gate(self, block: int) -> UncertaintyGate:
        """Return the gate of the exit after `block`."""
        raise ValueError(f"a {self.config.family} model has no gate after block {block}")

    def early_logits(
        self,
        tokens: Tensor,  # noqa: ARG002 - used by the families with exits
        block: int,
    ) -> Tensor:
        """Return the (B, K) logits of the exit after `block`, from its tokens or `exit_tokens`."""
        raise ValueError(f"a {self.config.family} model has no exit after block {block}")

    def early_readout(self, tokens: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """Return the (B, K) logits and the (B,) gate scores of the exit after `block`."""
        logits = self.early_logits(tokens, block)
        return logits, self.scorer(block)(logits)

    def scorer(self, block: int) -> nn.Module:
        """Return what scores the logits of the exit after `block`: its gate, or another rule."""
        return self.gate(block) if self.exit_rule == "gate" else self.confidences[str(block)]

    def forward(self, images: Tensor) -> Tensor:
        """Return the (B, K) logits at full depth of (B, 3, H, W) images."""
        return self.readout(self.run_blocks(self.embed(images), 0, self.config.last_block))

    def run_blocks(self, tokens: Tensor, first: int, last: int) -> Tensor:
        """Run blocks `first` to `last`, the last included, on the tokens that enter the first."""
        for block in list(self.blocks)[first : last + 1]:  # indexing costs 3 us a block
            tokens = block(tokens)
        return tokens

    def forward_exits(self, images: Tensor) -> ExitOutputs:
        """Return the outputs of every exit, in one pass through all blocks."""
        return answer_stages(images, self._stages(), self._exits(), self.exit_rule)

    @torch.no_grad()
    def route(self, images: Tensor, threshold: Thresholds = 0.5) -> RoutedOutputs:
        """Let each image exit at the first exit whose gate score reaches its threshold.

        Images that have exited are dropped before the next block is computed.

        Args:
            images: (B, 3, H, W).
            threshold: one for all gates, or one per gate. Compared in float32. At +inf no image
                exits, at -inf every image does. An image with a NaN gate score does not exit.

        Raises:
            ValueError: the number of thresholds is not the number of gates, or one is NaN.
        """
        limits = limits_of(threshold, self.config.exit_blocks)
        last = self.config.last_block
        return route_stages(images, self._stages(), limits, last, self.exit_rule)

    def _exits(self) -> tuple[int, ...]:
        """Return the blocks after which images exit, the last block included."""
        return (*self.config.exit_blocks, self.config.last_block)

    def _stages(self) -> list[StageCall]:
        """Return one call per exit: the blocks up to it and the exit itself."""
        return [partial(self.stage, *ends) for ends in self.stage_ends()]

    def stage_ends(self) -> list[tuple[int, int]]:
        """Return the first and the last block of each stage, which ends at an exit."""
        firsts = [0, *(block + 1 for block in self.config.exit_blocks)]
        return list(zip(firsts, self._exits(), strict=True))

    def stage(self, first: int, last: int, entering: Tensor) -> tuple[Tensor, ...]:
        """Run blocks `first` to `last`, then the exit there.

        Args:
            first: number of the first block to run.
            last: number of the last block to run.
            entering: (B, 3, H, W) images if `first` is 0, else (B, N, C) tokens.

        Returns: the tokens, (B, K) logits and (B,) gate scores; after the last block only logits.
        """
        tokens = self.run_blocks(entering if first else self.embed(entering), first, last)
        if last == self.config.last_block:
            return (self.readout(tokens),)
        return (tokens, *self.early_readout(tokens, last))


class GFNetDistil(GFNet):
    """A student with a class and a distillation token; its logits are the mean of both heads'."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        self.head_dist = nn.Linear(config.embed_dim, config.num_classes)

    def initialise(self) -> None:
        """Draw fresh weights, those of the tokens included."""
        super().initialise()
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.dist_token, std=0.02)

    def embed(self, images: Tensor) -> Tensor:
        """Join class token, distillation token and patches, and add positions to all."""
        patches = self.patch_embed(images)
        tokens = (self.cls_token, self.dist_token)
        prefix = [token.expand(patches.shape[0], -1, -1) for token in tokens]
        return torch.cat([*prefix, patches], dim=1) + self.pos_embed

    def readout(self, tokens: Tensor) -> Tensor:
        """Return the mean of the class head's and the distillation head's logits."""
        by_class, by_distillation = self.readout_pair(tokens)
        return (by_class + by_distillation) / 2

    def readout_pair(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return both heads' (B, K) logits, class first, as distillation trains them."""
        read = self.norm(tokens[:, :2])  # the norm is per token, and only these two are read
        return self.head(read[:, 0]), self.head_dist(read[:, 1])


class GFNetDistilDynn(GFNetDistil):
    """A distilled student whose images may exit early, through learned gates (JEI-DNN).

    Each block but the last has a pair of heads and a gate, whichever exits are enabled.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        dim, classes, early = config.embed_dim, config.num_classes, config.depth - 1
        self.intermediate_heads = nn.ModuleList(nn.Linear(dim, classes) for _ in range(early))
        self.intermediate_heads_dist = nn.ModuleList(nn.Linear(dim, classes) for _ in range(early))
        gates = early if config.has_gates else 0
        self.gates = nn.ModuleList(UncertaintyGate() for _ in range(gates))

    def exit_tokens(self, tokens: Tensor) -> Tensor:
        """Return the class and the distillation token."""
        return tokens[:, :2]

    def exit_heads(self, block: int) -> tuple[nn.Module, ...]:
        """Return the exit's two heads."""
        return self.intermediate_heads[block], self.intermediate_heads_dist[block]

    def gate(self, block: int) -> UncertaintyGate:
        """Return the gate after `block`."""
        return cast("UncertaintyGate", self.gates[block])

    def early_logits(self, tokens: Tensor, block: int) -> Tensor:
        """Return the (B, K) logits of the exit after `block`; all exits share the final norm."""
        read = self.norm(tokens[:, :2])
        by_class = self.intermediate_heads[block](read[:, 0])
        by_distillation = self.intermediate_heads_dist[block](read[:, 1])
        logits: Tensor = (by_class + by_distillation) / 2
        return logits


class GFNetDynn(GFNet):
    """The flat network with early exits: a head and a gate per exit, numbered in their order.

    All exits share the final norm.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.intermediate_heads = nn.ModuleList(
            nn.Linear(config.level_of(block).dim, config.num_classes)
            for block in config.exit_blocks
        )
        gates = len(config.exit_blocks) if config.has_gates else 0
        self.gates = nn.ModuleList(UncertaintyGate() for _ in range(gates))
        self._numbers = config.exit_numbers

    def exit_heads(self, block: int) -> tuple[nn.Module, ...]:
        """Return the exit's head."""
        return (self.intermediate_heads[self._numbers[block]],)

    def gate(self, block: int) -> UncertaintyGate:
        """Return the gate after `block`."""
        return cast("UncertaintyGate", self.gates[self._numbers[block]])

    def early_logits(self, tokens: Tensor, block: int) -> Tensor:
        """Return the (B, K) logits of the exit after `block`."""
        head = self.intermediate_heads[self._numbers[block]]
        logits: Tensor = head(self._exit_norm(block)(tokens).mean(dim=1))
        return logits

    def _exit_norm(self, block: int) -> nn.Module:  # noqa: ARG002 - one norm serves all exits here
        return self.norm


class GFNetH(GFNetDynn):
    """The hierarchical network (Rao et al., 2021): four stages, each with a width and a grid.

    Exits are an extension of this project: after any block, with the width of its stage, so each
    has a norm of its own.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._levels = config.levels
        self.intermediate_norms = nn.ModuleList(
            nn.LayerNorm(config.level_of(block).dim, eps=NORM_EPS) for block in config.exit_blocks
        )

    def _make_embedding(self) -> nn.Module:
        pairs = pairwise(self.config.levels)
        merges = [PatchMerge(before, after.dim) for before, after in pairs]
        return nn.ModuleList([PatchEmbed(self.config), *merges])

    def _make_blocks(self) -> nn.ModuleList:
        return nn.ModuleList(
            nn.ModuleList(ScaledBlock(level) for _ in range(level.first, level.last + 1))
            for level in self.config.levels
        )

    def numbered_blocks(self) -> list[Block]:
        """Return the blocks of all stages in their order."""
        return [block for stage in self._stage_blocks() for block in stage]

    def _stage_blocks(self) -> list[list[Block]]:
        return [list(stage) for stage in cast("Iterable[Iterable[Block]]", self.blocks)]

    def patch_merges(self) -> dict[int, nn.Module]:
        """Return what merges tokens between two stages, by the block that follows."""
        merges = list(cast("nn.ModuleList", self.patch_embed))
        pairs = zip(self.config.levels, merges, strict=True)
        return {level.first: merge for level, merge in pairs if level.first}

    def norms(self) -> list[nn.Module]:
        """Return the norms of all exits, the last block's first."""
        return [self.norm, *self.intermediate_norms]

    def embed(self, images: Tensor) -> Tensor:
        """Return the (B, N, C) input tokens of the first block; no other stage adds positions."""
        embedded: Tensor = cast("nn.ModuleList", self.patch_embed)[0](images) + self.pos_embed
        return embedded

    def run_blocks(self, tokens: Tensor, first: int, last: int) -> Tensor:
        """Run blocks `first` to `last`; before the first one of a stage, tokens are merged."""
        merges = self.patch_merges()
        for level, blocks in zip(self._levels, self._stage_blocks(), strict=True):
            start, end = max(first, level.first), min(last, level.last)
            if start == level.first <= end and level.first:
                tokens = merges[start](tokens)
            for block in blocks[start - level.first : max(end + 1 - level.first, 0)]:
                tokens = block(tokens)
        return tokens

    def exit_heads(self, block: int) -> tuple[nn.Module, ...]:
        """Return the exit's norm and head."""
        return self._exit_norm(block), *super().exit_heads(block)

    def _exit_norm(self, block: int) -> nn.Module:
        return self.intermediate_norms[self._numbers[block]]


_FAMILIES = {
    "gfnet": GFNet,
    "gfnet-dynn": GFNetDynn,
    "gfnet-h": GFNetH,
    "gfnet-distil": GFNetDistil,
    "gfnet-distil-dynn": GFNetDistilDynn,
}


def build(config: ModelConfig) -> GFNet:
    """Build a model of the given sizes with fresh weights, in eval mode."""
    model = build_unfilled(config)
    model.initialise()
    return model


def build_unfilled(config: ModelConfig) -> GFNet:
    """Build a model in eval mode whose weights are yet to be loaded.

    On the device `meta` it would need no memory before, but its first use imports torch's compiler:
    150 MiB.
    """
    return _FAMILIES[config.family](config).eval()


def create(name: str, **sizes: Any) -> GFNet:
    """Create a fresh model of a named variant or of a family; sizes as in `gfnet.config.configure`.

    Raises:
        ConfigError: the name or a size is unknown, or the sizes contradict each other.
    """
    return build(configure(name, **sizes))


def with_rule(model: GFNet, rule: str) -> GFNet:
    """Return the same model, sharing its weights, whose images exit by a rule.

    Raises:
        ValueError: there is no such rule, or no gates for the rule `gate`.
    """
    if rule not in EXIT_RULES:
        raise ValueError(f"there is no exit rule {rule!r}; rules: {', '.join(EXIT_RULES)}")
    if rule == "gate" and not model.config.has_gates:
        raise ValueError(f"its exits have no gates; rules: {', '.join(EXIT_RULES[1:])}")
    changed = copy.copy(model)
    changed._modules = dict(model._modules)  # noqa: SLF001 - else both would get what one is given
    changed.exit_rule = rule
    changed.confidences = confidences(rule, model.config).train(model.training)
    return changed
