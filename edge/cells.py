"""Tables that people open with a spreadsheet: their rows, and texts that must not be taken for formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

_RUNS = re.compile("'*[=+\\-@＝＋－＠\t\r]")  # an East Asian spreadsheet takes the wide ones as well


class NotCsv(ValueError):
    """What is wrong, and in the row that begins in which line."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"not CSV: {why}")
        self.line = line


def safe(text: str) -> str:
    """With an apostrophe before what would be a formula, and before what `bare` would take for one of these."""
    return f"'{text}" if _RUNS.match(text) else text


def bare(text: str) -> str:
    """The same without it."""
    return text[1:] if text[:1] == "'" and _RUNS.match(text) else text


def rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, each with the line in which it begins, the first one its columns; rows with nothing in them are left
    out. Parted by commas, or by semicolons where the first line has no comma. Raises NotCsv."""
    first = text.partition("\n")[0]
    mark, line = ";" if ";" in first and "," not in first else ",", 1
    reader = csv.reader(io.StringIO(text.replace("\r\n", "\n"), newline=""), strict=True, delimiter=mark)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise NotCsv(line, str(error)) from None
