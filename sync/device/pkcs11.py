"""A key that lies in a TPM, or in another token of PKCS #11, and never leaves it: OpenSSL asks it to sign, by the engine of libp11.

Python's `ssl` takes keys from files alone. What it has loaded of OpenSSL is asked here itself (`_ssl` is linked to it), for three
things: a key, a signature with it, and that a context uses it.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from edge import LinesideError

SCHEME = "pkcs11:"
DYNAMIC = 0x400  # OPENSSL_INIT_ENGINE_DYNAMIC
MOST_SIGNED = 256  # bytes of a signature
NUMBER, TEXT, AT = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {  # what they return and take
    "OPENSSL_init_crypto": (NUMBER, (ctypes.c_uint64, AT)),
    "ENGINE_by_id": (AT, (TEXT,)),
    "ENGINE_ctrl_cmd_string": (NUMBER, (AT, TEXT, TEXT, NUMBER)),
    "ENGINE_init": (NUMBER, (AT,)),
    "ENGINE_load_private_key": (AT, (AT, TEXT, AT, AT)),
    "ENGINE_load_public_key": (AT, (AT, TEXT, AT, AT)),
    "ERR_clear_error": (None, ()),
    "ERR_get_error": (ctypes.c_ulong, ()),
    "ERR_error_string_n": (None, (ctypes.c_ulong, TEXT, ctypes.c_size_t)),
    "EVP_MD_CTX_new": (AT, ()),
    "EVP_MD_CTX_free": (None, (AT,)),
    "EVP_sha256": (AT, ()),
    "EVP_DigestSignInit": (NUMBER, (AT, AT, AT, AT, AT)),
    "EVP_DigestSign": (NUMBER, (AT, TEXT, AT, TEXT, ctypes.c_size_t)),
    "i2d_PUBKEY": (NUMBER, (AT, AT)),
    "SSL_CTX_get_options": (ctypes.c_uint64, (AT,)),
    "SSL_CTX_use_certificate_chain_file": (NUMBER, (AT, TEXT)),
    "SSL_CTX_use_PrivateKey": (NUMBER, (AT, AT)),
}


class OnToken(ec.EllipticCurvePrivateKey):
    """A P-256 key named by a URI (RFC 7512): `pkcs11:token=lineside;object=device?module-path=FILE&pin-source=file:FILE`. Each
    signature waits for the token, a TPM about a tenth of a second. Raises LinesideError."""

    def __init__(self, uri: str) -> None:
        path, module, pin = _parts(uri)
        self._name, self._lib = path.partition("?")[0], _openssl()
        engine = _engine(module)
        with self._asking("no such key is on the token, or the PIN is wrong") as asked:
            asked(key := self._lib.ENGINE_load_private_key(engine, f"{path};type=private{pin}".encode(), None, None))
        self._at = key
        with self._asking("its public key cannot be read") as asked:
            size = self._lib.i2d_PUBKEY(key, None)
            asked(size > 0)
            held = ctypes.create_string_buffer(size)
            asked(self._lib.i2d_PUBKEY(key, ctypes.byref(ctypes.c_void_p(ctypes.addressof(held)))) == size)
        public = load_der_public_key(held.raw)
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise LinesideError(f"{self._name} is no P-256 key", hint="make one with --key-type EC:prime256v1")
        self._public = public

    @contextmanager
    def _asking(self, why: str) -> Iterator[Any]:
        """The body says whether each call went well."""

        def went(well: Any) -> None:
            if not well:
                raise LinesideError(f"{self._name}: {why} ({_said(self._lib)})", hint="see docs/identity.md")

        self._lib.ERR_clear_error()
        yield went

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        how = signature_algorithm.algorithm
        if isinstance(how, Prehashed) or not isinstance(how, SHA256):
            raise UnsupportedAlgorithm("SHA-256 only")
        lib, body = self._lib, bytes(data)
        held, size = ctypes.create_string_buffer(MOST_SIGNED), ctypes.c_size_t(MOST_SIGNED)
        context = lib.EVP_MD_CTX_new()
        try:
            with self._asking("the token does not sign") as asked:
                asked(lib.EVP_DigestSignInit(context, None, lib.EVP_sha256(), None, self._at) == 1)
                asked(lib.EVP_DigestSign(context, held, ctypes.byref(size), body, len(body)) == 1)
        finally:
            lib.EVP_MD_CTX_free(context)
        return held.raw[: size.value]

    def show(self, context: ssl.SSLContext, chain: Path) -> None:
        """Let `context` show the certificates in that file, and prove them by this key."""
        at = ctypes.c_void_p.from_address(
            id(context) + object.__basicsize__
        ).value  # PySSLContext, CPython 3.11 to 3.14
        if self._lib.SSL_CTX_get_options(at) & 0xFFFFFFFF != context.options & 0xFFFFFFFF:
            raise LinesideError("this Python keeps its TLS otherwise than expected", hint="keep the key in a file")
        with self._asking("its certificate is not taken") as asked:
            asked(self._lib.SSL_CTX_use_certificate_chain_file(at, str(chain).encode()) == 1)
            asked(self._lib.SSL_CTX_use_PrivateKey(at, self._at) == 1)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        return 256

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        raise UnsupportedAlgorithm("this key signs only")

    def private_numbers(self) -> NoReturn:
        raise UnsupportedAlgorithm("this key never leaves its token")

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:
        raise UnsupportedAlgorithm("this key never leaves its token")

    def __copy__(self) -> OnToken:
        return self

    def __deepcopy__(self, memo: Any) -> OnToken:
        return self


_turn = threading.Lock()
_opened: dict[str, OnToken] = {}


def on_token(uri: str) -> OnToken:
    """The same one for as long as the process runs. Raises LinesideError."""
    with _turn:
        if uri not in _opened:
            _opened[uri] = OnToken(uri)
        return _opened[uri]


def _parts(uri: str) -> tuple[str, str, str]:
    """(path, module, how the PIN is said) of a URI. The PIN stands in a file of its own."""
    path, _, query = uri.partition("?")
    said = dict(part.partition("=")[::2] for part in query.split("&") if part)
    if unknown := said.keys() - {"module-path", "pin-source"}:
        raise LinesideError(
            f"{sorted(unknown)[0]!r} of {path} is not known", hint="there are module-path and pin-source"
        )
    if "pin-value" in path or "type=" in path or not said.get("module-path"):
        hint = "pkcs11:token=NAME;object=NAME?module-path=FILE&pin-source=file:FILE"
        raise LinesideError(f"{path} is no key of a token as it is written here", hint=hint)
    module, pin = unquote(said["module-path"]), ""
    if not Path(module).is_file():
        raise LinesideError(f"there is no module {module}", hint="apt install libtpm2-pkcs11-1, or that of your token")
    if "pin-source" in said:
        file = Path(unquote(said["pin-source"]).removeprefix("file:"))
        try:
            if file.stat().st_mode & 0o007:
                raise LinesideError(f"everybody here may read the PIN in {file}", hint=f"chmod 600 {file}")
            pin = f";pin-value={file.read_text().strip()}"
        except OSError as error:
            raise LinesideError(f"the PIN cannot be read from {file}: {error.strerror}") from None
    return path, module, pin


@cache
def _openssl() -> Any:
    """The very OpenSSL that `ssl` uses. Raises LinesideError."""
    try:
        lib = ctypes.CDLL(_ssl.__file__)
        for name, (back, given) in CALLS.items():
            call = getattr(lib, name)
            call.restype, call.argtypes = back, given
    except (AttributeError, OSError):
        raise LinesideError(
            "this Python's OpenSSL cannot use keys of tokens", hint="use the system's Python, or keep the key in a file"
        ) from None
    lib.OPENSSL_init_crypto(DYNAMIC, None)
    return lib


@cache
def _engine(module: str) -> int:
    """libp11's engine on a module, never the default for anything: a TPM's module uses OpenSSL itself. Raises LinesideError."""
    lib = _openssl()
    engine = lib.ENGINE_by_id(b"pkcs11")
    if not engine:
        raise LinesideError("OpenSSL has no engine for tokens", hint="apt install libengine-pkcs11-openssl")
    if not (lib.ENGINE_ctrl_cmd_string(engine, b"MODULE_PATH", module.encode(), 0) and lib.ENGINE_init(engine)):
        raise LinesideError(f"{module} cannot be used: {_said(lib)}")
    return int(engine)


def _said(lib: Any) -> str:
    """What OpenSSL says went wrong first."""
    held = ctypes.create_string_buffer(256)
    lib.ERR_error_string_n(lib.ERR_get_error(), held, len(held))
    return held.value.decode(errors="replace").rpartition("::")[0] or held.value.decode(errors="replace")
