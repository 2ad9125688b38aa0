"""Global Filter Networks in plain numpy and float64, written from the papers' formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import erf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, Array]
EPS = 1e-6


class PlainAnswers(NamedTuple):
    """What each exit says, the last block's included: (E, B, K), and (E - 1, B) scores."""

    logits: Array
    scores: Array


def plain_answers(
    state: State, images: Array, exits: Sequence[int] = (), depths: Sequence[int] = ()
) -> PlainAnswers:
    """Answer (B, 3, H, W) images.

    Args:
        state: of a flat model, or of a hierarchical one.
        images: any, of the model's size.
        exits: blocks of the exits whose heads and gates the state has, in their order.
        depths: blocks of each stage, of a hierarchical model.
    """
    firsts = [0, *accumulate(depths)][:-1]
    names = [f"{s}.{j}" for s, depth in enumerate(depths) for j in range(depth)]
    names = names or [str(n) for n in range(_numbered(state, "blocks"))]
    grid = images
    logits, scores = [], []
    for number, name in enumerate(names):
        if number in firsts or not number:
            embed = f"patch_embed.{firsts.index(number)}.proj" if depths else "patch_embed.proj"
            grid = _patches(grid, state[f"{embed}.weight"], state[f"{embed}.bias"])
        if not number:
            positions = state["pos_embed"].reshape(1, *grid.shape[2:], -1)
            grid = grid + positions.transpose(0, 3, 1, 2)
        grid = _block(state, f"blocks.{name}", grid)
        if number in exits:
            at = list(exits).index(number)
            norm = f"intermediate_norms.{at}" if depths else "norm"
            logits.append(_read(state, norm, f"intermediate_heads.{at}", grid))
            scores.append(_score(state, f"gates.{at}.linear", logits[-1]))
    logits.append(_read(state, "norm", "head", grid))
    return PlainAnswers(np.stack(logits), np.array(scores))


def _numbered(state: State, part: str) -> int:
    return len({name.split(".")[1] for name in state if name.startswith(f"{part}.")})


def _patches(images: Array, weight: Array, bias: Array) -> Array:
    """Project each whole patch, one by one; (B, C, H, W) to (B, C', rows, columns)."""
    size = weight.shape[-1]
    rows, columns = images.shape[2] // size, images.shape[3] // size
    found = np.empty((len(images), len(weight), rows, columns))
    for i in range(rows):
        for j in range(columns):
            patch = images[:, :, i * size : (i + 1) * size, j * size : (j + 1) * size]
            found[:, :, i, j] = np.einsum("bchw,ochw->bo", patch, weight) + bias
    return found


def _block(state: State, name: str, grid: Array) -> Array:
    mixed = _norm(state, f"{name}.norm1", grid.transpose(0, 2, 3, 1))
    weight = state[f"{name}.filter.complex_weight"]
    spectrum = np.fft.rfft2(mixed, axes=(1, 2)) * (weight[..., 0] + 1j * weight[..., 1])
    mixed = np.fft.irfft2(spectrum, s=mixed.shape[1:3], axes=(1, 2))
    mixed = _norm(state, f"{name}.norm2", mixed)
    mixed = _linear(state, f"{name}.mlp.fc1", mixed)
    mixed = mixed * (1 + np.vectorize(erf)(mixed / np.sqrt(2))) / 2
    mixed = _linear(state, f"{name}.mlp.fc2", mixed) * state.get(f"{name}.gamma", 1.0)
    return grid + mixed.transpose(0, 3, 1, 2)


def _read(state: State, norm: str, head: str, grid: Array) -> Array:
    tokens = _norm(state, norm, grid.transpose(0, 2, 3, 1))
    return _linear(state, head, tokens.mean(axis=(1, 2)))


def _score(state: State, gate: str, logits: Array) -> Array:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    squared = p**2 / (p**2).sum(axis=1, keepdims=True)
    second, largest = np.sort(p, axis=1)[:, -2:].T
    features = (largest, _entropy(p), largest - second, _entropy(squared))
    return 1 / (1 + np.exp(-_linear(state, gate, np.stack(features, axis=1))[:, 0]))


def _entropy(p: Array) -> Array:
    return -(p * np.log(p)).sum(axis=1)


def _norm(state: State, name: str, tokens: Array) -> Array:
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(state: State, name: str, tokens: Array) -> Array:
    return tokens @ state[f"{name}.weight"].T + state[f"{name}.bias"]
