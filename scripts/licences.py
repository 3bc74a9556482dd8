#!/usr/bin/env python3
"""Holds the locked dependencies against deny.toml: licences, banned crates, sources. Needs no network once crates are fetched.

`cargo deny check` does this and looks advisories up as well; this is the part that works everywhere.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be met with allowed licences: OR takes either side, AND needs both."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def parse_or():
        nonlocal at
        met = parse_and()
        while at < len(tokens) and tokens[at] == "OR":
            at += 1
            met = parse_and() or met
        return met

    def parse_and():
        nonlocal at
        met = parse_one()
        while at < len(tokens) and tokens[at] == "AND":
            at += 1
            met = parse_one() and met
        return met

    def parse_one():
        nonlocal at
        if tokens[at] == "(":
            at += 1
            met = parse_or()
            at += 1
            return met
        name = tokens[at]
        at += 1
        if at < len(tokens) and tokens[at] == "WITH":
            name += " WITH " + tokens[at + 1]
            at += 2
        return name in allowed

    return parse_or()


def metadata_of(*more):
    """What cargo says of the workspace, with every feature."""
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1", *more]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def used_packages(metadata, targets):
    """The packages that some target of deny.toml builds, by the resolved graph of each."""
    used = set()
    for target in targets:
        resolved = metadata_of("--filter-platform", target)["resolve"]["nodes"]
        used.update(node["id"] for node in resolved)
    return [package for package in metadata["packages"] if package["id"] in used]


def main():
    deny = tomllib.loads((ROOT / "deny.toml").read_text())
    allowed = set(deny["licenses"]["allow"])
    banned = {entry["crate"]: set(entry.get("wrappers", [])) for entry in deny["bans"]["deny"]}
    metadata = metadata_of()
    members = set(metadata["workspace_members"])
    packages = used_packages(metadata, deny["graph"]["targets"])
    wrong, met, sources = [], set(), {}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        for dependency in package["dependencies"]:
            names_it = dependency["kind"] is None and not dependency["optional"]
            if names_it and package["name"] not in banned.get(dependency["name"], {package["name"]}):
                wrong.append(f"{name} uses {dependency['name']}, which deny.toml bans")
        if package["name"] in banned and not banned[package["name"]]:
            wrong.append(f"{name} is banned by deny.toml")
        expression = package["license"]
        if expression is None:
            wrong.append(f"{name} names no licence")
        elif not is_allowed(expression, allowed):
            wrong.append(f"{name} is under {expression}, which deny.toml does not allow")
        else:
            met.add(expression)
        source = package["source"]
        if source is None and package["id"] not in members:
            wrong.append(f"{name} comes from a path outside the workspace")
        if source is not None and source != REGISTRY:
            wrong.append(f"{name} comes from {source}, not from crates.io")
        sources[source] = sources.get(source, 0) + 1
        if package["id"] in members:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and dependency["source"] is not None:
                    wrong.append(f"{name} wants any version of {dependency['name']}")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(packages)} packages, {len(met)} licence expressions, {len(wrong)} against deny.toml")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
