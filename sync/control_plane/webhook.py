"""An event as a signed POST to a system of a customer."""

from __future__ import annotations

import hmac
import time

from .forward_options import WebhookOptions
from .forward_target import Happened
from .posting import AT_ONCE, Poster


class Webhook:
    """One target. Raises ConfigFault where its authority cannot be read."""

    at_once = AT_ONCE
    key = ""

    def __init__(self, options: WebhookOptions) -> None:
        self.options, self.tries = options, options.tries
        self._poster = Poster(options.url, options.private, options.ca)

    async def deliver(self, happened: Happened) -> None:
        """Returns when it was taken. Raises Later or Refused."""
        (await self._poster.post(happened.body, self.headers(happened, int(time.time())))).taken()

    def headers(self, happened: Happened, now: int) -> dict[str, str]:
        seal = hmac.new(self.options.secret.encode(), f"{now}.".encode() + happened.body, "sha256").hexdigest()
        return {
            "Content-Type": "application/json",
            "User-Agent": "lineside",
            "Idempotency-Key": happened.key,
            "Lineside-Signature": f"t={now},v1={seal}",
        }

    def close(self) -> None:
        self._poster.close()
