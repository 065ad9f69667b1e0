"""JSON web tokens, signed with HS256."""

import base64
import hashlib
import hmac
import json

from django.conf import settings


def issue(**claims):
    """A token with these claims."""
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return f"{signed}.{_signature(signed)}"


def verify(header):
    """The claims of `Bearer <token>`; None when it is not one of ours."""
    scheme, _, token = header.partition(" ")
    signed, _, signature = token.rpartition(".")
    if scheme != "Bearer" or not hmac.compare_digest(signature, _signature(signed)):
        return None
    payload = signed.partition(".")[2]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def _signature(text):
    return _encoded(hmac.digest(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256))


def _encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
