"""The ways to people, each as a target of forwarding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .alert_options import ChannelOptions, WebhookChannel
from .chat import ALERTS, DingTalk, Feishu, Slack, WeCom
from .forward_options import WebhookOptions
from .forward_target import Target
from .mail import Mail
from .webhook import Webhook


class Hook(Webhook):
    """A system of the customer: the event of the message, signed as every other one."""

    at_once = 1

    def __init__(self, name: str, options: WebhookChannel) -> None:
        given = options.model_dump(include={"url", "secret", "private", "ca", "tries"})
        super().__init__(WebhookOptions(**given, **ALERTS.model_dump()))
        self.key = name


KINDS: Mapping[str, Callable[[str, Any], Target]] = {
    "webhook": Hook,
    "smtp": Mail,
    "dingtalk": DingTalk,
    "wecom": WeCom,
    "feishu": Feishu,
    "slack": Slack,
}


def opened(name: str, options: ChannelOptions) -> Target:
    """Raises ConfigFault where its authority cannot be read."""
    return KINDS[options.type](name, options)
