"""Reads tables as text (CSV) as spreadsheets and engineering tools save them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflow.errors import ConfigError, Problem

Row = Mapping[str, str]
"""The cells of a line by their column."""
_MOST_LINES = 100_000
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x19]")
"""Bytes that no list has in it, and every spreadsheet, archive and program has."""


def read_table(path: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    """The columns in lower case, and the rows with their line; every cell without white space around it.

    A row ends where its line does: it has no cells for the columns after that. Raises ConfigError.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}")]) from None
    text = _text(path, raw)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        return _cells(path, reader)
    except csv.Error as error:
        problem = f"is no list that can be read ({error}); look for a quote that is not closed, or save it anew as CSV"
        raise ConfigError([Problem(str(path), reader.line_num, 0, "", problem)]) from None


def _text(path: Path, raw: bytes) -> str:
    """The text of a list with the line ends of this system; raises ConfigError where it is none."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = raw.decode("utf-16", "replace")  # "Unicode text" of spreadsheets
    elif _NO_TEXT.search(raw):
        problem = "is not a list as text; open it with the program it is from and save it as CSV"
        raise ConfigError([Problem(str(path), 0, 0, "", problem)])
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", "replace")  # what spreadsheets on Windows save
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cells(path: Path, reader: Any) -> tuple[list[str], list[tuple[int, Row]]]:
    columns = [cell.strip().lower().replace("eng. units", "eng units") for cell in next(reader, [])]
    rows: list[tuple[int, Row]] = []
    for cells in reader:
        row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
        if any(row.values()) and not next(iter(row.values())).startswith("#"):
            rows.append((reader.line_num, row))
        if len(rows) > _MOST_LINES:
            raise ConfigError([Problem(str(path), reader.line_num, 0, "", f"has more than {_MOST_LINES} lines")])
    return columns, rows
