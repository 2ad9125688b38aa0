"""Error messages for an object store: what was asked, what it answered, what to do.

Messages repeat only codes, never the text of a server or of a request: it could contain a key.
"""

from __future__ import annotations

import botocore.exceptions as boto

from storage.backends.backend import BackendError

MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
CHANGED = frozenset({"412", "PreconditionFailed"})
BUSY = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})

_CREDENTIALS = (
    "check the credentials that boto3 finds: AWS_PROFILE, AWS_ACCESS_KEY_ID with "
    "AWS_SECRET_ACCESS_KEY, ~/.aws"
)
_ENDPOINT = "check AWS_ENDPOINT_URL, the network and whether the store runs"

# What to do, by the code of the store's answer.
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: make it, or name another",
    "AccessDenied": "these credentials may not do that: allow it, or use others (AWS_PROFILE)",
    "403": "these credentials may not do that: allow it, or use others (AWS_PROFILE)",
    "AllAccessDisabled": "the bucket is closed: ask its owner",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": "the session has ended: log in again, then `gfjobs resume`",
    "ExpiredTokenException": "the session has ended: log in again, then `gfjobs resume`",
    "InvalidToken": _CREDENTIALS,
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    "SlowDown": "it asks to slow down, even after retries with pauses: try again later",
    "503": "it is overloaded, even after retries with pauses: try again later",
    "ServiceUnavailable": "it is overloaded, even after retries with pauses: try again later",
    "RequestLimitExceeded": "it asks to slow down, even after retries with pauses: try again later",
    "EntityTooLarge": "a file is larger than the store accepts: make the run smaller",
    "QuotaExceeded": "it is full: make room, then `gfjobs resume`",
    "XMinioStorageFull": "it is full: make room, then `gfjobs resume`",
    "507": "it is full: make room, then `gfjobs resume`",
    "NotImplemented": "it has no conditional puts, which commits need: use another store",
    "501": "it has no conditional puts, which commits need: use another store",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "301": "the bucket is in another region: set AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION",
    "IllegalLocationConstraintException": "the bucket is in another region: set AWS_REGION",
}


def error_code(err: boto.ClientError) -> str:
    """Return the code of an answer; for an answer without a body, its HTTP status."""
    return str(err.response.get("Error", {}).get("Code", "unknown"))


def refused(asked: str, endpoint: str, err: boto.ClientError) -> BackendError:
    """Describe an error that the store answered."""
    code = error_code(err)
    advice = _ADVICE.get(code, "see the log of the store")
    return BackendError(f"{asked} at {endpoint} was answered with {code}; {advice}")


def failed(asked: str, endpoint: str, err: Exception) -> BackendError:
    """Describe a request that was not answered, or not even sent."""
    kind = type(err).__name__
    if isinstance(err, boto.ProfileNotFound):
        advice = "AWS_PROFILE names a profile that is not in ~/.aws: correct one of them"
    elif isinstance(
        err, (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
    ):
        advice = f"no credentials: {_CREDENTIALS}"
    elif isinstance(err, (boto.TokenRetrievalError, boto.UnauthorizedSSOTokenError)):
        advice = "the session has ended: log in again"
    elif isinstance(err, boto.NoRegionError):
        advice = "set AWS_REGION"
    elif isinstance(err, (boto.HTTPClientError, boto.ConnectionError)):
        advice = f"it cannot be reached: {_ENDPOINT}"
    else:
        advice = f"{_CREDENTIALS}; {_ENDPOINT}"
    return BackendError(f"{asked} at {endpoint} failed ({kind}); {advice}")
