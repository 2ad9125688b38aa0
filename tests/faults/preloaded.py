"""What the fork server loads once, so that a driver starts in milliseconds."""

from __future__ import annotations

import duckdb  # noqa: F401
import pyarrow.parquet  # noqa: F401
import torch  # noqa: F401
import torchvision.transforms.v2  # noqa: F401

import jobs.cli
import jobs.report.terminal.status
import jobs.report.terminal.summary
import jobs.runs.submit
import jobs.worker.kinds
import jobs.worker.run_task  # noqa: F401
import storage.runs.store  # noqa: F401
