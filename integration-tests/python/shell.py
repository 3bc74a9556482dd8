#!/usr/bin/env python3
"""Types at the prompt of `aquifer sql` through a pseudo-terminal, as a user does, and looks at the screen."""

import argparse
import os
import pty
import re
import select
import signal
import struct
import fcntl
import sys
import tempfile
import termios
import time

PATIENCE = 60.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>()78][0-9A-B]?")


class Shell:
    """A running shell; `seen` is all that it printed and was not looked at yet, without escapes."""

    def __init__(self, binary, arguments, home, **environment):
        self.seen = ""
        environment = {**os.environ, "HOME": home, "TERM": "xterm-256color", "NO_COLOR": "1", **environment}
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            environment.pop(name, None)
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            os.execve(binary, [binary, "sql", *arguments], environment)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))

    def read(self):
        ready, _, _ = select.select([self.terminal], [], [], 0.1)
        if not ready:
            return True
        try:
            raw = os.read(self.terminal, 1 << 16)
        except OSError:
            return False
        if not raw:
            return False
        # A line editor asks where the cursor is.
        if b"\x1b[6n" in raw:
            os.write(self.terminal, b"\x1b[1;1R")
        self.seen += ESCAPES.sub("", raw.decode(errors="replace"))
        return True

    def expect(self, text, what):
        """Waits for a text and forgets all up to its end."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            if time.monotonic() > deadline or not self.read():
                sys.exit(f"{what}: `{text}` did not come. On the screen:\n{self.seen}")
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def end(self, what):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            alive = self.read()
            done, status = os.waitpid(self.child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if not alive:
                time.sleep(0.05)
        os.kill(self.child, signal.SIGKILL)
        sys.exit(f"{what}: the shell did not end. On the screen:\n{self.seen}")


def paging(binary, data, home):
    """A table longer than the screen goes through the pager, one that fits does not, and leaving the pager ends the statement."""
    pager = os.path.join(home, "pager")
    with open(pager, "w") as script:
        # It counts what it gets; of what is marked it reads one line and leaves.
        script.write("""#!/bin/sh
read -r rule
read -r head
case $head in *early*) echo "PAGER LEFT"; exit 0;; esac
echo "PAGER GOT $(wc -l)"
""")
    os.chmod(pager, 0o755)
    shell = Shell(binary, ["--data-dir", data, "-X", "--output", "table"], home, PAGER=f"{pager} -x")

    def run(statement, expected):
        shell.expect("aquifer> ", "the prompt")
        shell.type(statement + "\r")
        return shell.expect(expected, statement)

    run("SET 'execution.runtime-mode' = 'batch';", "succeeded")
    values = ", ".join(f"({n})" for n in range(60))
    run(f"CREATE VIEW sixty AS SELECT n FROM (VALUES {values}) AS t(n);", "succeeded")
    # 60 rows, the third rule, the foot and the empty line; rule and head are read before.
    run("SELECT n FROM sixty;", "PAGER GOT 64")
    assert "PAGER" not in run("SELECT n FROM sixty LIMIT 20;", "20 rows in set"), "a short table was paged"
    run("SELECT a.n AS early FROM sixty AS a, sixty AS b, sixty AS c, sixty AS d;", "PAGER LEFT")
    run("SET 'sql-client.display.pager' = 'false';", "succeeded")
    assert "PAGER" not in run("SELECT n FROM sixty;", "60 rows in set"), "paging is off"
    shell.expect("aquifer> ", "the prompt")
    shell.type("QUIT;\r")
    assert shell.end("quit") == 0
    shell = Shell(binary, ["--data-dir", data, "-X", "--output", "changelog"], home, PAGER="no-such-pager-is-there")
    run("SET 'execution.runtime-mode' = 'batch';", "succeeded")
    run(f"SELECT n FROM (VALUES {values}) AS t(n);", "cannot be run (exit code 127)")
    shell.expect("aquifer> ", "the prompt")
    shell.type("QUIT;\r")
    assert shell.end("quit") == 0
    print("paging")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    binary = parser.parse_args().binary
    with tempfile.TemporaryDirectory() as folder:
        home = os.path.join(folder, "home")
        os.makedirs(os.path.join(home, ".config/aquifer"))
        with open(os.path.join(home, ".config/aquifer/init.sql"), "w") as init:
            init.write("SET 'execution.runtime-mode' = 'batch';")
        data = os.path.join(folder, "data")
        shell = Shell(binary, ["--data-dir", data], home)
        shell.expect("HELP;", "the banner")
        shell.expect("aquifer> ", "the prompt")
        print("a prompt, with the settings file run before it")
        shell.type("CREATE TABLE sensors (room STRING, temperature INT);\r")
        shell.expect("[INFO] Execute statement succeeded.", "a definition")
        shell.type("INSERT INTO sensors VALUES ('attic', 20), ('cellar', 9);\r")
        shell.expect("[INFO] Complete execution", "an insert")
        print("a definition and an insert")

        # Three lines are one statement; nothing runs before its end.
        shell.expect("aquifer> ", "the prompt")
        shell.type("SELECT room,\r")
        shell.expect("-> ", "the second line's prompt")
        shell.type("temperature FROM sensors\r")
        shell.type("ORDER BY room;\r")
        shell.expect("| cellar |           9 |", "several lines")
        shell.expect("2 rows in set", "several lines")
        print("a statement of several lines")

        # Tab completes a keyword, a table and, from that table, a column.
        shell.expect("aquifer> ", "the prompt")
        shell.type("SELECT COUNT(*) AS n FROM sen\t")
        shell.expect("sensors", "completion of a table")
        shell.type(" WHERE sensors.tempe\t")
        shell.expect("temperature", "completion of a column")
        shell.type(" > 10;\r")
        shell.expect("1 row in set", "completed statement")
        print("completion")

        # An error leaves the shell as it was.
        shell.expect("aquifer> ", "the prompt")
        shell.type("SELECT rom FROM sensors;\r")
        shell.expect("Did you mean", "an error")
        shell.expect("aquifer> ", "the prompt")
        shell.type("\\d sensors\r")
        shell.expect("temperature", "a shortcut")
        print("errors and shortcuts")

        # Ctrl-C ends the statement, not the shell; what is half typed goes too.
        shell.expect("aquifer> ", "the prompt")
        shell.type("\\stream\r")
        shell.expect("succeeded", "streaming")
        shell.expect("aquifer> ", "the prompt")
        shell.type("SELECT * FROM sensors;\r")
        shell.expect("cellar", "a query without an end")
        os.kill(shell.child, signal.SIGINT)
        shell.expect("Query terminated, received a total of 2 rows", "Ctrl-C")
        shell.expect("aquifer> ", "the prompt")
        shell.type("SELECT nonsense \x03")
        shell.expect("aquifer> ", "the prompt")
        shell.type("SELECT 40 + 2 AS answer /* x ; */\r;\r")
        shell.expect("|", "after Ctrl-C")
        shell.expect("aquifer> ", "the prompt")
        shell.type("quit\r")
        code = shell.end("quit")
        assert code == 0, code
        print("Ctrl-C and quit")

        # The history is there in the next session; Ctrl-D leaves.
        shell = Shell(binary, ["--data-dir", data, "-X"], home)
        shell.expect("aquifer> ", "the prompt")
        shell.type("\x12sensors VALUES")
        shell.expect("INSERT INTO sensors VALUES", "the history's search")
        shell.type("\x03")
        shell.expect("aquifer> ", "the prompt")
        shell.type("\x04")
        code = shell.end("Ctrl-D")
        assert code == 0, code
        print("history and Ctrl-D")
        paging(binary, data, home)


main()
