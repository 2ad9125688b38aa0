"""Versions of a node and its head: clashes, and which side to change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Versions:
    """The versions on one side; None is unknown, and clashes with nothing."""

    python: str | None
    ray: str | None
    gfjobs: str | None


@dataclass(frozen=True)
class Clash:
    """One version that differs.

    Attributes:
        what: `Python`, `Ray` or `gfjobs`.
        text: the versions of both sides.
        remedy: which side to change, and how.
    """

    what: str
    text: str
    remedy: str


def find_clashes(here: Versions, head: Versions, *, is_jetson: bool) -> list[Clash]:
    """Return all version clashes that prevent a node from joining a cluster.

    Args:
        here: versions on the node.
        head: versions on the cluster's head.
        is_jetson: the node's Python came with its system, and torch was built for it.
    """
    found = []
    if _differ(here.python, head.python):
        wanted = f"change the head: set it up with Python {here.python}, which came with this board"
        if not is_jetson:
            wanted = f"change this node: make its environment with Python {head.python}"
        found.append(_clash("Python", here.python, head.python, f"{wanted}. Ray needs one Python"))
    for what, ours, theirs, how in (
        ("Ray", here.ray, head.ray, f"pip install 'ray=={head.ray}'"),
        # Not by pip: on an index the name is missing, or belongs to an unrelated package.
        (
            "gfjobs",
            here.gfjobs,
            head.gfjobs,
            f"install gfjobs {head.gfjobs}, from the head's checkout",
        ),
    ):
        if _differ(ours, theirs):
            found.append(_clash(what, ours, theirs, f"change this node: {how}"))
    return found


def _differ(ours: str | None, theirs: str | None) -> bool:
    return ours is not None and theirs is not None and ours != theirs


def _clash(what: str, ours: str | None, theirs: str | None, remedy: str) -> Clash:
    return Clash(what, f"{what} {ours} here, {theirs} on the head", remedy)
