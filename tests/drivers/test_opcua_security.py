"""Security of OPC UA sessions: certificates, the trust list, policies, passwords. Against an asyncua server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua

from drivers.opcua import session
from drivers.opcua import trust as trust_module
from drivers.opcua.driver import OpcUa
from drivers.opcua.options import OpcUaConfig
from drivers.opcua.session import _raise_if_readable
from drivers.opcua.trust import Own, fingerprint, out_of_date, own, trust
from edge import SECOND, DeviceLost, DeviceRefused, SystemClock
from edge.bench.process import free_port
from edge.cli import main
from edge.config.load import load_text
from edge.testing import FakeSource
from tests.walks import LONG

Kinds = ua.SecurityPolicyType
SOUND = [
    getattr(Kinds, f"{policy}_{mode}")
    for policy in ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
    for mode in ("Sign", "SignAndEncrypt")
]


@contextlib.asynccontextmanager
async def served(port: int, mine: Own, kinds: list[Any] = SOUND, key: bytes | None = None) -> AsyncIterator[Server]:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    await server.set_application_uri(mine.uri)
    server.set_security_policy([Kinds.NoSecurity, *kinds])
    await server.load_certificate(mine.certificate)
    await server.load_private_key(key or mine.key, format="pem")
    await server.register_namespace("urn:plant")
    await server.nodes.objects.add_variable(ua.NodeId.from_string("ns=2;s=Temp"), "Temp", 20.5)
    async with server:
        yield server


def made(port: int, state: Path, **more: Any) -> tuple[OpcUa, FakeSource]:
    options = {"every": "100ms", "keep_alive": "200ms", "security": "SignAndEncrypt", **more}
    tags: Any = {"temp": {"node": "ns=2;s=Temp"}}
    config = OpcUaConfig(driver="opcua", url=f"opc.tcp://127.0.0.1:{port}", tags=tags, **options)
    source = FakeSource("oven", ["temp"], SystemClock(), state)
    return OpcUa(config, source), source


async def good(driver: OpcUa, source: FakeSource) -> None:
    await source.collect(driver, until=lambda: bool(source.values("temp")))
    assert source.values("temp")[0] == 20.5


def run(work: Callable[[int], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(90):
            await work(free_port())

    asyncio.run(whole())


def test_a_server_is_refused_until_its_certificate_is_trusted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    state, site = tmp_path / "state", tmp_path / "site.yaml"
    server = own(tmp_path / "server")

    async def refused(port: int) -> None:
        site.write_text(
            "device: {id: a}\ndrivers: {oven: {driver: opcua, security: Sign, "
            f"url: 'opc.tcp://127.0.0.1:{port}', tags: {{temp: {{node: 'ns=2;s=Temp'}}}}}}}}\n"
        )
        async with served(port, server):
            driver, source = made(port, state)
            with pytest.raises(
                DeviceRefused, match=rf"not trusted: CN=Lineside, SHA-256 {fingerprint(server.certificate)}"
            ):
                await driver.run()
            with pytest.raises(DeviceRefused, match=r"lineside trust SITE oven [0-9a-f]{16}"):
                await driver.run()
            assert not source.batches

    async def trusted(port: int) -> None:
        async with served(port, server):
            await good(*made(port, state))

    run(refused)
    words = [str(site), "oven"]
    assert main(["trust", *words, "--state", str(state)]) == 1
    shown = capsys.readouterr().out
    assert fingerprint(server.certificate) in shown and "valid        2024-01-01 to 2049-01-01" in shown
    assert main(["trust", *words, "0" * 64, "--state", str(state)]) == 2
    assert main(["trust", *words, fingerprint(server.certificate)[:8], "--state", str(state)]) == 2
    assert main(["trust", *words, fingerprint(server.certificate)[:16], "--state", str(state)]) == 0
    run(trusted)
    assert stat.S_IMODE((state / "opcua" / "own.key").stat().st_mode) == 0o600
    assert main(["trust", *words, "--state", str(state)]) == 2
    assert "no certificate waits" in capsys.readouterr().err


def test_another_certificate_at_the_same_address_is_refused_again(tmp_path: Path) -> None:
    first, second = own(tmp_path / "a"), own(tmp_path / "b")
    trust(tmp_path, "oven", first.certificate)

    async def work(port: int) -> None:
        async with served(port, first):
            await good(*made(port, tmp_path))
        async with served(port, second):
            with pytest.raises(DeviceRefused, match=f"not trusted.*{fingerprint(second.certificate)}"):
                await made(port, tmp_path)[0].run()

    run(work)


def test_a_trusted_certificate_that_is_out_of_date_is_used_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own(tmp_path / "server")
    trust(tmp_path, "oven", server.certificate)
    told = "the server's certificate {} on {}-01-01, and is used as it is on the list"
    for year, words in ((2050, told.format("ended", 2049)), (2023, told.format("begins", 2024)), (2030, "")):
        said = out_of_date(server.certificate, datetime.datetime(year, 6, 1).timestamp() * SECOND)
        assert said.startswith(words) and bool(said) == bool(words)
    monkeypatch.setattr(trust_module, "END", datetime.datetime(2025, 1, 1))
    old = own(tmp_path / "old")
    trust(tmp_path, "oven", old.certificate)

    async def work(port: int) -> None:
        async with served(port, old):
            await good(*made(port, tmp_path))

    run(work)
    assert "oven: the server's certificate ended on 2025-01-01" in caplog.text


def test_a_trusted_certificate_without_its_key_is_no_session(tmp_path: Path) -> None:
    """Certificates are public: who shows one must also hold its key."""
    real, thief = own(tmp_path / "a"), own(tmp_path / "b")
    trust(tmp_path, "oven", real.certificate)

    async def work(port: int) -> None:
        async with served(port, real, key=thief.key):
            driver, source = made(port, tmp_path, timeout="2s")
            with pytest.raises(DeviceLost, match="no session"):
                await driver.run()
            assert not source.batches

    run(work)


@pytest.mark.parametrize(
    ("mode", "policy"),
    [
        ("Sign", "Aes128_Sha256_RsaOaep"),
        ("SignAndEncrypt", "Basic256Sha256"),
        ("SignAndEncrypt", ""),
        *(
            pytest.param(mode, policy, marks=LONG)
            for mode, policy in [
                ("Sign", ""),
                ("Sign", "Basic256Sha256"),
                ("Sign", "Aes256_Sha256_RsaPss"),
                ("SignAndEncrypt", "Aes128_Sha256_RsaOaep"),
                ("SignAndEncrypt", "Aes256_Sha256_RsaPss"),
            ]
        ),
    ],
)
def test_policies(tmp_path: Path, policy: str, mode: str) -> None:
    server = own(tmp_path / "server")
    (tmp_path / "opcua" / "trusted").mkdir(parents=True)
    (tmp_path / "opcua" / "trusted" / "note.txt").write_text("-----BEGIN nothing")  # passed over
    (tmp_path / "opcua" / "trusted" / "by-hand.der").write_bytes(server.certificate)

    async def work(port: int) -> None:
        async with served(port, server):
            await good(*made(port, tmp_path, security=mode, policy=policy))

    run(work)


def test_values_come_on_while_the_channel_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LIFETIME", 800)

    async def work(port: int) -> None:
        async with served(port, own(tmp_path / "server")) as server:
            driver, source = made(port, tmp_path, trust="any")
            tokens: set[tuple[int, int]] = set()
            node = server.get_node("ns=2;s=Temp")
            written: list[asyncio.Task[None]] = []

            def until() -> bool:
                if driver._client is not None and driver._client.uaclient.protocol is not None:
                    token = driver._client.uaclient.protocol._connection.security_token
                    if (token.ChannelId, token.TokenId) not in tokens:
                        tokens.add((token.ChannelId, token.TokenId))
                        written.append(asyncio.ensure_future(node.write_value(float(100 + len(tokens)))))
                return 104.0 in source.values("temp")

            await source.collect(driver, until=until)
            await asyncio.gather(*written)
            assert len({channel for channel, _ in tokens}) == 1 and set(source.qualities("temp")) == {0}

    run(work)


def test_any_certificate_where_the_site_says_so(tmp_path: Path) -> None:
    async def work(port: int) -> None:
        async with served(port, own(tmp_path / "server")):
            await good(*made(port, tmp_path, trust="any"))

    run(work)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([], "no policy at all"),
        ([Kinds.Basic256_SignAndEncrypt, Kinds.Basic128Rsa15_SignAndEncrypt], "it has Basic128Rsa15, Basic256"),
        ([Kinds.Basic256Sha256_Sign], "no end point with SignAndEncrypt"),
    ],
)
def test_a_server_without_a_sound_policy_is_refused(tmp_path: Path, kinds: list[Any], said: str) -> None:
    async def work(port: int) -> None:
        async with served(port, own(tmp_path / "server"), kinds):
            with pytest.raises(DeviceRefused, match=said):
                await made(port, tmp_path, trust="any")[0].run()

    run(work)


def test_a_password_is_never_sent_readable_over_a_secured_session() -> None:
    config = OpcUaConfig(
        driver="opcua",
        url="opc.tcp://a:1",
        security="Sign",
        user="ann",
        tags={"t": {"node": "i=1"}},  # type: ignore[dict-item]
    )
    head, user = "http://opcfoundation.org/UA/SecurityPolicy#", ua.UserTokenType.UserName
    for policy in ("None", "Basic128Rsa15"):
        token = ua.UserTokenPolicy(TokenType=user, SecurityPolicyUri=head + policy)
        with pytest.raises(DeviceRefused, match=f"under {policy}"):
            _raise_if_readable(ua.EndpointDescription(UserIdentityTokens=[token]), config)
    for uri in (None, "", head + "Basic256Sha256"):
        token = ua.UserTokenPolicy(TokenType=user, SecurityPolicyUri=uri)
        _raise_if_readable(ua.EndpointDescription(UserIdentityTokens=[token]), config)


def test_faults_and_warnings_of_a_site(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    site = "device: {{id: a}}\ndrivers:\n  o: {{driver: opcua, url: 'opc.tcp://x:1', {}, tags: {{t: {{node: 'ns=2;s=a'}}}}}}\n"
    for option, said in (
        ("policy: Basic256", "broken and withdrawn"),
        ("policy: Basic256Sha256", "does nothing without security"),
        ("trust: any", "does nothing without security"),
        ("security: encrypt", "security"),
        ("password: x", "a password without a user"),
    ):
        assert said in str(load_text(site.format(option)).problems[0])
    path = tmp_path / "site.yaml"
    for option, said in (
        ("security: Sign, trust: any", "whoever answers at this address is taken for the server"),
        ("user: ann, password: x", "the password goes to whoever answers"),
    ):
        path.write_text(site.format(option))
        assert main(["check", str(path)]) == 0
        assert f"warning: {path}:3:" in (err := capsys.readouterr().err) and said in err
    path.write_text(site.format("security: Sign"))
    assert main(["check", str(path)]) == 0 and "warning" not in capsys.readouterr().err
