"""Messages by the official Python client, every second one encrypted for the public key in --keys; the last is."""

import argparse

import pulsar


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service-url", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--keys", required=True, help="the folder of public.pem and private.pem")
    words = parser.parse_args()
    client = pulsar.Client(words.service_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    keys = pulsar.CryptoKeyReader(f"{words.keys}/public.pem", f"{words.keys}/private.pem")
    plain = client.create_producer(words.topic)
    secret = client.create_producer(
        words.topic, encryption_key="a key", crypto_key_reader=keys, compression_type=pulsar.CompressionType.ZSTD
    )
    plain.send(b"plain one")
    secret.send(b"a secret", properties={"p": "q"})
    plain.send(b"plain two")
    secret.send(b"another secret")
    client.close()


if __name__ == "__main__":
    main()
