"""Receives so many messages with the official client, without decoding them, and prints what that cost. The yardstick of `aquifer-bench live`.

    receive.py SERVICE-URL TOPIC MESSAGES
"""

import json
import resource
import sys
import time

import pulsar


def main():
    url, topic, messages = sys.argv[1], sys.argv[2], int(sys.argv[3])
    start, cpu = time.monotonic(), time.process_time()
    client = pulsar.Client(url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    reader = client.create_reader(topic, pulsar.MessageId.earliest, receiver_queue_size=10_000)
    bytes_ = 0
    for _ in range(messages):
        bytes_ += len(reader.read_next(timeout_millis=60_000).data())
    cost = {"rows": messages, "seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu}
    cost["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    client.close()
    assert bytes_ > 0
    print(json.dumps(cost))


main()
