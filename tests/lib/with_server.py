"""Runs a command with the address of a broker to test: with_server.py [OPTION]... -- COMMAND...

The command finds the address as HOST:PORT in BROKERS and KAFKA_HOST, and as kafka://HOST:PORT in KAFKA_URI.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from server import ANY_PORT, server_for_suite


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=4, help="of topics that are made without saying how many")
    parser.add_argument("--listen", default=ANY_PORT, help="where the server listens (default: a free port)")
    parser.add_argument("--serve", action="append", default=[], help="a word for the server's command line")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    with server_for_suite(None, options.partitions, tuple(options.serve), options.listen) as address:
        named = {"BROKERS": address, "KAFKA_HOST": address, "KAFKA_URI": f"kafka://{address}"}
        return subprocess.run(options.command, env=os.environ | named).returncode


if __name__ == "__main__":
    sys.exit(main())
