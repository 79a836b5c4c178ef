"""Mutations of bytes, of JSON values, of texts, and of the fields of video containers."""

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

_MP4_BOXES: Final = (
    *(b"ftyp", b"mvhd", b"tkhd", b"mdhd", b"stsd", b"stts", b"stsz", b"stsc", b"stco", b"elst"),
    *(b"ctts", b"stss", b"moov", b"trak", b"mdat", b"avcC", b"hdlr"),
)
_EXTREME: Final = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00010000)
_NESTED: Final = 100_000

TEXTS: Final = (
    *("", " ", "\x00", "\ufeffa person walks", "a" * 100_000, "<script>alert(1)</script>"),
    *("\u202egnp.evil", "\x1b[31mred\x1b[0m", "naïve café 走る", "Task: \nStep 1:", "#" * 50),
    *("'; DROP TABLE motions; --", "../../../../etc/passwd", "{{7*7}}", "%s%s%s%n", "\r\n\r\n"),
)
NAMES: Final = (
    *("<script>alert(1)</script>", "\u202eknil", "a b  c", "-rf", "--help", "*", "%2e%2e", "~root"),
    *(
        "line\nbreak",
        "tab\there",
        "\x1b[2Jclear",
        "ünïcödé-走る",
        "quote'\"`",
        "x" * 240,
        "a;b&c|d",
    ),
    *("$(touch pwned)", "..", "{device}", "con", "emoji\U0001f600", "\x7f"),
)
"""Stems of file names."""
NOT_UTF8: Final = b"not-utf8-\xff\xfe"


def mutated_bytes(data: bytes, rng: Random) -> tuple[str, bytes]:
    """Return the name of a random mutation, and the bytes after it."""
    name = rng.choice(sorted(_BYTES))
    return name, _BYTES[name](data, rng)


def _flips(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 20, 200)) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flips_in_front(data: bytes, rng: Random) -> bytes:
    return _flips(data[:256], rng) + data[256:]


def _flips_at_the_end(data: bytes, rng: Random) -> bytes:
    return data[:-256] + _flips(data[-256:], rng)


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _without_begin(data: bytes, rng: Random) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def _zeroed(data: bytes, rng: Random) -> bytes:
    begin, count = rng.randrange(len(data) + 1), rng.choice((8, 64, 1000))
    return data[:begin] + b"\0" * len(data[begin : begin + count]) + data[begin + count :]


def _inserted(data: bytes, rng: Random) -> bytes:
    begin = rng.randrange(len(data) + 1)
    return data[:begin] + rng.randbytes(rng.choice((1, 7, 100))) + data[begin:]


def _repeated(data: bytes, rng: Random) -> bytes:
    begin = rng.randrange(len(data) + 1)
    end = begin + rng.choice((4, 50, 2000))
    return data[:end] + data[begin:end] * rng.choice((1, 10)) + data[end:]


def _swapped(data: bytes, rng: Random) -> bytes:
    first, middle, last = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:first] + data[middle:last] + data[first:middle] + data[last:]


_BYTES: Final[dict[str, Callable[[bytes, Random], bytes]]] = {
    "flips": _flips,
    "flips in front": _flips_in_front,
    "flips at the end": _flips_at_the_end,
    "cut": _cut,
    "without begin": _without_begin,
    "zeroed": _zeroed,
    "inserted": _inserted,
    "repeated": _repeated,
    "swapped": _swapped,
    "empty": lambda _data, _rng: b"",
    "zeros": lambda data, _rng: b"\0" * min(len(data), 100_000),
    "text": lambda _data, _rng: b"This is no such file.\n" * 100,
    "noise": lambda data, rng: rng.randbytes(min(len(data), 10_000)),
}


def mutated_container(data: bytes, rng: Random) -> tuple[str, bytes]:
    """Return a video file with extreme values in its headers, or with its boxes in disorder."""
    changed = bytearray(data)
    found = [box for box in _MP4_BOXES if box in data]
    if not found:  # Matroska, AVI: the headers come first
        for _ in range(rng.choice((1, 4))):
            place = rng.randrange(4, min(len(data), 700) - 4)
            struct.pack_into(">I", changed, place, extreme(rng))
        return "header field", bytes(changed)
    box = rng.choice(found)
    place = data.index(box)
    action = rng.choice(("size", "field", "field", "field", "kind", "order"))
    if action == "size":
        struct.pack_into(">I", changed, place - 4, extreme(rng))
    elif action == "field":
        offset = place + 4 + 4 * rng.randrange(20)
        if offset + 4 <= len(data):
            struct.pack_into(">I", changed, offset, extreme(rng))
    elif action == "kind":
        changed[place : place + 4] = rng.choice((*_MP4_BOXES, b"free", b"\0\0\0\0"))
    else:
        boxes = list(_boxes(data))
        rng.shuffle(boxes)
        changed = bytearray(b"".join(boxes))
    return f"{action} of {box.decode()}", bytes(changed)


def _boxes(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    place = 0
    while place + 8 <= len(data):
        size = struct.unpack_from(">I", data, place)[0]
        end = place + size if size >= 8 else len(data)
        found.append(data[place:end])
        place = end
    return found


def extreme(rng: Random) -> int:
    """Return a number of 32 bits at which programs go wrong."""
    return rng.choice((*_EXTREME, rng.getrandbits(32)))


# --------------------------------------------------------------------------------------------- JSON


def mutated_json(value: Any, rng: Random) -> tuple[str, bytes]:
    """Return the name of a random mutation of a JSON document, and the document as bytes."""
    action = rng.choice(("value", "value", "value", "value", "key", "document", "bytes"))
    if action == "document":
        name = rng.choice(sorted(_DOCUMENTS))
        return name, _DOCUMENTS[name](json.dumps(value))
    if action == "bytes":
        return mutated_bytes(json.dumps(value).encode(), rng)
    copied = json.loads(json.dumps(value))
    places = list(_places(copied))
    holder, key = rng.choice(places)
    if action == "key" and isinstance(holder, dict):
        if rng.random() < 0.5:
            del holder[key]
            return f"without {key}", json.dumps(copied).encode()
        holder[rng.choice(("unknown", "", "__class__", f"{key} ", str(key).upper()))] = holder[key]
        return f"another key beside {key}", json.dumps(copied).encode()
    marker = "@@mutated@@"
    holder[key] = marker
    name = rng.choice(sorted(_VALUES))
    return f"{key}: {name}", json.dumps(copied).replace(f'"{marker}"', _VALUES[name]).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a document, as the container and the key in it."""
    keys: Sequence[Any] = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(min(len(value), 5))
    found = [(value, key) for key in keys]
    for key in keys:
        found += _places(value[key])
    return found


_VALUES: Final = {
    "null": "null",
    "true": "true",
    "text": '"a text"',
    "empty text": '""',
    "list": "[1, [2, [3]]]",
    "empty list": "[]",
    "object": '{"a": {"b": 1}}',
    "minus one": "-1",
    "zero": "0",
    "fraction": "0.5",
    "huge integer": "1" + "0" * 400,
    "over 64 bits": "18446744073709551616",
    "too many digits": "9" * 5000,
    "infinite": "1e999",
    "tiny": "1e-320",
    "NaN": "NaN",
    "surrogate": '"\\ud800 alone"',
    "null character": '"a\\u0000b"',
    "right to left": '"\\u202egnp.exe"',
    "markup": '"<script>alert(1)</script>"',
    "path": '"../../../etc/passwd"',
    "long text": f'"{"a" * 200_000}"',
    "repeated key": '{"a": 1, "a": 2}',
    "deep": "[" * 900 + "]" * 900,
}
_DOCUMENTS: Final[dict[str, Callable[[str], bytes]]] = {
    "nested deeply": lambda _: ("[" * _NESTED + "]" * _NESTED).encode(),
    "objects nested deeply": lambda _: ('{"a":' * _NESTED + "1" + "}" * _NESTED).encode(),
    "a list of it": lambda text: f"[{text}]".encode(),
    "twice": lambda text: (text + text).encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "with a mark of byte order": lambda text: text.encode("utf-8-sig"),
    "Latin-1": lambda text: text.replace("a", "ä").encode("latin-1"),
    "repeated keys": lambda text: (text[:-1] + "," + text[1:]).encode(),
    "null": lambda _: b"null",
    "a number": lambda _: b"17",
    "a text": lambda _: b'"text"',
    "an empty list": lambda _: b"[]",
    "an empty object": lambda _: b"{}",
    "a comment": lambda text: b"// comment\n" + text.encode(),
}


# -------------------------------------------------------------------------------------------- texts


def mutated_lines(text: str, rng: Random, tokens: Sequence[str]) -> tuple[str, bytes]:
    """Return the name of a random mutation of a text with lines and words, and its bytes.

    Args:
        text: the text.
        rng: the random numbers.
        tokens: words to put in the place of a random one.
    """
    lines = text.splitlines()
    place = rng.randrange(len(lines))
    action = rng.choice(
        ("word", "word", "word", "drop", "repeat", "swap", "end", "encoding", "raw")
    )
    if action == "word":
        words = lines[place].split(" ")
        token = rng.choice(tokens)
        words[rng.randrange(len(words))] = token
        lines[place] = " ".join(words)
        return f"word {token[:20]!r} in line {place}", "\n".join(lines).encode("utf-8", "replace")
    if action == "encoding":
        encoding = rng.choice(("utf-16", "utf-32", "utf-8-sig", "cp037"))
        return encoding, text.encode(encoding)
    if action == "raw":
        return mutated_bytes(text.encode(), rng)
    if action == "drop":
        del lines[place : place + rng.choice((1, 1, 5))]
    elif action == "repeat":
        lines[place:place] = [lines[place]] * rng.choice((1, 1000))
    elif action == "swap":
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        return "carriage returns", "\r".join(lines).encode()
    return f"{action} line {place}", "\n".join(lines).encode()


def write(path: Path, data: bytes) -> Path:
    """Write a file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
