#!/usr/bin/env python3
"""Runs the recorded Flink programs on Aquifer and compares the answers.

    flink_cases.py --binary target/debug/aquifer                         all that are to be right, against the list of known differences
    flink_cases.py --binary target/debug/aquifer joins/ windows --mode batch      parts of ids, one mode, no list

A case is a file in `flink-cases/sql`: inputs, program, what Flink answered. Checked are the batch answers of all groups (the streaming rows, in batch, where only
Flink's streaming mode answers) and, in every mode that is recorded, that the programs of the group `errors` are refused. `flink-cases/differs.txt` holds what
differs, with the reason; a line whose case is right fails the run, as does a case that differs without a line.
"""
import argparse, json, math, pathlib, re, struct, subprocess, sys, tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent.parent / "flink-cases"
CASES = HERE / "sql"
MODES = ("batch", "streaming")


# ---------------------------------------------------------------------------------------------------- the case file
class Case:
    """Sections start with '@' in column one. Authored: note, modes, ordered, tags, differs, table, rows, setup, query.
    Recorded: columns, expect, stream, error."""

    def __init__(self, path):
        self.path = path
        self.id = str(path.relative_to(CASES).with_suffix(""))
        self.group = self.id.split("/")[0]
        self.note, self.modes, self.ordered, self.tags, self.differs = "", list(MODES), False, [], ""
        self.tables, self.setup, self.query = [], "", ""
        self.columns, self.expect, self.stream, self.error = {}, {}, None, {}
        section, body = None, []
        for line in path.read_text().splitlines() + ["@end"]:
            if line.startswith("@"):
                if section:
                    self._take(section, "\n".join(body).strip("\n"))
                section, body = line[1:], []
            else:
                body.append(line)

    def _take(self, head, body):
        word, _, rest = head.partition(" ")
        if word == "note": self.note = (rest + " " + body).strip()
        elif word == "modes": self.modes = rest.split()
        elif word == "ordered": self.ordered = True
        elif word == "tags": self.tags = rest.split()
        elif word == "differs": self.differs = rest
        elif word == "table":
            name, fmt, *more = rest.split(" ", 2)
            self.tables.append({"name": name, "format": fmt, "more": more[0] if more else "", "ddl": body, "rows": []})
        elif word == "rows": self.tables[-1]["rows"] = [l for l in body.split("\n") if l.strip()]
        elif word == "setup": self.setup = body
        elif word == "query": self.query = body
        elif word == "columns":
            for m in rest.split() or MODES: self.columns[m] = [json.loads(l) for l in body.splitlines() if l]
        elif word == "expect":
            for m in rest.split(): self.expect[m] = [json.loads(l) for l in body.splitlines() if l]
        elif word == "stream": self.stream = dict(kv.split("=") for kv in rest.split())
        elif word == "error":
            words = rest.split()
            for m in (w for w in words if w in MODES):
                self.error[m] = {"stage": next(w[6:] for w in words if w.startswith("stage=")), "message": body}
        elif word not in ("end", "unstable"):
            sys.exit(f"{self.path}: unknown section @{word}")

    def statements(self, folder, source):
        """CREATE TABLE for every input (its rows go to a file), then the setup statements; the query is apart."""
        out = []
        for t in self.tables:
            f = pathlib.Path(folder) / f"{t['name']}.json"
            f.write_text("".join(r + "\n" for r in t["rows"]))
            more = f",\n  {t['more']}" if t["more"] else ""
            out.append(f"CREATE TABLE `{t['name']}` (\n{t['ddl']}\n) WITH (\n  {source(f)},\n  'format' = '{t['format']}'{more}\n)")
        return out + split(self.setup)


def split(sql):
    """Statements end with ';' at the end of a line."""
    return [s.strip().rstrip(";") for s in re.split(r";[ \t]*(?:\n|$)", sql) if s.strip().rstrip(";")]


def load(filters):
    cases = [Case(p) for p in sorted(CASES.glob("*/*.case"))]
    return [c for c in cases if not filters or any(f in c.id for f in filters)]


# ---------------------------------------------------------------------------------------------------- canonical text
def split_types(s):
    out, depth, cur, quote = [], 0, "", False
    for ch in s:
        if ch == "`": quote = not quote
        if not quote:
            depth += ch in "<(" 
            depth -= ch in ">)"
        if ch == "," and depth == 0 and not quote:
            out.append(cur.strip()); cur = ""
        else: cur += ch
    return out + [cur.strip()] if cur.strip() else out


def parse_type(s):
    s = s.replace("*ROWTIME*", "").replace("*PROCTIME*", "").strip()
    s = re.sub(r"\s*NOT NULL$", "", s).strip()
    m = re.match(r"(ARRAY|MAP|MULTISET|ROW|STRUCTURED_TYPE)<(.*)>$", s, re.S)
    if m:
        kind, parts = m.group(1), split_types(m.group(2))
        if kind == "ROW":
            fields = [re.match(r"`((?:[^`]|``)*)`\s+(.*)$", p, re.S).groups() for p in parts]
            return ("ROW", [f for f, _ in fields], [parse_type(re.sub(r"\s+'[^']*'$", "", t)) for _, t in fields])
        return (kind, [parse_type(p) for p in parts])
    m = re.match(r"([A-Z_]+)(?:\((\d+)(?:,\s*(\d+))?\))?", s)
    return (m.group(1) if not s.startswith("INTERVAL") else s.split("(")[0], *[int(x) for x in m.groups()[1:] if x])


def short_double(x): return repr(float(x))


def short_float(x):
    for p in range(1, 10):
        t = f"{x:.{p}g}"
        if struct.pack("f", float(t)) == struct.pack("f", x): return repr(float(t))
    return repr(x)


def fraction(text, p):
    """A time text with exactly p digits of fraction; further digits are cut only if they are zeros."""
    head, _, frac = text.partition(".")
    if len(frac) > p and frac[p:].strip("0"): p = len(frac.rstrip("0"))
    return head + ("." + frac[:p].ljust(p, "0") if p else "")


def canon(v, t):
    """A value in canonical form; lenient about how it was spelled, so that other engines' JSON goes through it too."""
    if v is None: return None
    k = t[0]
    if k == "BOOLEAN": return v if isinstance(v, bool) else str(v).lower() == "true"
    if k in ("TINYINT", "SMALLINT", "INT", "INTEGER", "BIGINT"): return int(v)
    if k in ("DOUBLE", "FLOAT"):
        x = float(v)
        if math.isnan(x): return "NaN"
        if math.isinf(x): return "Infinity" if x > 0 else "-Infinity"
        return short_float(x) if k == "FLOAT" else short_double(x)
    if k == "DECIMAL":
        from decimal import Decimal, localcontext
        with localcontext() as c:
            c.prec = 60
            return format(Decimal(str(v)).quantize(Decimal(1).scaleb(-(t[2] if len(t) > 2 else 0))), "f")
    if k == "TIMESTAMP_LTZ":
        s = str(v).replace("T", " ")
        s = s[:-1] if s.endswith("Z") else re.sub(r"[+]00:00$", "", s)
        return fraction(s, t[1] if len(t) > 1 else 6) + "Z"
    if k == "TIMESTAMP": return fraction(str(v).replace("T", " ").rstrip("Z"), t[1] if len(t) > 1 else 6)
    if k == "TIME": return fraction(str(v), t[1] if len(t) > 1 else 0)
    if k in ("BINARY", "VARBINARY", "BYTES"): return str(v)
    if k == "ARRAY": return [canon(x, t[1][0]) for x in v]
    if k in ("MAP", "MULTISET"):
        pairs = list(v.items()) if isinstance(v, dict) else v
        vt = t[1][1] if k == "MAP" else ("INT",)
        return sorted(([canon(a, t[1][0]), canon(b, vt)] for a, b in pairs), key=lambda p: json.dumps(p))
    if k == "ROW":
        cells = [v.get(n) for n in t[1]] if isinstance(v, dict) else v
        return [canon(x, ft) for x, ft in zip(cells, t[2])]
    return v if isinstance(v, (int, bool)) else str(v)


def canon_rows(rows, columns):
    types = [parse_type(t) for _, t in columns]
    return [[canon(v, t) for v, t in zip(r, types)] for r in rows]


def blur(v, t):
    """For comparing only: doubles to 12 significant digits, floats to 6."""
    if v is None: return None
    if t[0] in ("DOUBLE", "FLOAT") and v not in ("NaN", "Infinity", "-Infinity"):
        x = float(f"{float(v):.{12 if t[0] == 'DOUBLE' else 6}g}")
        return x + 0.0
    if t[0] == "ARRAY": return [blur(x, t[1][0]) for x in v]
    if t[0] == "MAP": return [[blur(a, t[1][0]), blur(b, t[1][1])] for a, b in v]
    if t[0] == "ROW": return [blur(x, ft) for x, ft in zip(v, t[2])]
    return v


def same(got, want, columns, ordered):
    types = [parse_type(t) for _, t in columns]
    key = lambda rows: [json.dumps([blur(v, t) for v, t in zip(r, types)], ensure_ascii=False) for r in rows]
    g, w = key(got), key(want)
    return g == w if ordered else Counter(g) == Counter(w)


def fold(changes):
    """The rows that stand after a changelog of (kind, row); None where a row is taken back more often than given."""
    n, rows = Counter(), []
    for kind, row in changes:
        n[json.dumps(row, ensure_ascii=False)] += 1 if kind in ("+I", "+U") else -1
    if any(v < 0 for v in n.values()): return None
    return [json.loads(r) for r in n.elements()]


def check_one(c, mode, changes, error):
    """-> None if right, else what is wrong."""
    if mode not in c.error and mode not in c.columns: return "nothing is recorded for this case"
    if mode in c.error:
        if error is not None: return error if error in ("timeout", "panicked") else None
        if c.group == "errors": return f"Flink rejects this at {c.error[mode]['stage']}: {c.error[mode]['message'][:160]}"
        other = next((m for m in c.expect if m != mode), None)  # a limit of Flink's: going beyond it is fine, with the answer of the other mode
        if other is None or "late" in c.tags: return None
        mode = other
    if error is not None: return "failed: " + error.splitlines()[-1][:300]
    cols = c.columns[mode]
    expect = c.expect["batch" if "flink-bug" in c.tags and "batch" in c.expect else mode]
    try:
        changes = [(k, r) for (k, _), r in zip(changes, canon_rows([r for _, r in changes], cols))]
    except Exception as e:
        return f"a value has another type: {e}"
    rows = [r for _, r in changes] if all(k == "+I" for k, _ in changes) else fold(changes)
    if rows is None: return "a row is retracted that was never emitted"
    if not same(rows, expect, cols, c.ordered):
        show = lambda a, b: [json.loads(x) for x in (Counter(map(lambda r: json.dumps(r, ensure_ascii=False), a)) - Counter(map(lambda r: json.dumps(r, ensure_ascii=False), b))).elements()][:3]
        return f"missing {show(expect, rows)} extra {show(rows, expect)}" if sorted(map(str, rows)) != sorted(map(str, expect)) else "wrong order"
    if mode == "streaming" and mode not in c.error and c.stream.get("changelog") == "append" and any(k != "+I" for k, _ in changes): return "must be append-only"
    return None


def run(binary, c, mode, folder):
    """-> (changes, None) with changes = [(kind, [cells])], or (None, error text)."""
    source = lambda f: f"'connector' = 'filesystem',\n  'path' = '{f}'"
    script = pathlib.Path(folder) / "case.sql"
    head = [f"SET 'execution.runtime-mode' = '{mode}'", "SET 'parallelism.default' = '1'",
            "SET 'pipeline.auto-watermark-interval' = '0 ms'", "SET 'table.local-time-zone' = 'UTC'"]
    script.write_text("".join(s + ";\n" for s in head + c.statements(folder, source) + [c.query.strip().rstrip(";")]))
    command = [binary, "sql", "--data-dir", f"{folder}/data", "-f", str(script), "--output", "json"]
    try:
        r = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return None, "timeout"
    if "panicked" in r.stderr: return None, "panicked"
    if r.returncode: return None, r.stderr.strip()[-500:] or f"exit {r.returncode}"
    names = [n for n, _ in c.columns.get(mode, c.columns.get("streaming", []))]
    changes = []
    for line in r.stdout.splitlines():
        if not line.startswith("{"): continue
        o = json.loads(line)
        kind = o.pop("op", "+I")
        o = o.get("row", o)
        changes.append((kind, o if isinstance(o, list) else [o.get(n, "<no such column>") for n in names] if names else list(o.values())))
    return changes, None


def judged(c):
    """-> the (mode to run, mode whose record counts) of a case."""
    if c.group == "errors": return [(m, m) for m in c.error]
    if "batch" in c.expect or "batch" in c.error: return [("batch", "batch")]
    return [("batch", "streaming")] if "streaming" in c.expect and "late" not in c.tags else []


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("filter", nargs="*", help="parts of case ids (group/name); all without")
    ap.add_argument("--binary", required=True, help="the aquifer to run")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--mode", choices=MODES, help="run the cases in this mode, whatever is to be right")
    a = ap.parse_args()
    cases = load(a.filter)
    todo = [(c, m, m) for c in cases for m in c.modes] if a.mode else [(c, *two) for c in cases for two in judged(c)]
    todo = [one for one in todo if a.mode in (None, one[1])]

    def one(item):
        c, mode, record = item
        with tempfile.TemporaryDirectory() as d: answer = run(a.binary, c, mode, d)
        return check_one(c, record, *answer)

    with ThreadPoolExecutor(a.jobs) as pool: found = list(pool.map(one, todo))
    known = {}
    if not a.filter and not a.mode:
        for line in (HERE / "differs.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                case, reason = line.split(" ", 1)
                known[case] = reason
    per, wrong, seen = defaultdict(Counter), [], set()
    for (c, mode, _), why in zip(todo, found):
        apart = bool({"quirk", "limit"} & set(c.tags))
        per[c.group]["apart" if apart and why else "passed" if why is None else "failed"] += 1
        if apart: continue
        if why: seen.add(c.id)
        if why and c.id not in known: wrong.append(f"{c.id} ({mode}): {why}")
    for case in known:
        if case not in seen: wrong.append(f"{case} is right now: take it out of differs.txt")
    for group, n in sorted(per.items()):
        share = 100 * n["passed"] / max(1, n["passed"] + n["failed"])
        print(f"{group:12} {n['passed']:4} as Flink {n['failed']:4} differ {n['apart']:4} apart (quirks, limits) {share:6.1f} %")
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
