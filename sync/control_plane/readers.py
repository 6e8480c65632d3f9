"""Questions to the plane's database, on threads of their own: who asks for long holds up only who asks beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, TimeoutError

from edge import LinesideError

from .database import why
from .standing import StoreFault

T = TypeVar("T")


class Readers:
    """So many threads, each with one connection of `engine` while it asks."""

    def __init__(self, engine: Engine, threads: int, name: str) -> None:
        self._engine = engine
        self.threads: Executor | None = ThreadPoolExecutor(threads, name)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work(connection)` returns. Raises StoreFault when the database does not answer, LinesideError for what none can
        hold."""

        def ask() -> T:
            try:
                with self._engine.connect() as connection:
                    try:
                        return work(connection)
                    except BaseException:
                        connection.invalidate()  # on SQLite rows that nobody read on hold the next question to this moment
                        raise
            except DataError as error:
                raise LinesideError(f"no database holds this: {why(error)}") from None
            except (DBAPIError, TimeoutError) as error:
                raise StoreFault(f"the plane cannot read: {why(error)}") from None

        return await asyncio.get_running_loop().run_in_executor(self.threads, ask)

    def close(self) -> None:
        """What is under way is not waited for."""
        if self.threads is not None:
            self.threads.shutdown(wait=False, cancel_futures=True)
