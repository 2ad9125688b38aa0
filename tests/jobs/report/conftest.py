"""Charts of all tests here are compared with the schema of Vega-Lite, which reports do without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt
import pytest


@pytest.fixture(scope="session", autouse=True)
def valid_charts() -> Iterator[None]:
    """Validate each chart that is finished.

    Raises: SchemaValidationError: it is not Vega-Lite.
    """
    to_dict = alt.TopLevelMixin.to_dict

    def validated(chart: Any, *_: Any, context: Any = None, **options: Any) -> Any:
        is_whole = (context or {}).get("top_level", True)  # a part takes its data from the whole
        return to_dict(chart, **options | {"validate": is_whole}, context=context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alt.TopLevelMixin, "to_dict", validated)
        yield
