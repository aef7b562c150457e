"""Lets schemathesis be the provider: with a secret in HOOKLINE_WEBHOOK_SECRET, its webhooks are signed and name a known source."""

import hashlib
import hmac
import os
import time
from typing import Any

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase


class Signature(AuthBase):
    """The last to see a request: only then are its bytes what is sent."""

    def __init__(self, secret: str) -> None:
        self.secret = secret.encode()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        timestamp = str(int(time.time()))
        message = timestamp.encode() + b"." + body
        request.headers["magic-hour-event-timestamp"] = timestamp
        request.headers["magic-hour-event-signature"] = hmac.new(self.secret, message, hashlib.sha256).hexdigest()
        return request


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    if secret := os.environ.get("HOOKLINE_WEBHOOK_SECRET"):
        kwargs["auth"] = Signature(secret)
        if "source" in case.path_parameters:
            case.path_parameters["source"] = os.environ["HOOKLINE_SOURCE"]
