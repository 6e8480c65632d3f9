"""A proxy that ends TLS before the plane: it says who asked, and nobody else can. With a real nginx."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from cryptography import x509

from edge.bench.process import free_port, wait_for
from edge.cli import main
from sync import wire
from sync.control_plane.ca import Asked, Authority
from sync.control_plane.invite import Wish, invited
from sync.control_plane.plane import Plane
from sync.control_plane.where import Where
from sync.device import enrolment, key
from sync.device.certificate import Certificate
from sync.device.transport import Https
from sync.invitation import token

PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_processes 1;
events {{}}
http {{
  access_log off; client_max_body_size 40m;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
  fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {plane}/proxy.pem; ssl_certificate_key {plane}/proxy.key;
    ssl_client_certificate {plane}/ca.pem; ssl_verify_client optional_no_ca;
    location / {{
      proxy_pass https://127.0.0.1:{behind};
      proxy_ssl_certificate {plane}/proxy.pem; proxy_ssl_certificate_key {plane}/proxy.key;
      proxy_ssl_trusted_certificate {plane}/ca.pem; proxy_ssl_verify on; proxy_ssl_name localhost;
      proxy_set_header Lineside-Certificate $ssl_client_escaped_cert;
    }}
  }}
}}
"""


@pytest.mark.skipif(not shutil.which("nginx", path=PATHS), reason="nginx is not installed: make system-packages")
def test_a_proxy_that_ends_tls_says_who_asked_and_nobody_else_can(tmp_path: Path) -> None:
    async def work() -> None:
        folder, port = tmp_path / "plane", free_port()
        plane = Plane(Where(folder, device_port=0, page_port=0))
        await plane.start()
        asked = ["plane", "proxy", "--folder", str(folder), "--url", f"https://localhost:{port}"]
        assert await asyncio.to_thread(main, asked) == 0
        names = x509.load_pem_x509_certificate((folder / "proxy.pem").read_bytes()).extensions
        assert "localhost" in names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
        behind = int(plane.url.rpartition(":")[2])
        (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, port=port, plane=folder, behind=behind))
        command = ["nginx", "-p", tmp_path, "-e", tmp_path / "nginx.log", "-c", tmp_path / "nginx.conf"]
        nginx = await asyncio.create_subprocess_exec(*command, env={**os.environ, "PATH": PATHS})
        try:
            await asyncio.to_thread(wait_for, lambda: listens(port), 30, "nginx")
            words = token(f"https://localhost:{port}", plane.authority.fingerprint, await invited(plane.store, Wish()))
            me = await asyncio.to_thread(enrolment.enroll, words, "d", tmp_path / "d")
            line, mine = Https(me, Certificate(tmp_path / "d", me)), (tmp_path / "d" / "device.pem").read_text()
            where = f"/d/v1/stands?epoch={'0' * 16}"
            assert await line.exchange("GET", where) == wire.pack_ack({})
            line.close()

            def status(url: str, folder: Path | None, header: str = "") -> int:
                tls = ssl.create_default_context(cadata=me.ca)
                if folder:
                    tls.load_cert_chain(folder)
                with urllib3.PoolManager(ssl_context=tls, retries=False) as pool:
                    said = {"Lineside-Certificate": quote(header)} if header else {}
                    return int(pool.request("GET", url + where, headers=said).status)

            near, far = f"https://localhost:{port}", plane.url
            other = await asyncio.to_thread(
                enrolment.enroll,
                token(far, plane.authority.fingerprint, await invited(plane.store, Wish())),
                "other",
                tmp_path / "other",
            )
            assert other.device == "other"
            another = tmp_path / "other" / "device.pem"
            ask = partial(asyncio.to_thread, status)
            assert await ask(near, None) == await ask(near, None, mine) == await ask(far, None, mine) == 401
            assert await ask(far, another) == await ask(near, another) == 200
            proxy = tmp_path / "proxy.both"
            proxy.write_bytes((folder / "proxy.pem").read_bytes() + (folder / "proxy.key").read_bytes())
            assert await ask(far, proxy, mine) == 200, "the proxy's word"
            forged = Authority(tmp_path / "forged").client(Asked.read(key.request(me.key, "d").encode())).decode()
            assert await ask(far, proxy) == await ask(far, proxy, forged) == await ask(far, proxy, "junk") == 401
            own = (folder / "proxy.pem").read_text()
            assert await ask(far, proxy, own) == 401, "a proxy vouches for devices, not for itself"
        finally:
            nginx.terminate()
            await nginx.wait()
        await plane.stop()

    asyncio.run(work())


def listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0
