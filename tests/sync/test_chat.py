"""Groups of DingTalk, WeCom, Feishu and Slack: signed as each publishes it, and the code in the body is the answer.

The signatures are checked here by the published formulas, written down anew:
- DingTalk: "Customize robot security settings", open.dingtalk.com/document/robots/customize-robot-security-settings.
- Feishu: "Custom bot usage guide", open.feishu.cn/document/client-docs/bot-v3/add-custom-bot.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import ConfigFault
from sync.control_plane import channels, posting
from sync.control_plane.alert_options import TYPES
from sync.control_plane.forward_target import Happened, Later, Refused, Target
from sync.control_plane.own import EPOCH, PLANE
from tests.broker import certificates
from tests.sync.hooks import Hooks, hooks

SECRET = "SEC0123456789abcdef"
TEXT = '[HIGH] press-4 hot, raised: 热 <at user_id="all"> <@all> & more'
FINE = {
    "dingtalk": b'{"errcode":0,"errmsg":"ok"}',
    "wecom": b'{"errcode":0}',
    "feishu": b'{"code":0,"msg":"success"}',
    "slack": b"ok",
}


def channel(kind: str, url: str, **more: Any) -> Target:
    given = {"type": kind, "url": url, "private": True, **more}
    return channels.opened("group", TYPES[kind].model_validate(given))


@contextlib.contextmanager
def robot(kind: str, certificate: Path | None = None) -> Iterator[Hooks]:
    with hooks(certificate) as it:
        it.say, it.body = (lambda n, headers, body: 200), FINE[kind]
        yield it


def send(target: Target, text: str = TEXT) -> None:
    said = {
        "ts": 1,
        "kind": "alert",
        "key": "group",
        "state": "queued",
        "severity": "high",
        "text": text,
        "data": {},
        "refs": [],
    }
    try:
        asyncio.run(target.deliver(Happened(PLANE, EPOCH, 7, said)))
    finally:
        target.close()


def got(it: Hooks) -> Any:
    return json.loads(it.got[-1][1])


def test_dingtalk_is_signed_in_its_query() -> None:
    with robot("dingtalk") as it:
        send(channel("dingtalk", f"{it.url}?access_token=abc", secret=SECRET))
        query = parse_qs(urlsplit(it.paths[0]).query, strict_parsing=True)
        at = query["timestamp"][0]
        assert query["access_token"] == ["abc"] and abs(int(at) / 1000 - time.time()) < 60
        seal = hmac.new(SECRET.encode("utf-8"), f"{at}\n{SECRET}".encode(), digestmod=hashlib.sha256).digest()
        assert query["sign"] == [base64.b64encode(seal).decode()]
        assert got(it) == {"msgtype": "text", "text": {"content": TEXT}}
        send(channel("dingtalk", f"{it.url}?access_token=abc"))
        assert urlsplit(it.paths[1]).query == "access_token=abc"


def test_feishu_is_signed_in_its_body() -> None:
    with robot("feishu") as it:
        send(channel("feishu", it.url, secret=SECRET))
        said = got(it)
        assert abs(int(said["timestamp"]) - time.time()) < 60
        key = f"{said['timestamp']}\n{SECRET}".encode()
        assert said["sign"] == base64.b64encode(hmac.new(key, b"", digestmod=hashlib.sha256).digest()).decode()
        assert said["msg_type"] == "text" and said["content"]["text"].startswith("[HIGH] press-4 hot, raised: 热")
        assert "<at" not in said["content"]["text"], "nobody is called by what a device says"
        send(channel("feishu", it.url))
        assert "sign" not in got(it)


def test_wecom_and_slack_get_their_own_shapes() -> None:
    with robot("wecom") as it:
        send(channel("wecom", f"{it.url}?key=abc"))
        assert it.paths[-1].endswith("?key=abc")
        assert got(it)["msgtype"] == "text" and "<@" not in got(it)["text"]["content"]
        send(channel("wecom", it.url), "热" * 2000)
        content = got(it)["text"]["content"]
        assert 2000 < len(content.encode()) <= 2048 and content.endswith("热…")
        it.body = FINE["slack"]
        send(channel("slack", it.url))
        assert got(it)["text"].endswith("&lt;@all&gt; &amp; more")


@pytest.mark.parametrize(
    ("kind", "answer", "fault", "words"),
    [
        ("dingtalk", b'{"errcode":310000,"errmsg":"sign not match"}', Refused, "errcode 310000: sign not match"),
        ("dingtalk", b'{"errcode":130101,"errmsg":"send too fast"}', Later, "errcode 130101: send too fast"),
        ("dingtalk", b'{"errcode":-1}', Later, "errcode -1"),
        ("wecom", b'{"errcode":93000,"errmsg":"invalid webhook url"}', Refused, "errcode 93000: invalid webhook url"),
        ("wecom", b'{"errcode":45009}', Later, "errcode 45009"),
        ("feishu", b'{"code":19021,"msg":"sign match fail"}', Refused, "code 19021: sign match fail"),
        ("feishu", b'{"code":11232,"msg":"frequency limited"}', Later, "code 11232"),
        ("feishu", b"<html>please log in</html>", Later, "does not answer as it should: <html>please log in"),
        ("wecom", b"[]", Later, "does not answer as it should"),
        ("dingtalk", b'{"errcode":"x"}', Later, "does not answer as it should"),
    ],
)
def test_the_code_in_the_body_is_the_answer(kind: str, answer: bytes, fault: type[Exception], words: str) -> None:
    with robot(kind) as it:
        it.body = answer
        with pytest.raises(fault) as said:
            send(channel(kind, f"{it.url}?access_token=hunter2"))
        assert words in str(said.value) and "hunter2" not in str(said.value)


@pytest.mark.parametrize("status", [200, 404, 400])
def test_an_answer_that_repeats_the_address_shows_no_secret(status: int) -> None:
    with robot("dingtalk") as it:
        it.say = lambda n, headers, body: status
        it.body = b"no such page: /robot/T0hunter2/send?access_token=abchunter2&x=1"
        with pytest.raises((Later, Refused), match="no such page: /robot/") as said:
            send(channel("dingtalk", f"{it.url}/T0hunter2/send?access_token=abchunter2"))
        assert "hunter2" not in str(said.value)


@pytest.mark.parametrize("kind", list(FINE))
def test_what_goes_wrong_on_the_way_is_tried_again(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with robot(kind) as it:
        for status, fault in ((500, Later), (404, Later), (302, Later), (400, Refused)):
            it.say = lambda n, headers, body, s=status: s  # type: ignore[misc]
            with pytest.raises(fault, match=str(status)):
                send(channel(kind, it.url))
        it.say, it.more = (lambda n, headers, body: 429), {"Retry-After": "77"}
        with pytest.raises(Later) as wish:
            send(channel(kind, it.url))
        assert wish.value.wish == 77.0
        with pytest.raises(Later, match="in a private network"):
            send(channel(kind, it.url, private=False))
        monkeypatch.setattr(posting, "ANSWER_WITHIN", 0.2)
        goes_on = threading.Event()
        it.say = lambda n, headers, body: 200 if goes_on.wait(30) else 500
        with pytest.raises(Later, match="no answer within"):
            send(channel(kind, it.url))
        goes_on.set()
    with pytest.raises(Later, match=r"cannot reach 127\.0\.0\.1"):
        send(channel(kind, it.url))


def test_a_server_has_to_be_who_it_says(tmp_path: Path) -> None:
    certificates(tmp_path)
    with robot("dingtalk", tmp_path / "broker.pem") as it:
        with pytest.raises(Later, match="is not trusted"):
            send(channel("dingtalk", it.url))
        assert not it.got
        send(channel("dingtalk", it.url, ca=str(tmp_path / "ca.pem")))
        assert len(it.got) == 1
    with pytest.raises(ConfigFault, match="check `ca`"):
        channel("dingtalk", it.url, ca=str(tmp_path / "none.pem"))
