"""Events to a customer's broker: MQTT 5, quality of service 1; taken means the broker's PUBACK."""

from __future__ import annotations

import asyncio
import re
import secrets

from edge import DeviceLost

from .. import mqtt_line
from ..mqtt_line import Line, trusting
from .forward_options import BrokerTargetOptions, ForwardOptions
from .forward_target import Happened, Later, Refused

HEAD = 200  # bytes of a message beside topic and body, at most
MOST_TOPIC = 65_535  # bytes
# MQTT 5, 1.5.4: a broker may end the connection over any of these; the first three would be other levels or wildcards
NO_CHARACTERS = "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
UNFIT = re.compile(f"[+#/\0-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{NO_CHARACTERS}]")


class Broker:
    """One target. Raises ConfigFault where its certificates cannot be read."""

    at_once = 20
    key = ""
    tries = 1  # what is refused is too large, and stays so

    def __init__(self, options: BrokerTargetOptions) -> None:
        self._options = options
        self._context = trusting(options.ca, options.certificate, options.key)
        self._line: Line | None = None
        self._opening = asyncio.Lock()

    @property
    def options(self) -> ForwardOptions:
        return self._options

    async def deliver(self, happened: Happened) -> None:
        """Returns when the broker has taken it. Raises Later or Refused."""
        topic, body = self.topic(happened), happened.body
        try:
            line = await self._opened()
            if line.most and len(body) + len(topic.encode()) + HEAD > line.most:
                raise Refused(f"{len(body):,} bytes, and the broker takes {line.most:,}")
            await line.publish(topic, body, said={"id": happened.key})
        except mqtt_line.Refused as fault:  # heals when somebody changes the broker's rules
            raise Later(str(fault)) from None
        except DeviceLost as fault:
            self.close()
            raise Later(str(fault)) from None

    def topic(self, happened: Happened) -> str:
        """The words of an event as levels of their own. Raises Refused where what comes of it is nothing to publish to."""
        topic, said = self._options.topic, {"device": happened.device, **happened.content}
        for name in ("device", "kind", "key", "state"):
            topic = topic.replace(f"{{{name}}}", UNFIT.sub("_", str(said[name])) or "_")
        if topic.startswith("$") or not 0 < len(topic.encode()) <= MOST_TOPIC:
            raise Refused(f"nobody can publish to the topic {topic[:100]!r}")
        return topic

    async def _opened(self) -> Line:
        async with self._opening:
            if self._line is not None and (self._line.lost or not self._line.alive):
                self.close()
            if self._line is None:
                o, name = self._options, f"lineside-plane-{secrets.token_hex(4)}"
                line = Line(o.url, name, o.user, o.password, self._context)
                try:
                    await line.open()
                except BaseException:
                    line.close()
                    raise
                self._line = line
            return self._line

    def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
