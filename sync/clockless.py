"""TLS that asks no clock: who uses it looks at the time itself, or has none."""

from __future__ import annotations

import ssl

NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL
