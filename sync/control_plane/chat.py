"""Messages to groups of DingTalk, WeCom, Feishu and Slack: each has its own shape, its own signature and its own way to say no.

The status of HTTP says little: DingTalk, WeCom and Feishu answer 200 with a code in the body that is 0 when the message was taken.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import urlencode

from .alert_options import DingTalkChannel, FeishuChannel, SlackChannel, WeComChannel
from .forward_options import ForwardOptions
from .forward_target import Happened, Later, Refused
from .own import PLANE
from .posting import Answer, Poster

ALERTS = ForwardOptions(devices=PLANE, kinds=["alert"])  # what forwarding brings to channels
MOST_WECOM = 2048  # bytes of a text


class Chat(ABC):
    """One channel. `busy` are codes of its answers that mean: later. Raises ConfigFault where its authority cannot be read."""

    at_once = 1
    options = ALERTS
    busy: frozenset[int] = frozenset()
    code = "errcode"  # what it is called in the answer

    def __init__(self, name: str, options: DingTalkChannel | WeComChannel | FeishuChannel | SlackChannel) -> None:
        self.key, self.tries = name, options.tries
        self._poster = Poster(options.url, options.private, options.ca, hidden=True)

    @abstractmethod
    def shape(self, text: str, now: float) -> tuple[dict[str, Any], str]:
        """(body, query) of a message at a time (seconds since 1970)."""

    async def deliver(self, happened: Happened) -> None:
        """Returns when it was taken. Raises Later or Refused."""
        body, query = self.shape(str(happened.content["text"]), time.time())
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "lineside"}
        answer = await self._poster.post(json.dumps(body, ensure_ascii=False).encode(errors="replace"), headers, query)
        answer.taken()
        self.read(answer)

    def read(self, answer: Answer) -> None:
        """What the body of a 2xx says. Raises Later or Refused."""
        try:
            said = json.loads(answer.said)
            code = int(said[self.code])
        except (ValueError, TypeError, KeyError):
            raise Later(
                f"it does not answer as it should: {' '.join(answer.said.split())[:200]}", answer.wish
            ) from None
        if code == 0:
            return
        words = f"{self.code} {code}: {' '.join(str(said.get('errmsg') or said.get('msg') or '').split())[:200]}"
        if code in self.busy:
            raise Later(words, answer.wish)
        raise Refused(words)

    def close(self) -> None:
        self._poster.close()


class DingTalk(Chat):
    """A custom robot; it takes 20 messages a minute."""

    busy = frozenset({-1, 130101, 410100})  # busy, too many a minute

    def __init__(self, name: str, options: DingTalkChannel) -> None:
        super().__init__(name, options)
        self._secret = options.secret

    def shape(self, text: str, now: float) -> tuple[dict[str, Any], str]:
        """`sign` of the query is the base64 of HMAC-SHA256 with the secret over "MILLISECONDS\\nSECRET"
        (open.dingtalk.com, "Customize robot security settings")."""
        body = {"msgtype": "text", "text": {"content": text}}
        if not self._secret:
            return body, ""
        at = str(round(now * 1000))
        seal = hmac.digest(self._secret.encode(), f"{at}\n{self._secret}".encode(), "sha256")
        return body, urlencode({"timestamp": at, "sign": base64.b64encode(seal).decode()})


class WeCom(Chat):
    """A robot of a group; it takes 20 messages a minute."""

    busy = frozenset({-1, 45009, 45033})  # busy, too many a minute, too many at a time

    def shape(self, text: str, now: float) -> tuple[dict[str, Any], str]:
        short = text.replace("<@", "< @").encode(errors="replace")  # which would call somebody
        if len(short) > MOST_WECOM:
            short = short[: MOST_WECOM - 3].decode(errors="ignore").encode() + "…".encode()
        return {"msgtype": "text", "text": {"content": short.decode()}}, ""


class Feishu(Chat):
    """A custom bot; it takes 100 messages a minute."""

    busy = frozenset({11232})  # too many a minute
    code = "code"

    def __init__(self, name: str, options: FeishuChannel) -> None:
        super().__init__(name, options)
        self._secret = options.secret

    def shape(self, text: str, now: float) -> tuple[dict[str, Any], str]:
        """`sign` is the base64 of HMAC-SHA256 over nothing, with "SECONDS\\nSECRET" as its key
        (open.feishu.cn, "Custom bot usage guide", signature verification)."""
        plain = text.replace("<at", "< at")  # which would call somebody
        body: dict[str, Any] = {"msg_type": "text", "content": {"text": plain}}
        if self._secret:
            at = str(int(now))
            seal = hmac.digest(f"{at}\n{self._secret}".encode(), b"", "sha256")
            body |= {"timestamp": at, "sign": base64.b64encode(seal).decode()}
        return body, ""


class Slack(Chat):
    """An incoming webhook; its answer is the status."""

    def shape(self, text: str, now: float) -> tuple[dict[str, Any], str]:
        for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(character, written)
        return {"text": text}, ""

    def read(self, answer: Answer) -> None: ...
