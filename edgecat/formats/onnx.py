"""An .onnx holds the card as the entry `edgecat` of its `metadata_props`.

Contains the little of the protobuf wire format that this takes, so that no library is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO

from edgecat.card import ModelCard

_CARD_KEY = "edgecat"
_METADATA_PROPS = 14  # ModelProto.metadata_props: StringStringEntryProto {1: key, 2: value}


def find_card(file: IO[bytes]) -> tuple[int, bytes | None]:
    """Return where the card's entry begins, and the card as JSON.

    Without a card, return the length of the file and None.
    """
    content = file.read()
    for start, key, text in _properties(content):
        if key == _CARD_KEY:
            return start, text.encode()
    return len(content), None


def container(model: bytes, card: ModelCard, labels_name: str | None) -> bytes:
    """Return the card as an entry to put at the end of a model."""
    return _entry(_CARD_KEY, card.to_json())


def onnx_metadata(model: bytes) -> dict[str, str]:
    """Return the `metadata_props`; of a file that is cut short, those before the damage."""
    return {key: text for _, key, text in _properties(model)}


def onnx_entries(entries: Mapping[str, str]) -> bytes:
    """Return entries of `metadata_props` to put at the end of a model.

    They become part of it, since protobuf joins repeated fields.
    """
    return b"".join(_entry(key, value) for key, value in entries.items())


def _properties(content: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield (start, key, value) of each entry of `metadata_props`."""
    try:
        for start, number, value in _protobuf_fields(content):
            if number == _METADATA_PROPS:
                entry = {part: text.decode() for _, part, text in _protobuf_fields(value)}
                yield start, entry.get(1, ""), entry.get(2, "")
    except (KeyError, IndexError, UnicodeDecodeError):  # cut short
        return


def _protobuf_fields(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (start, field number, content) of the fields of a message.

    The content of a varint is empty. Raise IndexError or KeyError if the message is cut short.
    """
    place = 0
    while place < len(content):
        start = place
        tag, place = _read_varint(content, place)
        kind, length = tag & 7, 0
        if kind == 2:
            length, place = _read_varint(content, place)
        elif kind == 0:
            _, place = _read_varint(content, place)
        else:
            length = {1: 8, 5: 4}[kind]
        if place + length > len(content):
            raise IndexError(place)
        yield start, tag >> 3, content[place : place + length]
        place += length


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise IndexError(place)


def _entry(key: str, value: str) -> bytes:
    entry = _length_prefixed(1, key.encode()) + _length_prefixed(2, value.encode())
    return _length_prefixed(_METADATA_PROPS, entry)


def _length_prefixed(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
