"""A large JSON object, item by item: only one of them is in memory at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from mobilevitv2.errors import DataError

CHUNK = 1 << 22  # characters read at once
NUMBER = "+-.eE0123456789"


def items_of(path: Path, lists: set[str]) -> Iterator[tuple[str, Any]]:
    """(key, item) for every item of every list in the file's object.

    Everything else is skipped; `lists` gets the keys of all lists, empty ones too.
    Raises DataError for anything but a whole JSON object.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _Reader(path, file).items(lists)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read ({error}). Copy or export it again.") from error


class _Reader:
    """A window on the text that moves on as values are decoded."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.window, self.at, self.passed = "", 0, 0
        self.decode = json.JSONDecoder().raw_decode

    def items(self, lists: set[str]) -> Iterator[tuple[str, Any]]:
        self._take("{")
        separator = self._peek()
        while separator != "}":
            key = str(self._value())
            self._take(":")
            if self._peek() == "[":
                lists.add(key)
                yield from ((key, item) for item in self._list())
            else:
                self._value()
            separator = self._take(",", "}")

    def _list(self) -> Iterator[Any]:
        self._take("[")
        separator = self._take("]") if self._peek() == "]" else ","
        while separator == ",":
            yield self._value()
            separator = self._take(",", "]")

    def _take(self, *expected: str) -> str:
        """Pass the next character that isn't a space, and return it."""
        character = self._peek()
        if character not in expected:
            raise self._wrong(f"expected {' or '.join(map(repr, expected))}")
        self.at += 1
        return character

    def _peek(self) -> str:
        """The next character that isn't a space."""
        while True:
            while self.at < len(self.window) and self.window[self.at] in " \n\r\t":
                self.at += 1
            if self.at < len(self.window):
                return self.window[self.at]
            self._more(CHUNK)

    def _value(self) -> Any:
        self._peek()
        size = CHUNK
        while True:
            try:
                value, end = self.decode(self.window, self.at)
                if self.window[end : end + 3].strip(NUMBER):  # else a number may go on
                    self.at = end
                    return value
            except RecursionError as error:
                raise self._wrong("it is nested too deeply") from error
            except json.JSONDecodeError as error:
                if error.pos < len(self.window) - 16 and "Unterminated" not in error.msg:
                    raise self._wrong(error.msg, error.pos) from error
            self._more(size)
            size *= 2  # so that a long value is not decoded too often

    def _more(self, size: int) -> None:
        """Read on, and forget what was passed. Raises DataError at the end of the file."""
        text = self.file.read(size)
        if not text:
            self.at = len(self.window)
            raise self._wrong("it ends too early: was it cut off?")
        self.passed += self.at
        self.window, self.at = self.window[self.at :] + text, 0

    def _wrong(self, why: str, at: int | None = None) -> DataError:
        where = self.passed + (self.at if at is None else at)
        return DataError(f"{self.path} is not valid JSON at character {where:,}: {why}.")
