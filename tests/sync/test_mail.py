"""Mail by a real SMTP server (aiosmtpd) on a free port: with TLS, with STARTTLS, with a login, and saying no."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("aiosmtpd", reason="needs the dev extra")

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from edge.bench.process import free_port
from sync.control_plane import channels, mail
from sync.control_plane.alert_options import SmtpChannel
from sync.control_plane.forward_target import Happened, Later, Refused
from sync.control_plane.own import EPOCH, PLANE
from tests.broker import certificates

TEXT = "[HIGH] press-4 hot, raised: 热\nraised at 2026-11-18 11:06:40 (UTC)\nhttps://plane.example/#/device/press-4"


@dataclass
class Server:
    """`got` is what it took; `no` is its answer to an address or (of "data") to a message, in place of 250."""

    port: int
    got: list[Envelope] = field(default_factory=list)
    no: dict[str, str] = field(default_factory=dict)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address in self.no:
            return self.no[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if "data" in self.no:
            return self.no["data"]
        self.got.append(envelope)
        return "250 OK"


def allowed(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
    fits = isinstance(given, LoginPassword) and (given.login, given.password) == (b"lineside", b"hunter2")
    return AuthResult(success=fits, handled=False)


@contextlib.contextmanager
def serving(security: str, folder: Path) -> Iterator[Server]:
    it = Server(free_port())
    context = None
    if security != "none":
        certificates(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "broker.pem", folder / "broker.key")

    class Listening(Controller):
        def factory(self) -> SMTP:
            own = {"tls_context": context, "require_starttls": True} if security == "starttls" else {}
            later = security == "starttls"  # the library sees TLS from the first byte as none
            needs = {"authenticator": allowed, "auth_required": later, "auth_require_tls": later}
            return SMTP(self.handler, hostname="mail.example", **own, **(needs if security != "none" else {}))

    server = Listening(it, hostname="127.0.0.1", port=it.port, ssl_context=context if security == "tls" else None)
    server.start()
    try:
        yield it
    finally:
        server.stop()


def send(it: Server, security: str, text: str = TEXT, **more: Any) -> None:
    given: dict[str, Any] = {
        "type": "smtp",
        "host": "127.0.0.1",
        "port": it.port,
        "security": security,
        "private": True,
    }
    given |= {"from": "lineside@plant.example", "to": ["a@b.example", "c@d.example"]}
    channel = channels.opened("ops", SmtpChannel.model_validate(given | more))
    said = {"ts": 1_795_000_000 * 10**9, "kind": "alert", "key": "ops", "text": text}
    try:
        asyncio.run(channel.deliver(Happened(PLANE, EPOCH, 7, said)))
    finally:
        channel.close()


@pytest.mark.parametrize("security", ["tls", "starttls", "none"])
def test_a_message_goes_by_mail(security: str, tmp_path: Path) -> None:
    with serving(security, tmp_path) as it:
        ca = {"ca": str(tmp_path / "ca.pem")} if security != "none" else {}
        login = {"user": "lineside", "password": "hunter2"} if security != "none" else {}
        for _ in range(2):
            send(it, security, **ca, **login)
        first, again = (email.message_from_bytes(one.content or b"", policy=email.policy.default) for one in it.got)
        assert it.got[0].rcpt_tos == ["a@b.example", "c@d.example"] and it.got[0].mail_from == "lineside@plant.example"
        assert first["Subject"] == "[HIGH] press-4 hot, raised: 热" and first["Auto-Submitted"] == "auto-generated"
        assert first.get_content().splitlines() == TEXT.splitlines()  # type: ignore[attr-defined]
        assert first["Message-ID"] == again["Message-ID"] == f"<7.{EPOCH}.lineside@plant.example>"
        assert first["Date"] == "Wed, 18 Nov 2026 11:06:40 +0000"
        if security != "none":
            for wrong, words in (
                ({"password": "hunter3"}, "does not let lineside in: 535"),
                ({"ca": ""}, "is not trusted"),
            ):
                with pytest.raises(Later, match=words) as said:
                    send(it, security, **{**ca, **login, **wrong})
                assert "hunter" not in str(said.value)
            assert len(it.got) == 2


def test_what_a_server_says_no_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    both = ("a@b.example", "c@d.example")
    with serving("none", tmp_path) as it:
        for no, fault, words in (
            (dict.fromkeys(both, "550 no such user"), Refused, "a@b.example: 550"),
            ({both[0]: "550 no such user", both[1]: "450 later"}, Later, "450"),
            ({"data": "554 this is spam"}, Refused, "554 this is spam"),
            ({"data": "451 greylisted"}, Later, "451 greylisted"),
        ):
            it.no = no
            with pytest.raises(fault, match=words):
                send(it, "none")
        assert not it.got
        it.no = {both[0]: "550 no such user"}
        send(it, "none")
        assert it.got[0].rcpt_tos == [both[1]] and "a@b.example of channel ops did not get" in caplog.text
        with pytest.raises(Later, match="STARTTLS"):
            send(it, "starttls")
        with pytest.raises(Later, match="in a private network"):
            send(it, "none", private=False)
    with pytest.raises(Later, match=r"cannot reach 127\.0\.0\.1"):
        send(it, "none")


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "ANSWER_WITHIN", 0.2)

    async def work() -> None:
        silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        given = {"type": "smtp", "host": "127.0.0.1", "port": silent.sockets[0].getsockname()[1], "security": "none"}
        given |= {"private": True, "from": "a@b.example", "to": ["c@d.example"]}
        channel = channels.opened("ops", SmtpChannel.model_validate(given))
        with pytest.raises(Later, match="no answer within"):
            await channel.deliver(Happened(PLANE, EPOCH, 7, {"ts": 1, "text": "x"}))
        channel.close()
        silent.close()

    asyncio.run(work())


def test_no_text_of_a_device_makes_a_header(tmp_path: Path) -> None:
    with serving("none", tmp_path) as it:
        send(it, "none", "[HIGH] a\rBcc: x@y.example\x0b\u2028Bcc: z@y.example: " + "w" * 500 + "\n.\nrest")
        message = email.message_from_bytes(it.got[0].content or b"", policy=email.policy.default)
        assert message["Bcc"] is None and len(message["Subject"]) <= 150
        assert message.get_content().rstrip().endswith("rest")  # type: ignore[attr-defined]
