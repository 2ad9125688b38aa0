"""The backend of an object store that speaks S3: the only package that imports boto3."""

from __future__ import annotations
