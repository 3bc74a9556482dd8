//! The tables of option keys: every spelling that is known, what it is called here and how its value is read.
//!
//! Spellings are those of the talk, of Flink, of its Pulsar connector and of StreamNative's catalogs (checklist A1–A10, B2–B4).

use super::values as v;

/// A spelling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub given: &'static str,
    pub take: Take,
}

/// What is made of an option.
#[derive(Debug, Clone, Copy)]
pub(super) enum Take {
    /// Kept under this key, its value made canonical.
    Value(&'static str, fn(&str) -> Result<String, String>),
    /// Kept under this key exactly as it is written, blanks too.
    Text(&'static str),
    /// Kept as it is; the user is told that it does nothing.
    Notice,
    /// Kept as it is and told where the value is one of these (in any case), for they change nothing; else not taken, for this reason.
    Harmless(&'static [&'static str], &'static str),
    /// Not taken, for this reason: leaving it out of account would change what the user gets.
    Refuse(&'static str),
}

const fn value(given: &'static str, key: &'static str, read: fn(&str) -> Result<String, String>) -> Row {
    Row { given, take: Take::Value(key, read) }
}

const fn text(given: &'static str, key: &'static str) -> Row {
    Row { given, take: Take::Text(key) }
}

const fn notice(given: &'static str) -> Row {
    Row { given, take: Take::Notice }
}

const fn refuse(given: &'static str, why: &'static str) -> Row {
    Row { given, take: Take::Refuse(why) }
}

const fn harmless(given: &'static str, values: &'static [&'static str], why: &'static str) -> Row {
    Row { given, take: Take::Harmless(values, why) }
}

const NO_KEY_STORES: &str =
    "Java key stores are not read: give PEM files (tls-ca-file, tls-certificate-file, tls-key-file)";
const NO_CIPHERS: &str = "TLS is 1.2 or 1.3 with the ciphers of the library: leave it out";
const NO_PROXY: &str = "proxies are not built yet";
const NO_HIDING: &str = "hiding tenants is not built yet; system topics are always hidden";
const NO_ACKS: &str = "nothing is acknowledged one by one here, so nothing is sent again; 'aquifer.dead-letter-topic' takes what cannot be decoded";
const ONE_READER: &str = "every message is read once, in the order of its partition, whatever else reads: leave it out";
const NO_FLUSH: &str = "every row is sent, also where a later one of its key follows at once: leave it out";
const NO_SUBSCRIPTION: &str = "a subscription's place is not read: name where to start with 'scan.startup.mode'";
const NO_SNAPSHOTS: &str = "a topic is one log and has no numbered or named snapshots: read it as it was at a time, t FOR SYSTEM_TIME AS OF TIMESTAMP '…' or \
                            'scan.timestamp-millis', or up to a position, 'source.stop.after-message-id' (`t$offsets` and `t$manifests` show positions)";
const NO_WATERMARK: &str = "read up to an event time, 'source.stop.at-event-time', or as it was at a time, t FOR SYSTEM_TIME AS OF TIMESTAMP '…'";
const NO_INCREMENTAL: &str = "name the two places as a start and a stop: 'source.start.publish-time' and 'source.stop.at-publish-time', or 'source.start.message-id' and \
                              'source.stop.at-message-id'";
const NO_HEADER: &str = "a message is one record, and none is a header";
const NO_KEY_READING: &str =
    "a key that does not decode fails the read, or is NULL where bad messages are left out: leave it out";
const PLAIN_KEYS: &str =
    "a key's JSON is written as without options: leave it out, or write the key's columns as texts";
const NO_AVRO_TEXT: &str = "Avro's JSON encoding is not built: Pulsar's own clients write binary datums";
const NO_CRYPTO: &str = "encrypted messages are not built yet";

/// Options of a catalog.
pub(super) const CATALOG: &[Row] = &[
    value("type", "type", v::catalog_type),
    value("admin-url", "admin-url", v::admin_url),
    value("adminUrl", "admin-url", v::admin_url),
    value("catalog-admin-url", "admin-url", v::admin_url),
    value("pulsar.admin.adminUrl", "admin-url", v::admin_url),
    value("service-url", "service-url", v::service_url),
    value("serviceUrl", "service-url", v::service_url),
    value("catalog-service-url", "service-url", v::service_url),
    value("pulsar.client.serviceUrl", "service-url", v::service_url),
    value("auth-plugin", "auth-plugin", v::auth_plugin),
    value("auth-plugin-classname", "auth-plugin", v::auth_plugin),
    value("catalog-auth-plugin", "auth-plugin", v::auth_plugin),
    value("pulsar.client.authPluginClassName", "auth-plugin", v::auth_plugin),
    value("pulsar.admin.authPluginClassName", "auth-plugin", v::auth_plugin),
    value("auth-params", "auth-params", v::auth_params),
    value("catalog-auth-params", "auth-params", v::auth_params),
    value("authParams", "auth-params", v::auth_params),
    value("pulsar.client.authParams", "auth-params", v::auth_params),
    value("pulsar.admin.authParams", "auth-params", v::auth_params),
    value("pulsar.client.authParamMap", "auth-params", v::auth_params),
    value("pulsar.admin.authParamMap", "auth-params", v::auth_params),
    value("authParamMap", "auth-params", v::auth_params),
    value("tls-ca-file", "tls-ca-file", v::file),
    value("tls-trust-certs-file-path", "tls-ca-file", v::file),
    value("pulsar.client.tlsTrustCertsFilePath", "tls-ca-file", v::file),
    value("pulsar.admin.tlsTrustCertsFilePath", "tls-ca-file", v::file),
    value("tls-certificate-file", "tls-certificate-file", v::file),
    value("pulsar.client.tlsCertificateFilePath", "tls-certificate-file", v::file),
    value("pulsar.admin.tlsCertificateFilePath", "tls-certificate-file", v::file),
    value("tls-key-file", "tls-key-file", v::file),
    value("pulsar.client.tlsKeyFilePath", "tls-key-file", v::file),
    value("pulsar.admin.tlsKeyFilePath", "tls-key-file", v::file),
    value("pulsar.client.tlsHostnameVerificationEnable", "tls-host-name-check", v::only_true),
    value("pulsar.admin.tlsHostnameVerificationEnable", "tls-host-name-check", v::only_true),
    value("pulsar.client.tlsAllowInsecureConnection", "tls-insecure", v::never_insecure),
    value("pulsar.admin.tlsAllowInsecureConnection", "tls-insecure", v::never_insecure),
    value("on-encrypted", "on-encrypted", v::on_encrypted),
    value("pulsar.consumer.cryptoFailureAction", "on-encrypted", v::on_encrypted),
    value("default-database", "default-database", v::database),
    value("pulsar.catalog.defaultDatabase", "default-database", v::database),
    value("table-default-partitions", "table-default-partitions", v::partitions),
    value("pulsar.catalog.defaultPartitionSize", "table-default-partitions", v::partitions),
    value("default-format", "default-format", v::plain_format),
    value("format", "default-format", v::plain_format),
    value("pulsar.catalog.defaultSchemaType", "default-format", v::schema_type),
    value("archive", "archive", v::archive),
    value("archive-url", "archive", v::archive),
    value("definitions", "definitions", v::definitions),
    value("s3.endpoint", "s3.endpoint", v::endpoint),
    text("s3.region", "s3.region"),
    text("s3.access-key", "s3.access-key"),
    text("s3.secret-key", "s3.secret-key"),
    text("s3.session-token", "s3.session-token"),
    value("s3.path-style-access", "s3.path-style-access", v::boolean),
    value("s3.path.style.access", "s3.path-style-access", v::boolean),
    value("s3.anonymous", "s3.anonymous", v::boolean),
    value("connect-timeout", "connect-timeout", v::duration),
    value("pulsar.client.connectionTimeoutMs", "connect-timeout", v::milliseconds),
    value("operation-timeout", "operation-timeout", v::duration),
    value("max-frame-bytes", "max-frame-bytes", v::positive),
    value("pulsar.client.operationTimeoutMs", "operation-timeout", v::milliseconds),
    value("aquifer.max-inflated-bytes", "aquifer.max-inflated-bytes", v::inflated),
    // Of embedded logs.
    value("segment-bytes", "segment-bytes", v::positive),
    value("segment-entries", "segment-entries", v::positive),
    value("retention", "retention", v::retention),
    // Where StreamNative's catalogs keep what ours keeps in the data directory.
    notice("catalog-tenant"),
    notice("pulsar.catalog.managedTenant"),
    notice("property-version"),
    refuse("pulsar.catalog.visibleTenantPattern", NO_HIDING),
    refuse("pulsar.catalog.hiddenTenantPattern", NO_HIDING),
];

/// Options of Pulsar's own clients, of a catalog and of a table alike.
pub(super) const CLIENT: &[Row] = &[
    notice("pulsar.client.lookupTimeoutMs"),
    notice("pulsar.client.statsIntervalSeconds"),
    notice("pulsar.client.numIoThreads"),
    notice("pulsar.client.numListenerThreads"),
    notice("pulsar.client.connectionsPerBroker"),
    notice("pulsar.client.connectionMaxIdleSeconds"),
    notice("pulsar.client.useTcpNoDelay"),
    notice("pulsar.client.concurrentLookupRequest"),
    notice("pulsar.client.maxLookupRequest"),
    notice("pulsar.client.maxLookupRedirects"),
    notice("pulsar.client.maxNumberOfRejectedRequestPerConnection"),
    notice("pulsar.client.keepAliveIntervalSeconds"),
    notice("pulsar.client.requestTimeoutMs"),
    notice("pulsar.client.initialBackoffIntervalNanos"),
    notice("pulsar.client.maxBackoffIntervalNanos"),
    notice("pulsar.client.memoryLimitBytes"),
    notice("pulsar.client.enableBusyWait"),
    notice("pulsar.client.enableTransaction"),
    notice("pulsar.admin.autoCertRefreshTime"),
    notice("pulsar.admin.connectTimeout"),
    notice("pulsar.admin.readTimeout"),
    notice("pulsar.admin.requestTimeout"),
    notice("pulsar.admin.requestRetries"),
    notice("pulsar.admin.requestRates"),
    notice("pulsar.admin.requestWaitMillis"),
    refuse("pulsar.client.useKeyStoreTls", NO_KEY_STORES),
    refuse("pulsar.client.proxyServiceUrl", NO_PROXY),
    refuse("pulsar.client.proxyProtocol", NO_PROXY),
    refuse("pulsar.client.socks5ProxyAddress", NO_PROXY),
    refuse(
        "pulsar.client.listenerName",
        "listener names are not built yet: use the address that the broker advertises",
    ),
    refuse("pulsar.client.tlsCiphers", NO_CIPHERS),
    refuse("pulsar.client.tlsProtocols", NO_CIPHERS),
    refuse("pulsar.client.tlsTrustStorePath", NO_KEY_STORES),
    refuse("pulsar.client.tlsKeyStorePath", NO_KEY_STORES),
    refuse("pulsar.client.socks5ProxyUsername", NO_PROXY),
    refuse("pulsar.client.socks5ProxyPassword", NO_PROXY),
];

/// Options that only `'connector' = 'pulsar'` has: which topic, and where.
pub(super) const CONNECTOR: &[Row] = &[
    value("connector", "connector", v::connector),
    value("topics", "topics", v::topics),
    value("topic", "topics", v::topics),
    value("topics-pattern", "topics-pattern", v::topics_pattern),
    value("topic-pattern", "topics-pattern", v::topics_pattern),
    value("pulsar.consumer.regexSubscriptionMode", "pulsar.consumer.regexSubscriptionMode", v::persistent_only),
    value("service-url", "service-url", v::service_url),
    value("serviceUrl", "service-url", v::service_url),
    value("pulsar.client.serviceUrl", "service-url", v::service_url),
    value("admin-url", "admin-url", v::admin_url),
    value("adminUrl", "admin-url", v::admin_url),
    value("pulsar.admin.adminUrl", "admin-url", v::admin_url),
    value("auth-plugin", "auth-plugin", v::auth_plugin),
    value("auth-plugin-classname", "auth-plugin", v::auth_plugin),
    value("catalog-auth-plugin", "auth-plugin", v::auth_plugin),
    value("pulsar.client.authPluginClassName", "auth-plugin", v::auth_plugin),
    value("pulsar.admin.authPluginClassName", "auth-plugin", v::auth_plugin),
    value("auth-params", "auth-params", v::auth_params),
    value("catalog-auth-params", "auth-params", v::auth_params),
    value("authParams", "auth-params", v::auth_params),
    value("pulsar.client.authParams", "auth-params", v::auth_params),
    value("pulsar.admin.authParams", "auth-params", v::auth_params),
    value("pulsar.client.authParamMap", "auth-params", v::auth_params),
    value("pulsar.admin.authParamMap", "auth-params", v::auth_params),
    value("authParamMap", "auth-params", v::auth_params),
    value("tls-ca-file", "tls-ca-file", v::file),
    value("tls-trust-certs-file-path", "tls-ca-file", v::file),
    value("pulsar.client.tlsTrustCertsFilePath", "tls-ca-file", v::file),
    value("pulsar.admin.tlsTrustCertsFilePath", "tls-ca-file", v::file),
    value("tls-certificate-file", "tls-certificate-file", v::file),
    value("pulsar.client.tlsCertificateFilePath", "tls-certificate-file", v::file),
    value("pulsar.admin.tlsCertificateFilePath", "tls-certificate-file", v::file),
    value("tls-key-file", "tls-key-file", v::file),
    value("pulsar.client.tlsKeyFilePath", "tls-key-file", v::file),
    value("pulsar.admin.tlsKeyFilePath", "tls-key-file", v::file),
    value("pulsar.client.tlsHostnameVerificationEnable", "tls-host-name-check", v::only_true),
    value("pulsar.admin.tlsHostnameVerificationEnable", "tls-host-name-check", v::only_true),
    value("pulsar.client.tlsAllowInsecureConnection", "tls-insecure", v::never_insecure),
    value("pulsar.admin.tlsAllowInsecureConnection", "tls-insecure", v::never_insecure),
    value("on-encrypted", "on-encrypted", v::on_encrypted),
    value("pulsar.consumer.cryptoFailureAction", "on-encrypted", v::on_encrypted),
    value("read-compacted", "read-compacted", v::boolean),
    value("pulsar.read_compacted", "read-compacted", v::boolean),
    value("pulsar.consumer.readCompacted", "read-compacted", v::boolean),
    value("connect-timeout", "connect-timeout", v::duration),
    value("pulsar.client.connectionTimeoutMs", "connect-timeout", v::milliseconds),
    value("operation-timeout", "operation-timeout", v::duration),
    value("pulsar.client.operationTimeoutMs", "operation-timeout", v::milliseconds),
    value("max-frame-bytes", "max-frame-bytes", v::positive),
    value("archive", "archive", v::archive),
    notice("property-version"),
    harmless("explicit", &["true"], "a table without the option `connector` is the topic itself"),
    harmless(
        "use-extend-field",
        &["false"],
        "declare the columns that are wanted, as `t` TIMESTAMP_LTZ(3) METADATA FROM 'publish_time'",
    ),
    notice("enableSchemaEvolution"),
    harmless("source.subscription-type", &["Exclusive"], ONE_READER),
    refuse("scan.startup.sub-start-offset", NO_SUBSCRIPTION),
    notice("pulsar.source.maxFetchRecords"),
    notice("pulsar.source.maxFetchTime"),
    notice("pulsar.source.fetchOneMessageTime"),
    notice("pulsar.source.enableAutoAcknowledgeMessage"),
    notice("pulsar.source.autoCommitCursorInterval"),
    notice("pulsar.consumer.receiverQueueSize"),
    notice("sink.parallelism"),
    notice("scan.parallelism"),
    refuse(
        "sink.custom-topic-router",
        "routers in Java cannot run here: 'sink.topic-routing-mode' is message-key-hash or round-robin",
    ),
    refuse("pulsar.consumer.deadLetterPolicy.maxRedeliverCount", NO_ACKS),
    refuse("pulsar.consumer.deadLetterPolicy.retryLetterTopic", NO_ACKS),
    refuse("pulsar.consumer.retryEnable", NO_ACKS),
    refuse(
        "pulsar.consumer.deadLetterPolicy.initialSubscriptionName",
        "subscriptions are made by Pulsar's own tools: make one on the topic of 'aquifer.dead-letter-topic'",
    ),
    refuse(
        "pulsar.consumer.patternAutoDiscoveryPeriod",
        "write 'partition.discovery.interval-millis', in milliseconds",
    ),
    refuse("pulsar.producer.cryptoFailureAction", NO_CRYPTO),
    harmless("pulsar.consumer.subscriptionInitialPosition", &["Latest"], NO_SUBSCRIPTION),
    harmless("pulsar.consumer.subscriptionType", &["Exclusive"], ONE_READER),
    notice("pulsar.consumer.properties"),
    notice("pulsar.consumer.subscriptionProperties"),
    notice("pulsar.consumer.poolMessages"),
    notice("pulsar.consumer.consumerName"),
    notice("pulsar.consumer.priorityLevel"),
    notice("pulsar.consumer.ackTimeoutMillis"),
    notice("pulsar.consumer.ackReceiptEnabled"),
    notice("pulsar.consumer.acknowledgementsGroupTimeMicros"),
    notice("pulsar.consumer.negativeAckRedeliveryDelayMicros"),
    notice("pulsar.consumer.maxTotalReceiverQueueSizeAcrossPartitions"),
    notice("pulsar.consumer.replicateSubscriptionState"),
    notice("pulsar.consumer.tickDurationMillis"),
    notice("pulsar.consumer.maxPendingChunkedMessage"),
    notice("pulsar.consumer.autoAckOldestChunkedMessageOnQueueFull"),
    notice("pulsar.consumer.expireTimeOfIncompleteChunkedMessageMillis"),
    harmless(
        "pulsar.source.verifyInitialOffsets",
        &["FAIL_ON_MISMATCH"],
        "a start that is not kept any more is always an error: leave it out",
    ),
    notice("pulsar.source.resetSubscriptionCursor"),
    notice("pulsar.source.enableSchemaEvolution"),
    notice("pulsar.source.enableMetrics"),
    notice("pulsar.source.allowKeySharedOutOfOrderDelivery"),
    notice("pulsar.sink.transactionTimeoutMillis"),
    notice("pulsar.sink.maxRecommitTimes"),
    notice("pulsar.sink.maxPendingMessages"),
    notice("pulsar.sink.maxPendingMessagesAcrossPartitions"),
    notice("pulsar.sink.enableSchemaEvolution"),
    notice("pulsar.sink.enableMetrics"),
    notice("pulsar.sink.topicMetadataRefreshInterval"),
    notice("pulsar.sink.validateSinkMessageBytes"),
    refuse("pulsar.producer.initialSequenceId", "messages are numbered from what the topic has of the writer's name"),
    notice("pulsar.producer.maxPendingMessages"),
    notice("pulsar.producer.maxPendingMessagesAcrossPartitions"),
    notice("pulsar.producer.blockIfQueueFull"),
    notice("pulsar.producer.batchingMaxPublishDelayMicros"),
    notice("pulsar.producer.batchingPartitionSwitchFrequencyByPublishDelay"),
    harmless("sink.buffer-flush.interval", &["0", "0s", "0 s", "0ms", "0 ms"], NO_FLUSH),
    harmless("sink.buffer-flush.max-rows", &["0"], NO_FLUSH),
];

/// Options of every table over topics: how to read it.
pub(super) const TOPIC: &[Row] = &[
    value("format", "format", v::format),
    value("value.format", "format", v::format),
    value("partitions", "partitions", v::partitions),
    value("table-default-partitions", "partitions", v::partitions),
    value("key.format", "key.format", v::plain_format),
    value("key.fields", "key.fields", v::fields),
    value("value.fields-include", "value.fields-include", v::fields_include),
    value("sink.topic-routing-mode", "sink.topic-routing-mode", v::routing),
    value("sink.key-hash", "sink.key-hash", v::key_hash),
    value("pulsar.sink.messageKeyHash", "sink.key-hash", v::key_hash),
    value("sink.compression", "sink.compression", v::compression),
    value("pulsar.producer.compressionType", "sink.compression", v::compression),
    value("sink.producer-name", "sink.producer-name", v::producer_name),
    value("pulsar.producer.producerName", "sink.producer-name", v::producer_name),
    value("sink.batching", "sink.batching", v::boolean),
    value("pulsar.producer.batchingEnabled", "sink.batching", v::boolean),
    value("sink.batching.max-messages", "sink.batching.max-messages", v::batch_messages),
    value("pulsar.producer.batchingMaxMessages", "sink.batching.max-messages", v::batch_messages),
    value("sink.batching.max-bytes", "sink.batching.max-bytes", v::positive),
    value("pulsar.producer.batchingMaxBytes", "sink.batching.max-bytes", v::positive),
    value("sink.chunking", "sink.chunking", v::boolean),
    value("pulsar.producer.chunkingEnabled", "sink.chunking", v::boolean),
    value("sink.send-timeout", "sink.send-timeout", v::send_timeout),
    value("pulsar.producer.sendTimeoutMs", "sink.send-timeout", v::send_timeout_millis),
    value("sink.message-delay-interval", "sink.message-delay-interval", v::duration),
    value("sink.delivery-guarantee", "sink.delivery-guarantee", v::guarantee),
    value("pulsar.sink.deliveryGuarantee", "sink.delivery-guarantee", v::guarantee),
    text("key.fields-prefix", "key.fields-prefix"),
    value("scan.startup.mode", "scan.startup.mode", v::startup),
    value("source.start.message-id", "scan.startup.mode", v::startup),
    value("scan.bounded.mode", "scan.bounded.mode", v::stop),
    value("source.stop.at-message-id", "scan.bounded.mode", v::stop),
    value("scan.tiers", "scan.tiers", v::tiers),
    value("source.subscription-name", "source.subscription-name", v::subscription),
    value("scan.startup.sub-name", "source.subscription-name", v::subscription),
    value("pulsar.consumer.subscriptionName", "source.subscription-name", v::subscription),
    value("source.subscription-mode", "source.subscription-mode", v::subscription_mode),
    value("pulsar.consumer.subscriptionMode", "source.subscription-mode", v::subscription_mode),
    value("partition.discovery.interval-millis", "partition.discovery.interval-millis", v::interval_millis),
    value("pulsar.source.partitionDiscoveryIntervalMs", "partition.discovery.interval-millis", v::interval_millis),
    value("aquifer.on-decode-error", "aquifer.on-decode-error", v::on_decode_error),
    value("aquifer.dead-letter-topic", "aquifer.dead-letter-topic", v::topic),
    value("pulsar.consumer.deadLetterPolicy.deadLetterTopic", "aquifer.dead-letter-topic", v::topic),
    value("avro.ignore-parse-errors", "aquifer.on-decode-error", v::ignore_parse_errors),
    value("raw.ignore-parse-errors", "aquifer.on-decode-error", v::ignore_parse_errors),
    value("value.avro.ignore-parse-errors", "aquifer.on-decode-error", v::ignore_parse_errors),
    value("protobuf.ignore-parse-errors", "aquifer.on-decode-error", v::ignore_parse_errors),
    value("value.protobuf.ignore-parse-errors", "aquifer.on-decode-error", v::ignore_parse_errors),
    value("value.raw.ignore-parse-errors", "aquifer.on-decode-error", v::ignore_parse_errors),
    value("aquifer.max-inflated-bytes", "aquifer.max-inflated-bytes", v::inflated),
    value("raw.charset", "raw.charset", v::charset),
    value("value.raw.charset", "raw.charset", v::charset),
    value("raw.endianness", "raw.endianness", v::endianness),
    value("value.raw.endianness", "raw.endianness", v::endianness),
    text("csv.field-delimiter", "csv.field-delimiter"),
    text("value.csv.field-delimiter", "csv.field-delimiter"),
    text("csv.quote-character", "csv.quote-character"),
    text("value.csv.quote-character", "csv.quote-character"),
    value("csv.disable-quote-character", "csv.disable-quote-character", v::boolean),
    value("value.csv.disable-quote-character", "csv.disable-quote-character", v::boolean),
    value("csv.allow-comments", "csv.allow-comments", v::boolean),
    value("value.csv.allow-comments", "csv.allow-comments", v::boolean),
    value("csv.ignore-parse-errors", "csv.ignore-parse-errors", v::boolean),
    value("value.csv.ignore-parse-errors", "csv.ignore-parse-errors", v::boolean),
    text("csv.array-element-delimiter", "csv.array-element-delimiter"),
    text("value.csv.array-element-delimiter", "csv.array-element-delimiter"),
    text("csv.escape-character", "csv.escape-character"),
    text("value.csv.escape-character", "csv.escape-character"),
    text("csv.null-literal", "csv.null-literal"),
    text("value.csv.null-literal", "csv.null-literal"),
    value("csv.write-bigdecimal-in-scientific-notation", "csv.write-bigdecimal-in-scientific-notation", v::only_false),
    refuse("csv.ignore-first-line", NO_HEADER),
    value("json.ignore-parse-errors", "json.ignore-parse-errors", v::boolean),
    value("value.json.ignore-parse-errors", "json.ignore-parse-errors", v::boolean),
    value("json.fail-on-missing-field", "json.fail-on-missing-field", v::boolean),
    value("value.json.fail-on-missing-field", "json.fail-on-missing-field", v::boolean),
    value("json.timestamp-format.standard", "json.timestamp-format.standard", v::json_timestamps),
    value("value.json.timestamp-format.standard", "json.timestamp-format.standard", v::json_timestamps),
    value("json.map-null-key.mode", "json.map-null-key.mode", v::json_null_keys),
    value("value.json.map-null-key.mode", "json.map-null-key.mode", v::json_null_keys),
    text("json.map-null-key.literal", "json.map-null-key.literal"),
    text("value.json.map-null-key.literal", "json.map-null-key.literal"),
    value("json.encode.decimal-as-plain-number", "json.encode.decimal-as-plain-number", v::boolean),
    value("value.json.encode.decimal-as-plain-number", "json.encode.decimal-as-plain-number", v::boolean),
    value("json.encode.ignore-null-fields", "json.encode.ignore-null-fields", v::boolean),
    value("value.json.encode.ignore-null-fields", "json.encode.ignore-null-fields", v::boolean),
    value("json.decode.json-parser.enabled", "json.decode.json-parser.enabled", v::boolean),
    value("value.json.decode.json-parser.enabled", "json.decode.json-parser.enabled", v::boolean),
    // Keys are written and read by their format as it is without options.
    harmless("key.json.ignore-parse-errors", &["false"], NO_KEY_READING),
    harmless("key.json.fail-on-missing-field", &["false"], NO_KEY_READING),
    harmless("key.json.decode.json-parser.enabled", &["true", "false"], NO_KEY_READING),
    harmless("key.json.timestamp-format.standard", &["SQL"], PLAIN_KEYS),
    harmless("key.json.map-null-key.mode", &["FAIL"], PLAIN_KEYS),
    refuse("key.json.map-null-key.literal", PLAIN_KEYS),
    harmless("key.json.encode.decimal-as-plain-number", &["true", "false"], PLAIN_KEYS),
    harmless("key.json.encode.ignore-null-fields", &["false"], PLAIN_KEYS),
    harmless("avro.encoding", &["binary"], NO_AVRO_TEXT),
    harmless("value.avro.encoding", &["binary"], NO_AVRO_TEXT),
    harmless("key.avro.encoding", &["binary"], NO_AVRO_TEXT),
    value("source.start.publish-time", "scan.startup.mode", v::start_publish_time),
    value("source.start.event-time", "scan.startup.mode", v::start_event_time),
    value("source.start.inclusive", "source.start.inclusive", v::boolean),
    value("scan.startup.timestamp-millis", "scan.startup.timestamp-millis", v::time),
    value("scan.startup.specific-offsets", "scan.startup.specific-offsets", v::positions),
    value("source.stop.after-message-id", "scan.bounded.mode", v::stop_after_position),
    value("source.stop.at-publish-time", "scan.bounded.mode", v::start_publish_time),
    value("source.stop.after-publish-time", "scan.bounded.mode", v::stop_after_publish_time),
    // Beside any other stop: the first that is reached counts.
    value("source.stop.at-event-time", "source.stop.at-event-time", v::stop_event_time),
    value("source.stop.after-event-time", "source.stop.at-event-time", v::stop_after_event_time),
    // As FOR SYSTEM_TIME AS OF: what had been published by then.
    value("scan.timestamp", "scan.bounded.mode", v::stop_after_publish_time),
    value("scan.timestamp-millis", "scan.bounded.mode", v::stop_after_publish_time),
    refuse("scan.snapshot-id", NO_SNAPSHOTS),
    refuse("scan.version", NO_SNAPSHOTS),
    refuse("scan.tag-name", NO_SNAPSHOTS),
    refuse("scan.watermark", NO_WATERMARK),
    refuse("incremental-between", NO_INCREMENTAL),
    refuse("incremental-between-timestamp", NO_INCREMENTAL),
    value("scan.bounded.timestamp-millis", "scan.bounded.timestamp-millis", v::time),
    value("scan.bounded.specific-offsets", "scan.bounded.specific-offsets", v::positions),
    value("scan.watermark.idle-timeout", "scan.watermark.idle-timeout", v::duration),
    value("scan.watermark.emit.strategy", "scan.watermark.emit.strategy", v::emit_strategy),
    value("scan.watermark.emit.on-event.gap", "scan.watermark.emit.on-event.gap", v::positive),
    value("scan.watermark.alignment.group", "scan.watermark.alignment.group", v::alignment_group),
    value("scan.watermark.alignment.max-drift", "scan.watermark.alignment.max-drift", v::duration),
    // Sources are compared before every batch.
    notice("scan.watermark.alignment.update-interval"),
];

#[cfg(test)]
pub(super) const ALL: [&[Row]; 4] = [CATALOG, CLIENT, CONNECTOR, TOPIC];
