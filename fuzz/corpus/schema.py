#!/usr/bin/env python3
"""Writes the corpus of the fuzz target `schema`, into the folder of that name beside this file.

A seed is a byte for the kind, the definition and the properties each behind two bytes of their length, then a payload (`schema` in `fuzz/targets.rs`).
"""

import base64
import json
import pathlib

AVRO, JSON, NATIVE, PROTOBUF, KEY_VALUE = range(5)
FOLDER = pathlib.Path(__file__).parent / "schema"


def behind_length(part):
    return len(part).to_bytes(2, "big") + part


def seed(name, kind, definition, payload, properties=()):
    text = "\n".join(f"{key}={value}" for key, value in properties)
    bytes_of = definition if isinstance(definition, bytes) else json.dumps(definition).encode()
    (FOLDER / name).write_bytes(bytes([kind]) + behind_length(bytes_of) + behind_length(text.encode()) + payload)


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def long(number):
    return varint((number << 1) ^ (number >> 63))


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return long(len(value)) + value


def record(name, *fields, **more):
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name, kind, **more):
    return {"name": name, "type": kind, **more}


def logical(kind, name, **more):
    return {"type": kind, "logicalType": name, **more}


# Protobuf, field by field.
def number(tag, value):
    return varint(tag << 3) + varint(value)


def piece(tag, value):
    value = value if isinstance(value, bytes) else value.encode()
    return varint(tag << 3 | 2) + varint(len(value)) + value


def proto_field(name, tag, kind, label=1, type_name=None):
    named = piece(6, type_name) if type_name else b""
    return piece(2, piece(1, name) + number(3, tag) + number(4, label) + number(5, kind) + named)


def native(messages, root, enums=(), syntax="proto3"):
    parts = [piece(4, message) for message in messages] + [piece(5, enum) for enum in enums]
    file = piece(1, "f.proto") + piece(2, "p") + b"".join(parts) + piece(12, syntax)
    files = base64.b64encode(piece(1, file)).decode()
    return {"fileDescriptorSet": files, "rootMessageTypeName": root, "rootFileDescriptorName": "f.proto"}


FOLDER.mkdir(exist_ok=True)

enum = {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN"], "default": "RED"}
point = record("Point", field("x", "double"), field("y", ["null", "double"], default=None))
seed(
    "avro-nested",
    AVRO,
    record(
        "Top",
        field("id", "long"),
        field("name", ["null", "string"], default=None),
        field("either", ["null", "int", "string", point, enum]),
        field("labels", {"type": "map", "values": ["null", "string"]}),
        field("points", {"type": "array", "items": "Point"}),
        field("colour", "Colour", default="GREEN"),
        field("mark", {"type": "fixed", "name": "Mark", "size": 3}),
        namespace="a.b",
    ),
    long(-7) + long(1) + text("ann") + long(3) + bytes(8) + long(0)
    + long(1) + text("k") + long(1) + text("v") + long(0)
    + long(2) + bytes(8) + long(1) + bytes(8) + bytes(8) + long(0) + long(0) + long(1) + b"abc",
)
seed(
    "avro-logical",
    AVRO,
    record(
        "Times",
        field("d", logical("int", "date")),
        field("t", logical("int", "time-millis")),
        field("u", logical("long", "time-micros")),
        field("m", logical("long", "timestamp-millis")),
        field("l", logical("long", "local-timestamp-micros")),
        field("n", ["null", logical("long", "timestamp-nanos")]),
        field("id", logical("string", "uuid")),
        field("price", logical("bytes", "decimal", precision=10, scale=2)),
        field("small", logical({"type": "fixed", "name": "F", "size": 4}, "decimal", precision=9, scale=1)),
        field("big", logical("bytes", "big-decimal")),
        field("while", logical({"type": "fixed", "name": "D", "size": 12}, "duration")),
    ),
    long(19000) + long(1) + long(2) + long(3) + long(4) + long(1) + long(5) + text("0f14d0ab-9605-4a62-a9e4-5ed26688389b")
    + text(b"\x01\x00") + bytes(4) + text(b"\x02\x07\x02") + bytes(12),
)
seed("avro-list", AVRO, record("Node", field("n", "int"), field("next", ["null", "Node"])), long(1) + long(0))
seed("avro-tree", AVRO, record("Tree", field("children", {"type": "array", "items": "Tree"})), long(0))
seed(
    "avro-defaults",
    AVRO,
    record(
        "Top",
        field("id", "long", default=3, aliases=["old"]),
        field("inner", record("Inner", field("a", "int", default=1), field("b", ["string", "null"], default="x")), default={}),
        field("again", "Inner", default={"a": 5}),
        field("numbers", {"type": "array", "items": "int"}, default=[1, 2]),
        field("raw", "bytes", default="\u00ff"),
        field("tiny", "int", **{"aquifer.type": "TINYINT NOT NULL"}),
        aliases=["Was"],
    ),
    long(1) + long(2) + long(0) + text("s") + long(3) + long(1) + long(1) + long(4) + long(0) + text(b"\x01") + long(9),
)
doubled = [field("f0", record("R0", field("x", "int", default=0)), default={})]
doubled += [
    field(f"f{n}", record(f"R{n}", *(field(name, f"R{n - 1}", default={}) for name in "ab")), default={}) for n in range(1, 7)
]
seed("avro-doubled", AVRO, record("Top", *doubled), b"".join(long(1) * (1 << n) for n in range(7)))
seed("avro-enum", AVRO, enum, long(1))
seed("avro-array", AVRO, {"type": "array", "items": {"type": "map", "values": "float"}}, long(1) + long(1) + text("k") + bytes(4) + long(0) + long(0))
seed("avro-empty", AVRO, record("Empty"), b"")
seed("avro-nulls", AVRO, record("Nulls", field("n", "null"), field("m", {"type": "array", "items": "null"})), long(1000) + long(0))
seed(
    "json-record",
    JSON,
    record(
        "Top",
        field("id", "long", default=1),
        field("when", logical("int", "date")),
        field("tags", {"type": "array", "items": "string"}),
        field("either", ["null", "int", "string"]),
        field("inner", record("Inner", field("x", ["null", "double"]), field("m", {"type": "map", "values": "long"}))),
    ),
    b'{"id":7,"when":19000,"tags":["a"],"either":{"string":"s"},"inner":{"x":1.5,"m":{"k":2}}}',
)

OPTIONAL, REPEATED = 1, 3
DOUBLE, INT64, STRING, MESSAGE, ENUM, SINT32 = 1, 3, 9, 11, 14, 17
entry = piece(3, piece(1, "MEntry") + proto_field("key", 1, STRING) + proto_field("value", 2, MESSAGE, OPTIONAL, ".p.Node") + piece(7, number(7, 1)))
node = (
    piece(1, "Node")
    + proto_field("id", 1, INT64)
    + proto_field("next", 2, MESSAGE, OPTIONAL, ".p.Node")
    + proto_field("m", 3, MESSAGE, REPEATED, ".p.Node.MEntry")
    + proto_field("kinds", 4, ENUM, REPEATED, ".p.Kind")
    + proto_field("other", 5, MESSAGE, OPTIONAL, ".p.Other")
    + entry
)
other = piece(1, "Other") + proto_field("d", 1, DOUBLE, REPEATED) + proto_field("s", 2, SINT32) + proto_field("back", 3, MESSAGE, OPTIONAL, ".p.Node")
kind = piece(1, "Kind") + piece(2, piece(1, "ZERO") + number(2, 0)) + piece(2, piece(1, "ONE") + number(2, 1))
message = number(1, 7) + piece(2, number(1, 8)) + piece(3, piece(1, "k") + piece(2, number(1, 9))) + piece(4, b"\x00\x01\x05")
message += piece(5, piece(1, bytes(16)) + number(2, 3))
descriptors = native([node, other], "p.Node", [kind])
seed("native-recursive", NATIVE, descriptors, message)
old = piece(1, "Old") + proto_field("must", 1, INT64, 2) + proto_field("texts", 2, STRING, REPEATED)
seed("native-proto2", NATIVE, native([old], "p.Old", syntax="proto2"), number(1, 1) + piece(2, "a") + piece(2, "b"))
parsing = [
    {"number": 1, "name": "id", "type": "INT64", "label": "LABEL_OPTIONAL", "definition": None},
    {"number": 2, "name": "names", "type": "STRING", "label": "LABEL_REPEATED", "definition": None},
    {"number": 3, "name": "inner", "type": "MESSAGE", "label": "LABEL_OPTIONAL", "definition": None},
]
seed("protobuf-numbered", PROTOBUF, {}, number(1, 1) + piece(2, "a") + piece(3, number(1, 1)), [("__PARSING_INFO__", json.dumps(parsing))])


def pair(key, value):
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (key, value)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def inline(key, value):
    return b"".join(len(part).to_bytes(4, "big") + part for part in (key, value))


def kinds(key, value, encoding):
    return [("key.schema.type", key), ("value.schema.type", value), ("kv.encoding.type", encoding)]


of_key = record("Key", field("key", "long"), field("tenant", ["null", "string"]))
of_value = record("Value", field("key", "string"), field("amount", logical("bytes", "decimal", precision=8, scale=2)))
seed("pair-avro", KEY_VALUE, pair(of_key, of_value), inline(long(1) + long(0), text("v") + text(b"\x05")), kinds("AVRO", "AVRO", "INLINE"))
seed("pair-separated", KEY_VALUE, pair(b"", record("V", field("a", "int"))), b'{"a":1}', kinds("STRING", "JSON", "SEPARATED"))
seed("pair-native", KEY_VALUE, pair(b"", descriptors), inline(b"\0\0\0\1", message), kinds("INT32", "PROTOBUF_NATIVE", "INLINE"))
