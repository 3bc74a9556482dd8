"""Topics of every schema type, as another team's application would write and read them: with the official Python client, and with raw bytes and
the admin API for the schema types that it has no class for.

    produce   makes a topic a case (and an empty twin), sends its values, and prints what a query should show
    check     reads the twins, which something else has filled, and compares what the client decodes with the values
    evolve    one Avro and one JSON topic through random schema versions; prints what a query should show under the last one
"""

import argparse
import base64
import datetime as dt
import io
import json
import random
import struct
import sys
import urllib.request
from decimal import Decimal

import fastavro
import pulsar
from pulsar.schema import AvroSchema, BytesSchema, JsonSchema, Long, Record, Schema, String, StringSchema

UTC = dt.timezone.utc
EPOCH = dt.datetime(1970, 1, 1)

AVRO = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"], "default": None},
        {"name": "ok", "type": "boolean"},
        {"name": "small", "type": "int"},
        {"name": "ratio", "type": "float"},
        {"name": "exact", "type": "double"},
        {"name": "raw", "type": "bytes"},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}},
        {"name": "color", "type": {"type": "enum", "name": "Color", "symbols": ["RED", "GREEN"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "int"}},
        {"name": "inner", "type": {"type": "record", "name": "Inner", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "boolean"}]}},
    ],
}
AVRO_COLUMNS = [
    ("id", "BIGINT"), ("name", "STRING"), ("ok", "BOOLEAN"), ("small", "INT"), ("ratio", "FLOAT"), ("exact", "DOUBLE"), ("raw", "BYTES"),
    ("day", "DATE"), ("at", "TIMESTAMP(6)"), ("price", "DECIMAL(8, 2)"), ("color", "STRING"), ("tags", "ARRAY<STRING NOT NULL>"),
    ("counts", "MAP<STRING NOT NULL, INT NOT NULL>"), ("inner", "ROW<`a` INT NOT NULL, `b` BOOLEAN NOT NULL>"),
]  # fmt: skip


UNIONS = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "either", "type": ["int", "string"]},
        {"name": "any", "type": ["null", "boolean", {"type": "array", "items": "int"}, {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}]},
    ],
}
BRANCHES = {"either": ["int", "string"], "any": ["boolean", "array", "Point"]}

PLACE = {"type": "record", "name": "Place", "fields": [{"name": "city", "type": "string"}, {"name": "no", "type": "int"}]}
NOTE = {"type": "record", "name": "Note", "fields": [{"name": "n", "type": "int"}, {"name": "note", "type": ["null", "string"], "default": None}]}
KEYED_COLUMNS = [("key", "ROW<`city` STRING NOT NULL, `no` INT NOT NULL>"), ("n", "INT"), ("note", "STRING")]
# Small numbers and short texts: the bytes of such keys are text too, which the Python client's keys have to be.
KEYED = [({"city": "ä", "no": 5}, {"n": 1, "note": None}), ({"city": "", "no": 0}, {"n": -2, "note": "ü"})]


def datum(schema, value):
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, value)
    return buffer.getvalue()


def read_datum(schema, payload):
    return fastavro.schemaless_reader(io.BytesIO(payload), schema)


def compact(_schema, value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def keyed(kind, place):
    """A key and a value, both records, in Avro or JSON."""
    write, read = (datum, read_datum) if kind == "AVRO" else (compact, lambda _, payload: json.loads(payload))
    parts = [(PLACE, 0), (NOTE, 1)]
    common = dict(
        data=json.dumps({"key": PLACE, "value": NOTE}), properties=pair(place, kind, kind),
        shown=lambda v: {"key": v[0], **v[1]},
    )  # fmt: skip
    name = f"key_value_{kind.lower()}_{place.lower()}"
    if place == "INLINE":
        return Case(
            name, "KEY_VALUE", KEYED_COLUMNS, KEYED, **common,
            encode=lambda v: nested([write(schema, v[at]) for schema, at in parts]),
            decode=lambda b: tuple(read(schema, split(b)[at]) for schema, at in parts),
        )  # fmt: skip
    return Case(
        name, "KEY_VALUE", KEYED_COLUMNS, KEYED, **common,
        encode=lambda v: write(NOTE, v[1]), decode=lambda b: read(NOTE, b),
        keys=lambda v: write(PLACE, v[0]).decode(), read_key=lambda text: read(PLACE, text.encode()),
    )  # fmt: skip


def branches(value):
    """A union of several types is a row of them, of which one is not NULL."""
    shown = {"id": value["id"]}
    for name, types in BRANCHES.items():
        it = value[name]
        which = {int: "int", str: "string", bool: "boolean", list: "array", dict: "Point"}.get(type(it))
        shown[name] = None if it is None else {each: it if each == which else None for each in types}
    return shown


def orders():
    for n in (-3, 0, 7):
        yield {
            "id": n * 10**15, "name": None if n == 0 else f"näme {n}", "ok": n > 0, "small": n, "ratio": n / 4, "exact": n / 8,
            "raw": bytes([0, 255, n % 256]), "day": dt.date(2024, 2, 29) + dt.timedelta(days=n * 1000),
            "at": dt.datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC), "price": Decimal(n * 1000 + 5) / 100,
            "color": "RED" if n > 0 else "GREEN", "tags": ["x"] * abs(n), "counts": {"k": n}, "inner": {"a": n, "b": n == 0},
        }  # fmt: skip


class Entry(Record):
    id = Long(required=True)
    note = String()


def as_shown(value):
    """A value as `aquifer sql --output json` prints it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, list):
        return [as_shown(item) for item in value]
    if isinstance(value, dict):
        return {key: as_shown(item) for key, item in value.items()}
    return value


class Case:
    """A schema type: how it is registered, values, their bytes, the columns and what a query shows of each value."""

    def __init__(self, name, kind, columns, values, schema=None, data="", properties=None, encode=None, decode=None, shown=None, keys=None, read_key=None):
        self.name, self.kind, self.columns, self.values = name, kind, columns, list(values)
        self.schema, self.data, self.properties = schema, data, properties or {}
        self.encode, self.decode, self.keys, self.read_key = encode, decode, keys, read_key or (lambda text: text)
        single = columns[0][0] if len(columns) == 1 else None
        self.shown = shown or (lambda v: {single: as_shown(v)} if single else as_shown(v))

    def client_schema(self):
        return self.schema() if self.schema else BytesSchema()


def number(name, kind, sql, code, values, shown=None):
    """A schema type of one number, and what a query shows of it where that is no number."""
    return Case(
        name, kind, [("value", sql)], values,
        encode=lambda v: struct.pack(code, v), decode=lambda b: struct.unpack(code, b)[0],
        shown=shown and (lambda v: {"value": shown(v)}),
    )  # fmt: skip


def nested(pairs):
    """A message of length-prefixed parts, as Pulsar's KeyValue INLINE has them."""
    return b"".join(struct.pack(">i", len(part)) + part for part in pairs)


def split(payload):
    length = struct.unpack(">i", payload[:4])[0]
    return payload[4 : 4 + length], payload[8 + length :]


def protobuf_native():
    """The descriptor of `message Point { int32 x = 1; string label = 2; repeated int64 steps = 3; }`, written by hand."""

    def field(number, wire, body):
        return bytes([number << 3 | wire]) + (bytes([len(body)]) + body if wire == 2 else bytes([body]))

    def member(name, number, label, kind, packed=b""):
        return field(2, 2, field(1, 2, name) + field(3, 0, number) + field(4, 0, label) + field(5, 0, kind) + packed)

    message = field(1, 2, b"Point") + member(b"x", 1, 1, 5) + member(b"label", 2, 1, 9) + member(b"steps", 3, 3, 3)
    file = field(1, 2, b"point.proto") + field(4, 2, message) + field(12, 2, b"proto3")
    definition = {
        "fileDescriptorSet": base64.b64encode(field(1, 2, file)).decode(),
        "rootMessageTypeName": "Point",
        "rootFileDescriptorName": "point.proto",
    }
    return json.dumps(definition)


def protobuf():
    """The same message as Java's client describes it: Avro's words for the fields, and a property that numbers them."""
    fields = [("x", "int", "INT32", "OPTIONAL"), ("label", "string", "STRING", "OPTIONAL"), ("steps", {"type": "array", "items": "long"}, "INT64", "REPEATED")]
    numbers = [
        {"number": n, "name": name, "type": kind, "label": f"LABEL_{label}", "definition": None}
        for n, (name, _, kind, label) in enumerate(fields, 1)
    ]
    definition = {"type": "record", "name": "Point", "fields": [{"name": name, "type": avro} for name, avro, _, _ in fields]}
    return {"data": json.dumps(definition), "properties": {"__PARSING_INFO__": json.dumps(numbers)}}


def point(value):
    """Small numbers only: a byte each."""
    label = value["label"].encode()
    packed = bytes([0x1A, len(value["steps"])]) + bytes(value["steps"])
    return bytes([8, value["x"], 0x12, len(label)]) + label + packed


def instant(value):
    seconds, nanos = value
    return (EPOCH + dt.timedelta(seconds=seconds)).isoformat(sep=" ") + f".{nanos:09}Z"


def cases():
    clock = lambda n: f"{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}"  # noqa: E731
    return [
        Case("bytes", "BYTES", [("value", "BYTES")], [b"\x00\xff", b"abc"], schema=BytesSchema),
        Case("string", "STRING", [("value", "STRING")], ["ä text", "x"], schema=StringSchema),
        number("boolean", "BOOLEAN", "BOOLEAN", "?", [True, False]),
        number("int8", "INT8", "TINYINT", "b", [-128, 127]),
        number("int16", "INT16", "SMALLINT", ">h", [-(2**15), 2**15 - 1]),
        number("int32", "INT32", "INT", ">i", [-(2**31), 2**31 - 1]),
        number("int64", "INT64", "BIGINT", ">q", [-(2**63), 2**63 - 1]),
        number("float", "FLOAT", "FLOAT", ">f", [-1.5, 2.25]),
        number("double", "DOUBLE", "DOUBLE", ">d", [-1.125, 1e100]),
        number("date", "DATE", "DATE", ">q", [0, 19_782 * 86_400_000],
               lambda v: (EPOCH + dt.timedelta(milliseconds=v)).date().isoformat()),
        number("time", "TIME", "TIME(3)", ">q", [0, 86_399_123], lambda v: f"{clock(v // 1000)}.{v % 1000:03}"),
        number("timestamp", "TIMESTAMP", "TIMESTAMP(3)", ">q", [0, 1_709_251_199_123],
               lambda v: (EPOCH + dt.timedelta(milliseconds=v)).isoformat(sep=" ", timespec="milliseconds")),
        Case("instant", "INSTANT", [("value", "TIMESTAMP_LTZ(9)")], [(0, 0), (1_709_251_199, 123_456_789)],
             encode=lambda v: struct.pack(">qi", *v), decode=lambda b: struct.unpack(">qi", b), shown=lambda v: {"value": instant(v)}),
        number("local_date", "LOCAL_DATE", "DATE", ">q", [-1, 19_782], lambda v: (EPOCH + dt.timedelta(days=v)).date().isoformat()),
        number("local_time", "LOCAL_TIME", "TIME(9)", ">q", [0, 86_399_123_456_789], lambda v: f"{clock(v // 10**9)}.{v % 10**9:09}"),
        Case("local_date_time", "LOCAL_DATE_TIME", [("value", "TIMESTAMP(9)")], [(19_782, 86_399_123_456_789)],
             encode=lambda v: struct.pack(">qq", *v), decode=lambda b: struct.unpack(">qq", b),
             shown=lambda v: {"value": f"{(EPOCH + dt.timedelta(days=v[0])).date()} {clock(v[1] // 10**9)}.{v[1] % 10**9:09}"}),
        Case("avro", "AVRO", AVRO_COLUMNS, orders(), schema=lambda: AvroSchema(None, AVRO)),
        Case("json", "JSON", [("id", "BIGINT"), ("note", "STRING")], [{"id": 1, "note": "ä"}, {"id": -2, "note": None}],
             schema=lambda: JsonSchema(Entry)),
        Case("key_value_inline", "KEY_VALUE", [("key", "STRING"), ("value", "INT")], [("k", 5), ("ä", -6)],
             data=json.dumps({"key": "", "value": ""}), properties=pair("INLINE"),
             encode=lambda v: nested([v[0].encode(), struct.pack(">i", v[1])]),
             decode=lambda b: (split(b)[0].decode(), struct.unpack(">i", split(b)[1])[0]),
             shown=lambda v: {"key": v[0], "value": v[1]}),
        Case("key_value_separated", "KEY_VALUE", [("key", "STRING"), ("value", "INT")], [("k", 5), ("ä", -6)],
             data=json.dumps({"key": "", "value": ""}), properties=pair("SEPARATED"),
             encode=lambda v: struct.pack(">i", v[1]), decode=lambda b: struct.unpack(">i", b)[0],
             keys=lambda v: v[0], shown=lambda v: {"key": v[0], "value": v[1]}),
        *(keyed(kind, place) for kind in ("AVRO", "JSON") for place in ("INLINE", "SEPARATED")),
        Case("avro_unions", "AVRO",
             [("id", "BIGINT"), ("either", "ROW<`int` INT, `string` STRING>"),
              ("any", "ROW<`boolean` BOOLEAN, `array` ARRAY<INT NOT NULL>, `Point` ROW<`x` INT NOT NULL>>")],
             [{"id": 1, "either": 5, "any": None}, {"id": 2, "either": "ä", "any": True}, {"id": 3, "either": -1, "any": [1, 2]},
              {"id": 4, "either": "", "any": {"x": 7}}],
             schema=lambda: AvroSchema(None, UNIONS), shown=branches),
        Case("protobuf", "PROTOBUF", [("x", "INT"), ("label", "STRING"), ("steps", "ARRAY<BIGINT>")],
             [{"x": 5, "label": "ä", "steps": [1, 2]}, {"x": 9, "label": "z", "steps": [127]}], **protobuf(),
             encode=point, decode=lambda b: b),
        Case("protobuf_native", "PROTOBUF_NATIVE", [("x", "INT"), ("label", "STRING"), ("steps", "ARRAY<BIGINT>")],
             [{"x": 5, "label": "ä", "steps": [1, 2]}, {"x": 9, "label": "z", "steps": [127]}], data=protobuf_native(),
             encode=point, decode=lambda b: b),
    ]  # fmt: skip


def pair(place, key="STRING", value="INT32"):
    part = lambda which, name: {f"{which}.schema.{k}": v for k, v in (("name", name), ("type", name), ("properties", "{}"))}  # noqa: E731
    return {"kv.encoding.type": place, **part("key", key), **part("value", value)}


def register(args, topic, kind, data, properties):
    body = json.dumps({"type": kind, "schema": data, "properties": properties}).encode()
    url = f"{args.admin_url}/admin/v2/schemas/public/default/{topic}/schema"
    request = urllib.request.Request(url, method="POST", data=body, headers={"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=30).read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{topic}: {error} {error.read().decode()}")


def url_of(topic, namespace="default"):
    return f"persistent://public/{namespace}/{topic}"


def make_namespace(args):
    """A namespace in which a version must read all earlier ones, and need not be read by them."""
    words = {"": None, "/schemaCompatibilityStrategy": b'"BACKWARD_TRANSITIVE"'}
    for path, body in words.items():
        url = f"{args.admin_url}/admin/v2/namespaces/public/{args.prefix}{path}"
        request = urllib.request.Request(url, method="PUT", data=body or b"{}", headers={"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=30).read()


def produce(args, client):
    found = []
    for case in cases():
        topic = f"{args.prefix}_{case.name}"
        for each in (topic, f"{topic}_out"):
            if case.schema is None:
                register(args, each, case.kind, case.data, case.properties)
            producer = client.create_producer(url_of(each), schema=case.client_schema())
            for value in case.values if each == topic else []:
                sent = case.encode(value) if case.encode else Entry(**value) if case.kind == "JSON" else value
                producer.send(sent, partition_key=case.keys(value) if case.keys else None)
            producer.close()
        rows = [case.shown(value) for value in case.values]
        found.append({"name": case.name, "topic": topic, "columns": case.columns, "rows": rows})
    print(json.dumps(found))


def check(args, client):
    wrong = []
    for case in cases():
        topic = f"{args.prefix}_{case.name}_out"
        reader = client.create_reader(url_of(topic), pulsar.MessageId.earliest, schema=case.client_schema())
        found = []
        for _ in case.values:
            message = reader.read_next(20_000)
            value = message.value() if case.schema else case.decode(message.data())
            if case.kind == "JSON":
                value = {"id": value.id, "note": value.note}
            if case.keys:
                value = (case.read_key(message.partition_key()), value)
            found.append(value)
        if reader.has_message_available():
            wrong.append(f"{case.name}: more than {len(found)} messages")
        wanted = [point(value) for value in case.values] if case.kind.startswith("PROTOBUF") else case.values
        if sorted(map(repr, found)) != sorted(map(repr, wanted)):
            wrong.append(f"{case.name}: {found} instead of {wanted}")
        reader.close()
    if wrong:
        sys.exit("\n".join(wrong))
    print(json.dumps({"cases": len(cases())}))


LINES = [["int", "long", "float", "double"], ["string"], ["boolean"]]


class Raw(Schema):
    """A schema by its words; values are bytes already."""

    def __init__(self, kind, definition):
        super().__init__(bytes, kind, definition, "evolving")

    def encode(self, obj):
        return obj

    def decode(self, data):
        return data


def value_of(random_, kind):
    if kind == "int":
        return random_.randrange(-(2**20), 2**20)
    if kind == "long":
        return random_.randrange(-(2**23), 2**23)
    if kind in ("float", "double"):
        return random_.randrange(-1000, 1000) / 8
    return random_.choice([True, False]) if kind == "boolean" else f"text {random_.randrange(10**6)}"


def evolve(args, client):
    """Fields are added with a default, dropped and widened; after each change some rows are written by that version."""
    random_ = random.Random(args.seed)
    answer = []
    make_namespace(args)
    for kind, name in ((pulsar._pulsar.SchemaType.AVRO, "avro"), (pulsar._pulsar.SchemaType.JSON, "json")):
        topic = f"evolving_{name}"
        fields = [{"name": "n", "type": "long"}, {"name": "f0", "type": "int"}]
        written, number_, added = [], 0, 1
        for version in range(args.evolutions + 1):
            fields = [dict(field) for field in fields]
            changes = ["add"] * 3 + ["drop", "widen", "widen"] if version else []
            change = random_.choice(changes) if changes else "none"
            # The first field counts the rows; only fields with a default may go, so that every version can read every other.
            droppable = [field for field in fields if "default" in field]
            widenable = [field for field in fields[1:] if plain(field) in LINES[0][:-1]]
            if change == "drop" and droppable:
                fields.remove(random_.choice(droppable))
            elif change == "widen" and widenable:
                field = random_.choice(widenable)
                wider = LINES[0][LINES[0].index(plain(field)) + 1]
                field["type"] = ["null", wider] if isinstance(field["type"], list) else wider
            elif version:
                type_ = random_.choice(random_.choice(LINES))
                field = {"name": f"f{added}", "type": type_, "default": value_of(random_, type_)}
                if random_.random() < 0.3:
                    field = {"name": f"f{added}", "type": ["null", type_], "default": None}
                fields.insert(random_.randrange(1, len(fields) + 1), field)
                added += 1
            schema = {"type": "record", "name": "Evolving", "fields": fields}
            producer = client.create_producer(url_of(topic, args.prefix), schema=Raw(kind, schema))
            for _ in range(random_.randrange(1, 6)):
                row = {field["name"]: value_of(random_, plain(field)) for field in fields[1:]}
                row = {k: None if optional(fields, k) and random_.random() < 0.3 else v for k, v in row.items()}
                row["n"] = number_
                number_ += 1
                if name == "avro":
                    buffer = io.BytesIO()
                    fastavro.schemaless_writer(buffer, schema, row)
                    producer.send(buffer.getvalue())
                else:
                    producer.send(json.dumps(row).encode())
                written.append(row)
            producer.close()
        rows = []
        for row in written:
            shown = {}
            for field in fields:
                # JSON does not tell a field that is null from one that is not there.
                lacking = None if name == "json" and isinstance(field["type"], list) else field.get("default")
                value = row.get(field["name"], lacking)
                is_float = plain(field) in ("float", "double") and value is not None
                shown[field["name"]] = float(value) if is_float else value
            rows.append(shown)
        answer.append({"name": name, "topic": f"`public/{args.prefix}`.{topic}", "rows": rows, "versions": args.evolutions + 1})
    print(json.dumps(answer))


def plain(field):
    return field["type"][1] if isinstance(field["type"], list) else field["type"]


def optional(fields, name):
    return any(field["name"] == name and isinstance(field["type"], list) for field in fields)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["produce", "check", "evolve"])
    parser.add_argument("--service-url", required=True)
    parser.add_argument("--admin-url", required=True)
    parser.add_argument("--prefix", required=True, help="of the topics' names, in public/default")
    parser.add_argument("--evolutions", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    client = pulsar.Client(args.service_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    {"produce": produce, "check": check, "evolve": evolve}[args.what](args, client)
    client.close()


if __name__ == "__main__":
    main()
