"""A shared subscription of the official Python client, whose messages a broker may hold back.

    subscribe   makes the subscription
    receive     prints how many milliseconds after its publish time each of --count messages came
"""

import argparse
import json
import time

import pulsar


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["subscribe", "receive"])
    parser.add_argument("--service-url", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, default=0)
    words = parser.parse_args()
    client = pulsar.Client(words.service_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    consumer = client.subscribe(words.topic, "delayed", consumer_type=pulsar.ConsumerType.Shared)
    late = []
    if words.what == "receive":
        for _ in range(words.count):
            message = consumer.receive(timeout_millis=60_000)
            late.append(time.time() * 1000 - message.publish_timestamp())
            consumer.acknowledge(message)
    client.close()
    print(json.dumps(late))


if __name__ == "__main__":
    main()
