"""The URL of a results root on an object store: `s3://bucket/prefix`."""

from __future__ import annotations

import re
from typing import NamedTuple

from storage.errors import RootNotWritableError

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9][A-Za-z0-9._=-]*)*)/*")


class BucketUrl(NamedTuple):
    """A bucket and the prefix in it, which may be empty."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        """The URL, without a slash at its end."""
        return f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def parse_url(text: str) -> BucketUrl:
    """Parse a URL.

    Raises: RootNotWritableError: it is not of this form. The message repeats no possible password.
    """
    found = _URL.fullmatch(text)
    if found:
        return BucketUrl(found[1], found[2].strip("/"))
    shown = "s3://..." if any(mark in text[len("s3://") :] for mark in "@?:") else text[:200]
    raise RootNotWritableError(
        f"results root {shown} is not of the form s3://bucket/prefix: a bucket of lowercase "
        "letters, digits, '.' and '-', then names of letters, digits, '.', '_', '=' and '-'; "
        "credentials and the endpoint do not belong in it, they come from AWS_PROFILE, "
        "AWS_ENDPOINT_URL and the like"
    )
