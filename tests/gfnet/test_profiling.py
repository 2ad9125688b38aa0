"""The clock around each part of a forward pass: what is charged, and that nothing changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gfnet
from gfnet.profiling import OTHER, Part

SIZES = {"img_size": 8, "patch_size": 2, "embed_dim": 6, "num_classes": 4}
TICK_NS = 1
STEPS = ("filter_forward", "filter_product", "filter_inverse")


class FakeTime:
    """A clock that goes on by a tick each time it is read, and when something is called."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.log: list[str] = []

    def clock(self) -> int:
        """Read the time."""
        self.log.append("clock")
        self.now_ns += TICK_NS
        return self.now_ns

    def synchronise(self) -> None:
        """Wait for a device that is done."""
        self.log.append("sync")

    def takes(self, owner: object, name: str, took_ns: int) -> None:
        """Let a method take a known time, which its callers see."""
        method = getattr(owner, name)

        def slow(*arguments: Any) -> Any:
            self.now_ns += took_ns
            return method(*arguments)

        vars(owner)[name] = slow


def no_wait() -> None:
    """Nothing to wait for."""


@pytest.fixture
def time() -> FakeTime:
    """A fresh clock."""
    return FakeTime()


def test_times_of_a_static_model_by_hand(time: FakeTime) -> None:
    """Each part has what its calls took and a tick; `other` has a tick for each gap."""
    model = gfnet.create("gfnet", depth=2, **SIZES)
    time.takes(model.patch_embed, "forward", 100)
    block = model.blocks[1]
    for name, took_ns in (("norm1", 200), ("norm2", 300), ("mlp", 400)):
        time.takes(block.get_submodule(name), "forward", took_ns)
    for name, took_ns in (("spectrum", 500), ("product", 600), ("inverse", 700)):
        time.takes(block.get_submodule("filter"), name, took_ns)
    time.takes(model.norm, "forward", 800)
    time.takes(model.head, "forward", 900)
    profiler = gfnet.Profiler(model, time.synchronise, time.clock)
    began_ns = time.now_ns
    for _ in range(2):
        profiler.run(model, torch.zeros(1, 3, 8, 8))
    names = ("norm1", *STEPS, "norm2", "mlp", "residual")
    took = {Part(name, 0): 1 for name in names}
    took |= {Part(name, 1): 1 for name in names}
    added = {"norm1": 200, "norm2": 300, "mlp": 400}
    added |= dict(zip(STEPS, (500, 600, 700), strict=True))
    took |= {Part(name, 1): 1 + took_ns for name, took_ns in added.items()}
    # The head has a tick before and a tick after its norm.
    took |= {Part("patch_embed"): 101, Part("norm"): 801, Part("head"): 902}
    # Before the embedding, each block and the head, after the head; and six gaps within a block.
    took[OTHER] = 1 + 2 + 1 + 1 + 2 * 6
    assert dict(profiler.spent_ns) == {part: 2 * took_ns for part, took_ns in took.items()}
    assert dict(profiler.calls) == dict.fromkeys(took, 2)
    # All but the first tick of each pass, which starts it.
    assert profiler.spent_ns.total() == time.now_ns - began_ns - 2


def test_times_of_exits_by_hand(lively: Callable[..., gfnet.GFNet], time: FakeTime) -> None:
    """An exit's norm is not the last one's; deciding lasts from its answer to the next block."""
    model = lively(exit_blocks=(1, 3))
    time.takes(model.norm, "forward", 100)
    time.takes(model.get_submodule("intermediate_heads.1"), "forward", 200)
    time.takes(model.get_submodule("intermediate_heads_dist.3"), "forward", 300)
    time.takes(model.get_submodule("gates.3"), "forward", 400)
    time.takes(model.head, "forward", 500)
    profiler = gfnet.Profiler(model, time.synchronise, time.clock)
    profiler.run(model.route, torch.zeros(1, 3, 8, 8), math.inf)
    exits = {part: ns for part, ns in profiler.spent_ns.items() if part.component[:4] == "exit"}
    assert exits == {
        Part("exit_norm", 1): 101,
        Part("exit_heads", 1): 203,  # ticks before the norm, between norm and gate, and after it
        Part("exit_gate", 1): 1,
        Part("exit_decision", 1): 1,
        Part("exit_norm", 3): 101,
        Part("exit_heads", 3): 303,
        Part("exit_gate", 3): 401,
        Part("exit_decision", 3): 1,
    }
    assert profiler.spent_ns[Part("norm")] == 101
    assert profiler.spent_ns[Part("head")] == 502
    assert all(profiler.calls[part] == 1 for part in profiler.spent_ns)


def test_times_of_stages_by_hand(lively: Callable[..., gfnet.GFNet], time: FakeTime) -> None:
    """Merging tokens belongs to the block that follows; an exit's own norm is its own."""
    model = lively(family="gfnet-h", exit_blocks=(1,))  # stages begin with blocks 0, 1, 3, 4
    merges = model.patch_merges()
    assert sorted(merges) == [1, 3, 4]
    time.takes(merges[3], "forward", 600)
    time.takes(model.get_submodule("intermediate_norms.0"), "forward", 100)
    time.takes(model.norm, "forward", 700)
    profiler = gfnet.Profiler(model, time.synchronise, time.clock)
    profiler.run(model.route, torch.zeros(1, 3, 32, 32), math.inf)
    embeds = {part: ns for part, ns in profiler.spent_ns.items() if part.component == "patch_embed"}
    assert embeds == {
        Part("patch_embed"): 1,
        Part("patch_embed", 1): 1,
        Part("patch_embed", 3): 601,
        Part("patch_embed", 4): 1,
    }
    assert profiler.spent_ns[Part("exit_norm", 1)] == 101
    assert profiler.spent_ns[Part("norm")] == 701
    assert {part.block for part in profiler.calls if part.component == "mlp"} == set(range(5))


def test_deciding_is_charged_to_its_exit(
    lively: Callable[..., gfnet.GFNet], time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the router does with an exit's answer counts there, not as something else."""
    leave = gfnet.routing.Route.leave

    def slow(*arguments: Any) -> Any:
        time.now_ns += 1000
        return leave(*arguments)

    monkeypatch.setattr(gfnet.routing.Route, "leave", slow)
    model = lively(exit_blocks=(2,))
    profiler = gfnet.Profiler(model, time.synchronise, time.clock)
    profiler.run(model.route, torch.zeros(1, 3, 8, 8), math.inf)
    assert profiler.spent_ns[Part("exit_decision", 2)] == 1001


def test_a_filter_left_whole_is_one_part(time: FakeTime) -> None:
    """What does not go through the three steps is timed as it is."""

    class Shift(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            time.now_ns += 50
            return tokens.roll(1, dims=1)

    model = gfnet.create("gfnet", depth=2, **SIZES)
    model.blocks[0].filter = Shift()
    profiler = gfnet.Profiler(model, time.synchronise, time.clock)
    profiler.run(model, torch.zeros(1, 3, 8, 8))
    filters = {part for part in profiler.spent_ns if part.component.startswith("filter")}
    assert filters == {Part("filter", 0), *(Part(name, 1) for name in STEPS)}
    assert profiler.spent_ns[Part("filter", 0)] == 51


def test_the_device_is_in_step_at_each_reading(time: FakeTime) -> None:
    """Never is the clock read while the device may be at work."""
    model = gfnet.create("gfnet", depth=1, **SIZES)
    gfnet.Profiler(model, time.synchronise, time.clock).run(model, torch.zeros(1, 3, 8, 8))
    assert time.log == ["sync", "clock"] * (len(time.log) // 2)
    # Twice for each of embedding, block, six calls in it, head and norm; once at start and end.
    assert time.log.count("clock") == 2 * (1 + 1 + 6 + 1 + 1) + 2


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("gfnet", {}),
        ("gfnet-distil", {}),
        ("gfnet-distil-dynn", {"exit_blocks": (0, 2)}),
        ("gfnet-dynn", {"exit_blocks": (0, 2)}),
        ("gfnet-h", {"exit_blocks": (0, 2)}),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_answers_are_the_same_bit_for_bit(family: str, sizes: dict[str, Any], batch: int) -> None:
    """With the clocks on, all three calls of every family give what they give without."""
    torch.manual_seed(3)
    of_family: dict[str, Any] = {"depth": 4, **SIZES}
    if family == "gfnet-h":
        of_family = {"img_size": 32, "embed_dims": (4, 6, 5, 8), "depths": (1, 1, 1, 1)}
    model = gfnet.create(family, **of_family, **sizes)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    images = torch.randn(batch, 3, model.config.img_size, model.config.img_size)
    profiler = gfnet.Profiler(model, no_wait)
    with torch.inference_mode():
        assert torch.equal(profiler.run(model, images), model(images))
        exits, plain_exits = profiler.run(model.forward_exits, images), model.forward_exits(images)
        assert torch.equal(exits.logits, plain_exits.logits)
        assert torch.equal(exits.gate_scores, plain_exits.gate_scores)
        for threshold in (0.5, math.inf, -math.inf):
            routed = profiler.run(model.route, images, threshold)
            plain = model.route(images, threshold)
            assert torch.equal(routed.logits, plain.logits)
            assert torch.equal(routed.exit_block, plain.exit_block)
    assert profiler.calls[OTHER] == 5
    assert min(profiler.spent_ns.values()) > 0


def test_the_model_is_as_before(lively: Callable[..., gfnet.GFNet]) -> None:
    """After a pass and after one that failed: no method is shadowed, and what was is again."""
    model = lively(exit_blocks=(1,))
    own = model.blocks[0].forward
    vars(model.blocks[0])["forward"] = own
    before = [dict(vars(module)) for module in model.modules()]
    profiler = gfnet.Profiler(model, no_wait)
    during: list[set[str]] = []

    def forward(images: Tensor) -> Tensor:
        during.append(set(vars(model)) - set(before[0]))
        answer: Tensor = model(images)
        return answer

    profiler.run(forward, torch.zeros(1, 3, 8, 8))
    assert during == [{"embed", "early_readout", "readout"}]
    assert [dict(vars(module)) for module in model.modules()] == before
    with pytest.raises(ValueError, match="this model takes"):
        profiler.run(forward, torch.zeros(1, 3, 9, 9))
    assert [dict(vars(module)) for module in model.modules()] == before
    assert vars(model.blocks[0])["forward"] is own
    assert profiler.calls[OTHER] == 1
    profiler.run(forward, torch.zeros(1, 3, 8, 8))
    assert profiler.calls[OTHER] == 2
