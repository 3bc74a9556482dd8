"""Writes one message of --mebibytes, which the official Python client cuts into chunks."""

import argparse

import pulsar


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service-url", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--mebibytes", type=int, required=True)
    words = parser.parse_args()
    client = pulsar.Client(words.service_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    producer = client.create_producer(words.topic, chunking_enabled=True, batching_enabled=False, send_timeout_millis=120_000)
    producer.send(b"0123456789abcdef" * (words.mebibytes << 16))
    client.close()


if __name__ == "__main__":
    main()
