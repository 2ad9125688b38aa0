"""The benchmark of images in Parquet: figures of a small data set, and the aim."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from storage.images import digests, parquet


def test_a_shard_is_read_alone(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From Parquet it unpacks all 3,000 images; from the copy it reads its own thousand."""
    module = script("parquet_images")
    monkeypatch.setenv("GFJOBS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parquet, "SMALL_BYTES", 0)
    monkeypatch.setattr(module, "SETTLED_NS", 0)
    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    found = module.measure(tmp_path, 3000, 50)
    assert found.shard_bytes == 1000 * 50
    assert found.parquet_bytes >= 3000 * 50
    assert 10 < found.held_mib < 10_000
    assert found.image_s == pytest.approx((found.open_s + 3 * found.shard_s) / 3000)


@pytest.mark.parametrize("slower", [1.4, 1.6])
def test_it_fails_where_an_image_takes_longer_of_more(
    script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    slower: float,
) -> None:
    """Beyond 1.5 times the time of the smallest data set."""
    module = script("parquet_images")
    monkeypatch.setenv("GFJOBS_CACHE", "")
    monkeypatch.setattr(sys, "argv", ["parquet_images", "--images", "1000", "4000"])

    def measured(_folder: Path, count: int, _size: int) -> object:
        open_s = 0.5 if count == 1000 else 2.0 * slower
        return module.Measured(count, 10**6, 10**6, 0.1, open_s, 1e3, 0.0, 0.01, 50.0)

    monkeypatch.setattr(module, "measure", measured)
    if slower > module.AIM:
        with pytest.raises(SystemExit, match="1"):
            module.main()
    else:
        module.main()
    assert f"an image: {slower:.2f} (aim 1.5)" in capsys.readouterr().out
