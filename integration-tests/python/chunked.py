"""Chunked messages by the official Python client: writes one of --mebibytes, or reads --read messages and prints how many bytes each has."""

import argparse

import pulsar


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service-url", required=True)
    parser.add_argument("--topic", required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--mebibytes", type=int)
    what.add_argument("--read", type=int)
    words = parser.parse_args()
    client = pulsar.Client(words.service_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    if words.mebibytes:
        producer = client.create_producer(words.topic, chunking_enabled=True, batching_enabled=False, send_timeout_millis=120_000)
        producer.send(b"0123456789abcdef" * (words.mebibytes << 16))
    else:
        # A consumer: this client's reader gives no chunked messages.
        consumer = client.subscribe(words.topic, "reads", initial_position=pulsar.InitialPosition.Earliest)
        for _ in range(words.read):
            print(len(consumer.receive(timeout_millis=60_000).data()))
    client.close()


if __name__ == "__main__":
    main()
