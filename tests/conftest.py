"""What holds for every test: nothing is kept outside of temporary folders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _graphs_kept_in_a_temporary_folder(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Exported graphs serve all tests of a run, and leave with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GFJOBS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
