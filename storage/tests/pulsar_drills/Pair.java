// The official Java client for pulsar_drills/pairs.rs, run as `java -cp 'LIB/*' Pair.java write|read SERVICE TOPIC [COUNT FILE]`.
//
// write: under every codec, batched and not, the six messages that the test knows; then a message in chunks between two that are not.
// read: COUNT messages from the start into FILE, a line each: key and value as hex, `-` where there is none.

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.CompressionType;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.Producer;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Reader;
import org.apache.pulsar.client.api.Schema;

public class Pair {
    public static void main(String[] words) throws Exception {
        try (PulsarClient client = PulsarClient.builder().serviceUrl(words[1]).build()) {
            if (words[0].equals("write")) {
                write(client, words[2]);
            } else {
                read(client, words[2], Integer.parseInt(words[3]), words[4]);
            }
        }
        System.exit(0);
    }

    static byte[] noise(int length) {
        byte[] bytes = new byte[length];
        int state = 1;
        for (int n = 0; n < length; n++) {
            state = state * 1664525 + 1013904223;
            bytes[n] = (byte) (state >>> 24);
        }
        return bytes;
    }

    static byte[] text(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static void write(PulsarClient client, String topic) throws Exception {
        CompressionType[] codecs = {CompressionType.NONE, CompressionType.LZ4, CompressionType.ZLIB, CompressionType.ZSTD, CompressionType.SNAPPY};
        for (CompressionType codec : codecs) {
            for (boolean batched : new boolean[] {true, false}) {
                try (Producer<byte[]> producer = client.newProducer(Schema.BYTES).topic(topic).compressionType(codec)
                        .enableBatching(batched).batchingMaxPublishDelay(1, TimeUnit.SECONDS).create()) {
                    producer.newMessage().key("key one").value(text("first")).sendAsync();
                    producer.newMessage().value(noise(5000)).sendAsync();
                    producer.newMessage().keyBytes(new byte[] {(byte) 0xff, (byte) 0xfe}).value(text("binary key")).sendAsync();
                    producer.newMessage().key("schl\u00fcssel").value(null).sendAsync();
                    producer.newMessage().value(new byte[0]).sendAsync();
                    byte[] last = new byte[20000];
                    java.util.Arrays.fill(last, (byte) 'z');
                    producer.newMessage().key("last").value(last).sendAsync();
                    producer.flush();
                }
            }
        }
        try (Producer<byte[]> producer = client.newProducer(Schema.BYTES).topic(topic).enableBatching(false).enableChunking(true).create()) {
            producer.send(text("before"));
            producer.newMessage().key("large").value(noise(12000000)).send();
            producer.send(text("after"));
        }
    }

    static void read(PulsarClient client, String topic, int count, String file) throws Exception {
        HexFormat hex = HexFormat.of();
        try (Reader<byte[]> reader = client.newReader(Schema.BYTES).topic(topic).startMessageId(MessageId.earliest).create();
                PrintWriter out = new PrintWriter(file)) {
            for (int n = 0; n < count; n++) {
                Message<byte[]> message = reader.readNext(60, TimeUnit.SECONDS);
                if (message == null) {
                    throw new IllegalStateException("message " + n + " did not come");
                }
                String key = message.hasKey() ? hex.formatHex(message.getKeyBytes()) : "-";
                out.println(key + " " + (message.getValue() == null ? "-" : hex.formatHex(message.getValue())));
            }
        }
    }
}
