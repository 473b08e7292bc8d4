"""Breaks sound files: bytes at random, and, where a format would refuse that at once, its own parts.

A case is a set of files by relative name.  What is done to a file is told by its suffix; checksums are mended after it (zip,
PNG, tar), so that the change gets past them.  The same generator makes the same cases.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Final

Case = dict[str, bytes]

CASE_BYTES_MAX: Final = 4 << 20
_EDGES: Final = (
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    511,
    512,
    32767,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_CODE: Final = "x=__import__('os').system('true'), y"
_TOKENS: Final = (
    b"../../etc/passwd", b"/etc/passwd", b"\x1b[2J\x1b]0;x\x07", "\u202egnp.exe".encode(), b"\0", b"\n", b"\r\n", b"NaN", b"-1", b"1e999",
    b"99999999999999999999", b"{}", b"[]", b"null", b"true", b'"', b"[" * 3000, b'{"a":' * 3000, b"=[" * 2000, b"PK\3\4", b"PAR1", b"\x89PNG\r\n\x1a\n",
    _CODE.encode(), b"forward", b"class", b"__class__", b"training", b"(" * 500, b"-" * 9000, b"\xff\xfe", b"\xed\xa0\x80", b"external", b"\xff" * 16,
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "x" * 70_000, "../../x",
    "/etc/passwd", "\x1b[31m", "\u202e", "\ud800", _CODE, "class", "forward", "training", [], {}, [[]], [0] * 3000, {"a": 1}, "1", "nan",
)  # fmt: skip


def mutate(case: Case, other: Case, rng: random.Random) -> Case:
    """Return a broken copy of `case`; `other` is what parts may be borrowed from."""
    broken = dict(case)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(sorted(broken))
        broken[name] = mutate_file(name, broken[name], other.get(name, b""), rng)[:CASE_BYTES_MAX]
    if len(broken) > 1 and rng.random() < 0.02:
        del broken[rng.choice(sorted(broken))]
    return broken


def mutate_file(name: str, data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a broken copy of one file."""
    structured = next((change for suffixes, change in _FORMATS if name.endswith(suffixes)), None)
    if structured is not None and rng.random() < 0.7:
        try:
            return structured(data, rng)
        except (
            ValueError,
            LookupError,
            ArithmeticError,
            RuntimeError,
            OSError,
            EOFError,
            struct.error,
            zipfile.BadZipFile,
            zlib.error,
        ):
            pass  # broken too far already for its own parts
    return _bytes(data, other, rng)


def _bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    if not data:
        return rng.choice(_TOKENS)
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = _place(len(made), rng)
        match rng.randrange(8):
            case 0:
                made[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                made[at : at + 1] = bytes([made[at] ^ 1 << rng.randrange(8)]) if at < len(made) else b"\0"
            case 2:
                width = rng.choice((1, 2, 4, 8))
                value = rng.choice(_EDGES) % (1 << 8 * width)
                made[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
            case 3:
                made[at : at + rng.choice((0, 0, 8))] = rng.choice(_TOKENS)
            case 4:
                del made[at : at + rng.choice((1, 4, 64, 512))]
            case 5:
                size = rng.choice((1, 8, 512))
                made[at:at] = made[at : at + size] * rng.choice((1, 2, 50))
            case 6:
                del made[at:]
            case _:
                start = _place(len(other), rng)
                made[at : at + 64] = other[start : start + 64]
        if not made:
            break
    return bytes(made)


def _place(size: int, rng: random.Random) -> int:
    """Return a place in a file: headers and footers, where sizes stand, more often than the rest."""
    if size < 2:
        return 0
    span = min(size, rng.choice((64, 512, 4096)))
    return rng.choice((rng.randrange(size), rng.randrange(span), size - 1 - rng.randrange(span)))


# --- JSON and what carries it ------------------------------------------------------------------------------------------


def _json(data: bytes, rng: random.Random) -> bytes:
    document = json.loads(data)
    holders = _holders(document)
    if not holders or rng.random() < 0.02:
        return json.dumps(rng.choice(_VALUES)).encode()
    holder = rng.choice(holders)
    key: Any = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match rng.randrange(6):
        case 0 | 1:
            holder[key] = rng.choice(_VALUES)
        case 2:
            del holder[key]
        case 3:
            value = holder[key]
            holder[key] = [value] if rng.random() < 0.5 else {"a": value}
        case 4:
            source = rng.choice(holders)
            holder[key] = rng.choice(list(source.values()) if isinstance(source, dict) else source)
        case _:
            if isinstance(holder, dict):
                holder[str(rng.choice(_VALUES))] = holder.pop(key)
            else:
                holder.extend([holder[key]] * rng.choice((1, 2, 1000)))
    try:
        return json.dumps(document).encode()
    except ValueError:  # it was put into itself
        return b"[" * 5000


def _holders(document: Any) -> list[Any]:
    found, todo = [], [document]
    while todo and len(found) < 5000:
        part = todo.pop()
        if isinstance(part, dict | list) and part:
            found.append(part)
            todo += part.values() if isinstance(part, dict) else part
    return found


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack_from("<Q", data)
    header = _json(data[8 : 8 + length], rng)
    told = rng.choice(_EDGES) if rng.random() < 0.1 else len(header)
    return struct.pack("<Q", told) + header + data[8 + length :]


def _text(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        case 2:
            key = lines[at].partition(b"=")[0]
            lines[at] = key + b"= " + rng.choice((*_TOKENS, *(json.dumps(value).encode() for value in _VALUES)))
        case _:
            words = lines[at].split(b" ")
            words[rng.randrange(len(words))] = rng.choice(_TOKENS)
            lines[at] = b" ".join(words)
    return b"\n".join(lines)


# --- archives and pictures ---------------------------------------------------------------------------------------------


def _zip(data: bytes, rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(entries))
    name, content = entries[at]
    match rng.randrange(8):
        case 0:
            del entries[at]
        case 1:
            entries.append((name, mutate_file(name, content, b"", rng)))
        case 2:
            entries[at] = (
                rng.choice((f"../{name}", f"{name}\x1b[1m", "", f"/{name}", name.upper(), f"{name}/")),
                content,
            )
        case _:
            entries[at] = (name, mutate_file(name, content, b"", rng))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name or "x"), content)
    return out.getvalue()


def _png(data: bytes, rng: random.Random) -> bytes:
    chunks, at = [], 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + length]])
        at += 12 + length
    chunk = rng.choice(chunks)
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks)), list(chunk))
    else:
        chunk[1] = _bytes(chunk[1], b"", rng)
    sealed = [len(c).to_bytes(4, "big") + n + c + zlib.crc32(n + c).to_bytes(4, "big") for n, c in chunks]
    return data[:8] + b"".join(sealed)


def _tar(data: bytes, rng: random.Random) -> bytes:
    blocks = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    at = rng.choice(blocks)
    head = bytearray(data[at : at + 512])
    start, size = rng.choice(((0, 100), (124, 12), (124, 12), (156, 1), (157, 100), (345, 155)))
    values = (
        b"\x80" + b"\xff" * 11,
        b"\xff" * 12,
        b"77777777777\0",
        b"x",
        b"g",
        b"L",
        b"S",
        b"5",
        b"\0" * 12,
        rng.randbytes(size),
    )
    value = rng.choice((*values, *_TOKENS))
    head[start : start + size] = value[:size].ljust(size, b"\0")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return data[:at] + bytes(head) + data[at + 512 :]


def _gzip(data: bytes, rng: random.Random) -> bytes:
    return gzip.compress(mutate_file("x.tar", gzip.decompress(data), b"", rng), 1, mtime=0)


# --- protobuf ----------------------------------------------------------------------------------------------------------


def _onnx(data: bytes, rng: random.Random) -> bytes:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ValueError from error
    messages = _messages(model)
    message = rng.choice(messages)
    field = rng.choice(message.DESCRIPTOR.fields)
    is_many = field.is_repeated
    if field.message_type is not None:
        same = [one for one in messages if one.DESCRIPTOR is field.message_type]
        if is_many and same:
            getattr(message, field.name).add().ParseFromString(rng.choice(same).SerializeToString())
        elif same and rng.random() < 0.5:
            # Not CopyFrom: protobuf dies when a message is copied into a part of itself.
            getattr(message, field.name).ParseFromString(rng.choice(same).SerializeToString())
        else:
            message.ClearField(field.name)
        return bytes(model.SerializeToString())
    value = _scalar(field, messages, rng)
    if not is_many:
        setattr(message, field.name, value)
    elif len(getattr(message, field.name)) and rng.random() < 0.6:
        values = getattr(message, field.name)
        values[rng.randrange(len(values))] = value
    else:
        getattr(message, field.name).extend([value] * rng.choice((1, 1, 3)))
    return bytes(model.SerializeToString())


def _scalar(field: Any, messages: list[Any], rng: random.Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        names = [text for one in messages for text in (getattr(one, "name", ""), getattr(one, "op_type", "")) if text]
        text = rng.choice(
            [
                *names,
                "",
                "Resize",
                "Reshape",
                "Tile",
                "Expand",
                "ConstantOfShape",
                "Loop",
                "external",
                "../x",
                _CODE,
                "class",
            ]
        )
        return text.encode() if field.type == field.TYPE_BYTES else text
    if field.cpp_type in {field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE}:
        return rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf"), 1e-30))
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.randrange(0, 20)
    small = field.cpp_type in {field.CPPTYPE_INT32, field.CPPTYPE_UINT32}
    return rng.choice(
        (0, 1, 2, 3, 7, 2**20, 2**31 - 1) if small else (0, 1, -1, 2, 3, 2**20, 2**31, 2**40, 2**62, -(2**63))
    )


def _messages(message: Any) -> list[Any]:
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if hasattr(value, "ListFields") else value:
                found += _messages(part)
    return found


_FORMATS: Final[tuple[tuple[tuple[str, ...], Callable[[bytes, random.Random], bytes]], ...]] = (
    ((".json",), _json),
    ((".toml", ".py", ".txt", ".csv", ".idx"), _text),
    ((".safetensors",), _safetensors),
    ((".zip", ".pt2", ".ts"), _zip),
    ((".png",), _png),
    ((".tar",), _tar),
    ((".gz",), _gzip),
    ((".onnx",), _onnx),
)
