"""Events to a customer's broker: MQTT 5, quality of service 1; taken means the broker's PUBACK."""

from __future__ import annotations

import asyncio
import secrets

from edge import DeviceLost

from .. import mqtt_line
from ..mqtt_line import Line, trusting
from .forward_options import BrokerTargetOptions, ForwardOptions
from .forwarding import Happened, Later, Refused

HEAD = 200  # bytes of a message beside topic and body, at most
UNFIT = str.maketrans("+#/\0", "____")


class Broker:
    """One target. Raises ConfigFault where its certificates cannot be read."""

    at_once = 20
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
        """The words of an event as levels of their own."""
        topic, said = self._options.topic, {"device": happened.device, **happened.content}
        for name in ("device", "kind", "key", "state"):
            topic = topic.replace(f"{{{name}}}", str(said[name]).translate(UNFIT))
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
