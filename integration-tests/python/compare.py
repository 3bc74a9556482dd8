"""Compares an answer of `aquifer sql --output json` with what DuckDB computes from the truth file.

The answer is a changelog, one JSON object a line; it is folded up first. Doubles are compared to 12 significant digits, all else
exactly. Prints how many rows are equal, or the first differences, and then exits with 1.
"""

import argparse
import collections
import datetime as dt
import json
import sys

import duckdb


def plain(value):
    if isinstance(value, float):
        return float(f"{value:.11e}")
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03d}"
    if isinstance(value, dt.date):
        return value.isoformat()
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", required=True)
    parser.add_argument("--sql", required=True, help="a query over the view `weather`")
    parser.add_argument("--answer", required=True)
    parser.add_argument("--doubles", default="", help="columns (from 0) whose integers stand for doubles, with commas")
    args = parser.parse_args()

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        f"""CREATE VIEW weather AS SELECT part, origin, temp, humid, wind_dir, precip, pressure,
            make_timestamp(time_ms * 1000) AS time_hour, n
            FROM read_csv('{args.truth}', header = false, nullstr = '', columns = {{'part': 'INT', 'origin': 'VARCHAR', 'temp': 'DOUBLE',
            'humid': 'DOUBLE', 'wind_dir': 'INT', 'precip': 'DOUBLE', 'pressure': 'DOUBLE', 'time_ms': 'BIGINT', 'n': 'BIGINT'}})"""
    )
    doubles = {int(n) for n in args.doubles.split(",") if n}

    def key(values):
        return tuple(plain(float(v)) if i in doubles and v is not None else plain(v) for i, v in enumerate(values))

    expected = collections.Counter(key(row) for row in connection.execute(args.sql).fetchall())
    answer = collections.Counter()
    lines = 0
    with open(args.answer) as file:
        for line in file:
            if not line.strip():
                continue
            row = json.loads(line)
            lines += 1
            op = row.pop("op")
            answer[key(row.values())] += 1 if op in ("+I", "+U") else -1
    wrong = [f"{n:+d} {row}" for row, n in answer.items() if n < 0]
    if wrong:
        sys.exit("rows were taken back that had not come:\n" + "\n".join(wrong[:10]))
    answer = +answer
    if answer != expected:
        missing, extra = expected - answer, answer - expected
        show = lambda rows: "\n".join(f"  {row}" for row in sorted(rows.elements(), key=repr)[:10])
        sys.exit(
            f"not equal: {sum(expected.values())} rows expected, {sum(answer.values())} came\n"
            f"missing {sum(missing.values())}:\n{show(missing)}\nnot expected {sum(extra.values())}:\n{show(extra)}"
        )
    print(f"equal: {sum(expected.values())} rows, {lines} lines")


if __name__ == "__main__":
    main()
