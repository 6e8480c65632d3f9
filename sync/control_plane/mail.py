"""Messages by mail: TLS from the first byte, or STARTTLS, or neither on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from edge import SECOND, log, reason_of

from .alert_options import SmtpChannel
from .chat import ALERTS
from .forward_target import Happened, Later, Refused
from .posting import ANSWER_WITHIN, CONNECT_WITHIN, reach, trusting

MOST_SUBJECT = 150  # characters


class Mail:
    """One channel. Raises ConfigFault where its authority cannot be read."""

    at_once = 1
    options = ALERTS

    def __init__(self, name: str, options: SmtpChannel) -> None:
        self.key, self.tries, self._given = name, options.tries, options
        self._context = trusting(options.ca)
        self._threads = ThreadPoolExecutor(1, "mail")

    async def deliver(self, happened: Happened) -> None:
        """Returns when the server has taken it. Raises Later or Refused."""
        server = _Server(self._given, self._context)
        asked = asyncio.get_running_loop().run_in_executor(self._threads, server.carry, self.message(happened))
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                refused = await asked
        except TimeoutError:
            raise Later(f"no answer within {ANSWER_WITHIN:g} s") from None
        finally:
            server.abort()
        if refused:  # who took it has it; sent once more they would have it twice
            log.warning("plane: %s of channel %s did not get %s", ", ".join(refused), self.key, happened.key)

    def message(self, happened: Happened) -> EmailMessage:
        """The same Message-ID whenever it is sent."""
        text, given = str(happened.content["text"]), self._given
        message = EmailMessage(policy=SMTP)
        message["Subject"] = " ".join(text.partition("\n")[0].split())[:MOST_SUBJECT] or "Lineside"
        message["From"], message["To"] = given.from_, ", ".join(given.to)
        message["Date"] = format_datetime(datetime.fromtimestamp(happened.content["ts"] // SECOND, UTC))
        message["Message-ID"] = f"<{happened.seq}.{happened.epoch}.lineside@{given.from_.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Server(smtplib.SMTP):
    """One message on a connection of its own, on a thread; `abort()` ends it from elsewhere."""

    def __init__(self, given: SmtpChannel, context: ssl.SSLContext) -> None:
        super().__init__(timeout=CONNECT_WITHIN, local_hostname=given.from_.rpartition("@")[2])  # none is looked up
        self._given, self._context = given, context
        self._host = given.host  # whose certificate STARTTLS asks for
        self._aborted = False

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        line = reach(host, port, self._given.private, secure=self._given.security != "none")
        if self._given.security != "tls":
            return line
        try:
            return self._context.wrap_socket(line, server_hostname=host)
        except OSError:
            line.close()
            raise

    def carry(self, message: EmailMessage) -> list[str]:
        """Which addresses did not take it, where others did. Raises Later or Refused."""
        given = self._given
        at = f"{given.host}:{given.at}"
        try:
            self.connect(given.host, given.at)
            if self._aborted:
                raise Later("given up")
            if given.security == "starttls":
                self.starttls(context=self._context)
            if given.user:
                self.login(given.user, given.password)
            refused = list(self.send_message(message))
            with contextlib.suppress(smtplib.SMTPException, OSError):
                self.quit()
            return refused
        except ssl.SSLCertVerificationError as error:
            raise Later(f"the certificate of {given.host} is not trusted: {error.verify_message}") from None
        except smtplib.SMTPAuthenticationError as error:  # heals when somebody changes the password
            raise Later(f"{at} does not let {given.user} in: {_said(error.smtp_code, error.smtp_error)}") from None
        except smtplib.SMTPRecipientsRefused as error:
            answers = list(error.recipients.values())
            words = "; ".join(f"{name}: {_said(*answer)}" for name, answer in error.recipients.items())[:300]
            raise (Refused if all(code >= 500 for code, _ in answers) else Later)(words) from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise (Refused if error.smtp_code >= 500 else Later)(_said(error.smtp_code, error.smtp_error)) from None
        except smtplib.SMTPException as error:
            raise Later(f"{at}: {' '.join(str(error).split())[:200]}") from None
        except OSError as error:
            raise Later(f"cannot reach {at}: {reason_of(error)}") from None
        finally:
            self.close()

    def abort(self) -> None:
        self._aborted = True
        if (line := self.sock) is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                line.close()


def _said(code: int, words: bytes | str) -> str:
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    return f"{code} {' '.join(text.split())[:200]}"
