"""A connection to a broker with a last will, that also hears."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from paho.mqtt.subscribeoptions import SubscribeOptions

from ..mqtt_line import Line


class NodeLine(Line):
    """`heard(topic, body, kept)` is called on the loop for what comes under `subscribe`d topics; `kept`: the broker had it from
    before. It publishes `will` (topic, body) when we are gone without a word."""

    def __init__(
        self,
        url: str,
        name: str,
        user: str,
        password: str,
        context: ssl.SSLContext | None,
        will: tuple[str, bytes],
        heard: Callable[[str, bytes, bool], None],
    ) -> None:
        super().__init__(url, name, user, password, context)
        self._client.will_set(*will, qos=1, retain=False)
        self._heard_by = heard

    async def open(self) -> None:
        self._client.on_message = lambda c, u, message: self._later(self._came, message)
        await super().open()

    def _came(self, message: Any) -> None:
        self._heard_by(message.topic, message.payload, message.retain)

    def say(self, topic: str, body: bytes) -> None:
        """Publish at quality of service 0: nobody answers, but see `subscribe`. Raises DeviceLost."""
        if self.lost:
            raise self.lost
        self._client.publish(topic, body, qos=0)

    async def subscribe(self, topic: str, *, kept: bool = False) -> None:
        """`kept`: also what the broker has from before. Returns when it has answered, which it does in the order in which it
        read: so it has all that was said until now.
        To subscribe again changes nothing. Raises DeviceLost, Refused."""
        when = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if kept else SubscribeOptions.RETAIN_DO_NOT_SEND
        await self._subscribe(topic, SubscribeOptions(qos=1, retainHandling=when))
