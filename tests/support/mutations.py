"""Bytes that someone, or a failing disk, has changed: one of several ways, or a few of them in turn."""

import re
from random import Random

INTEGERS = (0, 1, -1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**62, 2**63 - 1)
NUMBERS = (b"0", b"-1", b"1", b"3", b"255", b"65536", b"2147483647", b"4294967296", b"99999999999999999999", b"1e309")
WORDS = (*NUMBERS, b"nan", b"null", b"{}", b"[]", b'"', b"", b"\0", b"\n", b"[" * 3000, b"9" * 5000, b"\x1b[31m")

HEAD = 400
"""Bytes at each end of a file in which most headers and footers lie."""


def mutated(data: bytes, random: Random) -> bytes:
    """The bytes, changed in one to three ways."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(WAYS)(data, random)
    return data


def _place(data: bytes, random: Random) -> int:
    near = min(HEAD, len(data))
    ways = (random.randrange(near + 1), len(data) - random.randrange(near + 1), random.randrange(len(data) + 1))
    return random.choice((*ways, ways[0]))


def _put(data: bytes, at: int, what: bytes, n_out: int | None = None) -> bytes:
    return data[:at] + what + data[at + (len(what) if n_out is None else n_out) :]


def _flip(data: bytes, random: Random) -> bytes:
    for _ in range(random.choice((1, 1, 2, 8))):
        at = _place(data, random)
        data = _put(data, at, bytes([byte ^ 1 << random.randrange(8) for byte in data[at : at + 1]]))
    return data


def _randomise(data: bytes, random: Random) -> bytes:
    return _put(data, _place(data, random), random.randbytes(random.choice((1, 1, 2, 4, 16, 100))))


def _truncate(data: bytes, random: Random) -> bytes:
    return data[: _place(data, random)]


def _insert(data: bytes, random: Random) -> bytes:
    return _put(data, _place(data, random), random.randbytes(random.choice((1, 2, 4, 32, 1000))), 0)


def _delete(data: bytes, random: Random) -> bytes:
    return _put(data, _place(data, random), b"", random.choice((1, 2, 4, 32, 1000)))


def _repeat(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return _put(data, at, data[at : at + random.choice((1, 8, 12, 64, 500))] * random.choice((1, 2, 20)), 0)


def _number(data: bytes, random: Random) -> bytes:
    size, order = random.choice((1, 2, 2, 4, 4, 8)), random.choice(("little", "little", "big"))
    value = random.choice(INTEGERS) % (1 << 8 * size)
    at = _place(data, random)
    at -= at % random.choice((1, size))
    return _put(data, at, value.to_bytes(size, order))


def _digits(data: bytes, random: Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data[:100_000]))
    if not found:
        return _number(data, random)
    which = random.choice(found)
    return _put(data, which.start(), random.choice(NUMBERS), which.end() - which.start())


def _word(data: bytes, random: Random) -> bytes:
    found = list(re.finditer(rb"[\w.-]+", data[:100_000]))
    if not found:
        return _number(data, random)
    which = random.choice(found)
    return _put(data, which.start(), random.choice(WORDS), which.end() - which.start())


WAYS = (_flip, _randomise, _truncate, _insert, _delete, _repeat, _number, _number, _digits, _word)
