"""The plane's database: one writer thread that commits for many at once on a connection of its own, readers beside it."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, SQLAlchemyError

from edge import CodecFault, LinesideError, log

from . import hold
from .database import beside, opened, snapshots, why
from .messages import Message, apply_messages
from .readers import Readers
from .standing import StoreFault

T = TypeVar("T")
Work = Callable[[Connection], Any]
# what goes with each piece of work
ALONG: ContextVar[Callable[[Work], Work] | None] = ContextVar("along", default=None)
Answer = tuple[asyncio.Future[Any], Any, Exception | None]
MOST_TOGETHER = 256  # requests committed in one transaction
FEW, GATHER = 64, 0.02  # where several come at a time and fewer than that wait, seconds to wait for more
CROWD, LONGER = 16, 0.06  # where so many came together last time, seconds to wait: half the work for each
READERS, GLANCES = 8, 4  # threads for what pages and works ask, and for what devices wait for
TRIES = 3  # of a transaction that another process is in the way of


class Job(NamedTuple):
    """What waits to be written, and of which device ("": of none)."""

    device: str
    work: Callable[[Connection], Any]
    done: asyncio.Future[Any]


class Store:
    """`write(work)` runs `work(connection)` on the writer thread, many in one COMMIT, and returns only after it."""

    def __init__(self, url: str) -> None:
        """Raises LinesideError where there is no such database."""
        self.engine = opened(url)
        self.writing = beside(self.engine)  # whoever asks for long leaves the writer its connection
        self._readers = Readers(snapshots(self.engine), READERS, "plane-reader")
        self._glances = Readers(snapshots(self.engine), GLANCES, "plane-glance")
        self.shared = self.engine.dialect.name == "postgresql"  # other processes may be at work on it
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="plane-writer", daemon=True)
        self._thread.start()
        self.commits = 0
        self._trouble = ""  # why the last commit failed; said once

    async def write(self, work: Callable[[Connection], T], device: str = "") -> T:
        """What `work` reads of `device` nobody else changes before it is committed. Raises StoreFault when it could not be
        committed."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        along = ALONG.get()
        if isinstance(work, Message):
            self._take(Job(work.device, work, done))
        else:
            self._take(Job(device, along(work) if along else work, done))
        return await done

    def _take(self, job: Job) -> None:
        self._waiting.put(job)

    def _write(self) -> None:
        many = 1
        while (first := self._waiting.get()) is not None:
            if many > 1 and self._waiting.qsize() < FEW:
                time.sleep(LONGER if many > CROWD else GATHER)  # a transaction for each would cost ten times as much
            group = [first]
            while len(group) < MOST_TOGETHER and not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    self._waiting.put(None)
                    break
                group.append(more)
            many = len(group)
            answers = defaultdict[asyncio.AbstractEventLoop, list[Answer]](list)
            for answer in self._commit(group):
                answers[answer[0].get_loop()].append(answer)
            for loop, some in answers.items():
                loop.call_soon_threadsafe(settle_all, some)  # one wake for all of them

    def _commit(self, group: list[Job]) -> list[Answer]:
        """Never raises."""
        for left in reversed(range(TRIES)):
            try:
                answers = self._transaction(group)
                self.commits += 1
                if self._trouble:
                    log.warning("plane: writing again")
                    self._trouble = ""
                return answers
            except (SQLAlchemyError, OSError) as error:
                if left and hold.clashed(error):
                    continue
                words = why(error)
                if words != self._trouble:
                    log.error(
                        "plane: cannot write: %s; nothing is acknowledged, the devices keep it and try again", words
                    )
                    self._trouble = words
                fault = StoreFault(f"the plane cannot write: {words}")
            except Exception:
                log.exception("plane: a commit failed")
                fault = StoreFault("the plane failed to write this")
            break
        return [(job.done, None, fault) for job in group]

    def _transaction(self, group: list[Job]) -> list[Answer]:
        answers: list[Answer] = []
        with self.writing.begin() as connection:
            hold.devices(connection, {job.device for job in group if job.device})
            messages = [(job.work, job.done) for job in group if isinstance(job.work, Message)]
            found, fault = self._together(connection, [message for message, _ in messages])
            for job in group:
                if fault or not isinstance(job.work, Message):  # one message that spoils the others is found by itself
                    answers.append((job.done, *self._attempt(connection, job.work)))
            if not fault:
                answers += [(done, answer, None) for (_, done), answer in zip(messages, found, strict=True)]
        return answers

    def _together(self, connection: Connection, messages: list[Message]) -> tuple[Any, Exception | None]:
        return self._attempt(connection, lambda c: apply_messages(c, messages)) if messages else ([], None)

    def _attempt(self, connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, Exception | None]:
        """(answer, fault) of a piece of work, which leaves nothing behind where it fails. Raises what is the database's fault."""
        try:
            with connection.begin_nested():
                return work(connection), None
        except LinesideError as error:
            return None, error
        except DataError as error:  # of what one device sent
            return None, CodecFault(f"no database holds this: {why(error)}")
        except (SQLAlchemyError, OSError):
            raise
        except Exception:  # what one device sent must not hold up the others
            log.exception("plane: a write failed")
            return None, StoreFault("the plane failed to write this")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What a reading `work(connection)` returns, of one snapshot of the database, for pages and works. Raises StoreFault when
        the database does not answer, LinesideError for what none can hold."""
        return await self._readers.read(work)

    async def glance(self, work: Callable[[Connection], T]) -> T:
        """As `read`, for a device that waits: what pages ask for long is not waited for."""
        return await self._glances.read(work)

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join(timeout=5)
        for readers in (self._readers, self._glances):
            readers.close()
        self.writing.dispose()
        self.engine.dispose()


def settle(done: asyncio.Future[Any], answer: Any, fault: Exception | None) -> None:
    """Give who waits the answer or the fault."""
    if done.done():
        return
    if fault is not None:
        done.set_exception(fault)
    else:
        done.set_result(answer)


def settle_all(answers: list[Answer]) -> None:
    for answer in answers:
        settle(*answer)
