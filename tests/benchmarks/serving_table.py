"""Tables on standard output, progress on standard error, medians."""

import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
Groups = dict[tuple[Any, ...], list[Row]]


def say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def grouped(rows: Iterable[Row], *keys: str) -> Groups:
    """The rows by the values of these keys, in the order in which these first came."""
    groups: Groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def median(rows: Iterable[Row], key: str) -> float:
    """Of the rows that have this key; NaN if none has."""
    values = [row[key] for row in rows if key in row]
    return statistics.median(values) if values else math.nan


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table: texts as they are, numbers with three digits or more."""
    cells = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for first, *others in [list(head), *cells]:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *right]))
    print(flush=True)


def lines(facts: Iterable[Row]) -> None:
    """Prints one line for each fact: what it is and its value."""
    for fact in facts:
        print(f"{fact['what']}: {number(fact['value'])}")
    print(flush=True)


def number(value: Any) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
