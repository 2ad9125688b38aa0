"""Places on an object store that speaks S3: the only package that uses boto3."""

from __future__ import annotations
