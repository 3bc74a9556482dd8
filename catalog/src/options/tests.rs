use aquifer_model::ErrorKind;

use super::*;

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn catalog(given: &[(&str, &str)]) -> Result<Checked> {
    check_catalog(pairs(given))
}

fn table(given: &[(&str, &str)]) -> Result<Checked> {
    check_table(pairs(given))
}

#[test]
fn the_catalog_of_the_talk_is_taken_as_printed() {
    let checked = catalog(&[("type", "pulsar"), ("adminUrl", "localhost:9092")]).expect("taken");
    assert_eq!(checked.options["admin-url"], "http://localhost:9092");
    let settings = catalog_settings(&checked.options).expect("complete");
    assert_eq!(settings.default_database, "public/default");
    let LogSettings::Pulsar(config) = settings.log else { panic!("a cluster") };
    assert_eq!((config.service_url, config.admin_url.as_deref()), (None, Some("http://localhost:9092")));
}

#[test]
fn every_spelling_gives_the_same_catalog() {
    let expected = catalog(&[
        ("type", "pulsar"),
        ("admin-url", "http://h:8080"),
        ("service-url", "pulsar://h:6650"),
        ("auth-plugin", "token"),
        ("auth-params", "token:abc"),
        ("default-database", "a/b"),
        ("table-default-partitions", "5"),
    ])
    .expect("canonical");
    for [admin, service, plugin, params, partitions] in [
        ["adminUrl", "serviceUrl", "catalog-auth-plugin", "catalog-auth-params", "table-default-partitions"],
        [
            "catalog-admin-url",
            "catalog-service-url",
            "auth-plugin-classname",
            "auth-params",
            "pulsar.catalog.defaultPartitionSize",
        ],
        [
            "pulsar.admin.adminUrl",
            "pulsar.client.serviceUrl",
            "pulsar.client.authPluginClassName",
            "pulsar.client.authParams",
            "table-default-partitions",
        ],
    ] {
        let checked = catalog(&[
            ("type", "pulsar-catalog"),
            (admin, "h:8080"),
            (service, "h:6650"),
            (plugin, "org.apache.pulsar.client.impl.auth.AuthenticationToken"),
            (params, "token:abc"),
            ("default-database", "a/b"),
            (partitions, "5"),
        ]);
        assert_eq!(checked.expect("taken"), expected, "{admin}");
    }
    let local = catalog(&[("type", "local-pulsar")]).expect("taken");
    assert_eq!(local.options["service-url"], "pulsar://localhost:6650");
}

#[test]
fn what_a_canonical_option_became_is_taken_again() {
    // Definitions are checked when they are stored and again when they are changed.
    for given in [
        vec![("type", "embedded"), ("serviceUrl", "embedded:x/y"), ("retention", "0 s"), ("archive", "a")],
        vec![("type", "local-pulsar"), ("pulsar.client.connectionTimeoutMs", "500"), ("catalog-tenant", "t")],
    ] {
        let once = catalog(&given).expect("taken");
        assert_eq!(check_catalog(once.options.clone()).expect("again").options, once.options);
    }
    let once = table(&[
        ("connector", "pulsar"),
        ("topic", "a;b"),
        ("value.format", "JSON"),
        ("json.ignore-parse-errors", "true"),
        ("source.start.message-id", "latest"),
        ("source.stop.at-message-id", "never"),
    ])
    .expect("taken");
    assert_eq!(check_table(once.options.clone()).expect("again").options, once.options);
    let settings = table_settings(&once.options).expect("complete");
    assert_eq!((settings.topics.len(), settings.format), (2, Some(Format::Json)));
    assert_eq!((settings.startup, settings.stop), (Startup::Latest, Stop::Never));
    assert_eq!(settings.on_decode_error, OnDecodeError::Skip);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    for (given, expected) in [
        (
            catalog(&[("type", "pulsar"), ("servise-url", "pulsar://h:1")]),
            "unknown option `servise-url` of a catalog: did you mean `service-url`?",
        ),
        (
            catalog(&[("type", "pulsar"), ("adminURL", "h:1")]),
            "unknown option `adminURL` of a catalog: did you mean `admin-url`?",
        ),
        (
            table(&[("connector", "pulsar"), ("topics", "t"), ("scan.startup.mod", "latest")]),
            "unknown option `scan.startup.mod` of a pulsar table: did you mean `scan.startup.mode`?",
        ),
        (table(&[("scan.tier", "log")]), "unknown option `scan.tier` of a topic's table: did you mean `scan.tiers`?"),
    ] {
        let error = given.expect_err("unknown");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, expected));
    }
    let error = catalog(&[("type", "pulsar"), ("zzz", "1")]).expect_err("unknown").to_string();
    assert!(error.contains("known options are admin-url, aquifer.max-inflated-bytes, archive, "), "{error}");
}

#[test]
fn wrong_values_say_what_to_write() {
    for (given, expected) in [
        (catalog(&[]), "the option `type` is missing"),
        (catalog(&[("type", "kafka")]), "'type' = 'kafka': write 'pulsar' or 'embedded'"),
        (catalog(&[("type", "pulsar")]), "the address is missing: write 'service-url' = 'pulsar://HOST:6650'"),
        (catalog(&[("type", "embedded")]), "write 'service-url' = 'embedded:PATH'"),
        (catalog(&[("type", "pulsar"), ("admin-url", "ftp://h")]), "write http://HOST:PORT"),
        (
            catalog(&[("type", "pulsar"), ("service-url", "h"), ("auth-plugin", "AuthenticationAthenz")]),
            "write token, basic, oauth2 or tls",
        ),
        (
            catalog(&[("type", "pulsar"), ("service-url", "h"), ("pulsar.client.tlsAllowInsecureConnection", "true")]),
            "certificates are always checked",
        ),
        (catalog(&[("type", "pulsar"), ("service-url", "h"), ("retention", "0 s")]), "is for embedded logs"),
        (
            catalog(&[("type", "pulsar"), ("service-url", "h"), ("serviceUrl", "i")]),
            "given twice with different values",
        ),
        (catalog(&[("type", "pulsar"), ("service-url", "h"), ("archive", "s3://b")]), "`s3://` are not built yet"),
        (table(&[("connector", "pulsar")]), "the option `topics` is missing"),
        (table(&[("connector", "pulsar"), ("topics", "a/b")]), "`a/b` is no topic name"),
        (
            table(&[("connector", "pulsar"), ("topics", "a"), ("format", "orc")]),
            "write avro, json, csv, protobuf, raw or key-value",
        ),
        (table(&[("connector", "pulsar"), ("topics", "a"), ("key.format", "raw")]), "needs 'key.fields'"),
        (table(&[("connector", "upsert-pulsar"), ("topics", "a"), ("key.fields", "k")]), "PRIMARY KEY"),
        (table(&[("connector", "upsert-pulsar")]), "the option `topics` is missing"),
        (
            table(&[("connector", "pulsar"), ("topics", "a"), ("value.fields-include", "EXCEPT_KEY")]),
            "needs 'key.fields'",
        ),
        (
            table(&[("connector", "pulsar"), ("topics", "a"), ("sink.topic-routing-mode", "custom")]),
            "write one of message-key-hash, round-robin",
        ),
        (
            table(&[("connector", "pulsar"), ("topics", "a"), ("pulsar.sink.deliveryGuarantee", "twice")]),
            "write at-least-once",
        ),
        (table(&[("connector", "pulsar"), ("topics", "a"), ("pulsar.client.proxyServiceUrl", "x")]), "proxies"),
        (table(&[("topics", "a")]), "the option `topics` needs 'connector' = 'pulsar'"),
        (table(&[("scan.startup.mode", "12")]), "write earliest, latest, LEDGER:ENTRY"),
        (table(&[("scan.bounded.mode", "soon")]), "write latest-offset, unbounded"),
        (table(&[("partitions", "-1")]), "write a number of partitions"),
    ] {
        let error = given.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\n  does not say\n{expected}");
    }
}

#[test]
fn keys_without_meaning_are_kept_and_told() {
    let checked =
        catalog(&[("type", "pulsar"), ("service-url", "h"), ("pulsar.client.numIoThreads", "4")]).expect("taken");
    assert_eq!(checked.notices, ["the option `pulsar.client.numIoThreads` is accepted and has no effect here"]);
    assert_eq!(checked.options["pulsar.client.numIoThreads"], "4");
}

#[test]
fn a_streams_subscription_has_a_name_of_its_own() {
    let over_topic = |more: &[(&str, &str)]| table(&[&[("connector", "pulsar"), ("topics", "t")], more].concat());
    let pin = |more: &[(&str, &str)]| table_settings(&over_topic(more).expect("taken").options).expect("settings").pin;
    assert_eq!(pin(&[]), None);
    for key in ["source.subscription-name", "scan.startup.sub-name", "pulsar.consumer.subscriptionName"] {
        assert_eq!(pin(&[(key, "mine")]), Some("mine".to_string()), "{key}");
        assert_eq!(pin(&[(key, "mine"), ("pulsar.consumer.subscriptionMode", "Durable")]), Some("mine".to_string()));
        assert_eq!(pin(&[(key, "mine"), ("pulsar.consumer.subscriptionMode", "NonDurable")]), None);
        for (wrong, why) in [("", "write a name"), ("a/b", "slashes"), ("aquifer-archive", "the archive's own")] {
            let error = over_topic(&[(key, wrong)]).expect_err(wrong).to_string();
            assert!(error.contains(key) && error.contains(why), "{error}");
        }
    }
    assert!(over_topic(&[("source.subscription-mode", "Forever")]).is_err());
}

#[test]
fn options_whose_meaning_would_be_lost_are_refused() {
    let over_topic = |key: &str, value: &str| table(&[("connector", "pulsar"), ("topics", "t"), (key, value)]);
    for (key, harmless, lost, why) in [
        ("explicit", "true", "false", "`connector`"),
        ("use-extend-field", "false", "true", "METADATA"),
        ("source.subscription-type", "exclusive", "Shared", "read once"),
        ("pulsar.consumer.subscriptionType", "Exclusive", "Failover", "read once"),
        ("pulsar.consumer.subscriptionInitialPosition", "Latest", "Earliest", "scan.startup.mode"),
        ("pulsar.source.verifyInitialOffsets", "FAIL_ON_MISMATCH", "WARN_ON_MISMATCH", "always an error"),
        ("sink.buffer-flush.interval", "0 s", "1 s", "every row is sent"),
        ("sink.buffer-flush.max-rows", "0", "100", "every row is sent"),
    ] {
        let taken = over_topic(key, harmless).expect(key);
        assert_eq!(taken.notices, [format!("the option `{key}` is accepted and has no effect here")]);
        let error = over_topic(key, lost).expect_err(key);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{key}");
        assert!(
            error.message().starts_with(&format!("'{key}' = '{lost}'")) && error.message().contains(why),
            "{error}"
        );
    }
    for (key, why) in [
        ("pulsar.producer.initialSequenceId", "numbered"),
        ("scan.startup.sub-start-offset", "scan.startup.mode"),
        ("pulsar.consumer.patternAutoDiscoveryPeriod", "partition.discovery.interval-millis"),
        ("pulsar.consumer.deadLetterPolicy.initialSubscriptionName", "aquifer.dead-letter-topic"),
    ] {
        let error = over_topic(key, "1").expect_err(key).to_string();
        assert!(error.contains(key) && error.contains(why), "{error}");
    }
}

#[test]
fn a_table_says_how_its_streams_tell_time() {
    let settings = |given: &[(&str, &str)]| table_settings(&table(given).expect("taken").options).expect("complete");
    assert_eq!(settings(&[]).watermarks, WatermarkSettings::default());
    let all = settings(&[
        ("scan.watermark.emit.strategy", "on-event"),
        ("scan.watermark.emit.on-event.gap", "3"),
        ("scan.watermark.idle-timeout", "1 min"),
        ("scan.watermark.alignment.group", "g"),
        ("scan.watermark.alignment.max-drift", "30 s"),
        ("scan.watermark.alignment.update-interval", "1 s"),
    ]);
    let alignment = Alignment { group: "g".to_string(), max_drift: Duration::from_secs(30) };
    let expected = WatermarkSettings {
        emit: Some(Emit::Rows(3)),
        idle_timeout: Some(Duration::from_secs(60)),
        alignment: Some(alignment),
    };
    assert_eq!(all.watermarks, expected);
    for (strategy, emit) in [("on-event", Emit::Rows(1)), ("on-periodic", Emit::Periodic)] {
        assert_eq!(settings(&[("scan.watermark.emit.strategy", strategy)]).watermarks.emit, Some(emit));
    }
    for (key, wrong) in [
        ("scan.watermark.emit.strategy", "never"),
        ("scan.watermark.emit.on-event.gap", "0"),
        ("scan.watermark.idle-timeout", "soon"),
        ("scan.watermark.alignment.group", ""),
        ("scan.watermark.alignment.max-drift", "far"),
    ] {
        let error = table(&[(key, wrong)]).expect_err(key).to_string();
        assert!(error.contains(key), "{error}");
    }
    for key in
        ["scan.watermark.emit.on-event.gap", "scan.watermark.alignment.group", "scan.watermark.alignment.max-drift"]
    {
        let alone = table(&[(key, "7")]).expect("taken").options;
        let error = check_effects(&alone, |_| true).expect_err(key).to_string();
        assert!(error.contains(key) && error.contains("has no effect without"), "{error}");
    }
}

#[test]
fn a_stop_at_an_event_time_goes_with_any_other_stop() {
    let given = [("source.stop.after-event-time", "7"), ("scan.bounded.mode", "latest-offset")];
    let once = table(&given).expect("taken");
    assert_eq!(check_table(once.options.clone()).expect("again").options, once.options);
    let settings = table_settings(&once.options).expect("complete");
    assert_eq!(
        (settings.stop, settings.stop_event_time),
        (Stop::Latest, Some(EventStop { time_ms: 7, inclusive: true }))
    );
}

#[test]
fn a_table_takes_every_spelling_of_authentication_that_a_catalog_takes() {
    for (plugin, params) in [
        ("auth-plugin", "auth-params"),
        ("catalog-auth-plugin", "catalog-auth-params"),
        ("pulsar.client.authPluginClassName", "pulsar.client.authParams"),
        ("pulsar.admin.authPluginClassName", "pulsar.admin.authParams"),
        ("auth-plugin-classname", "authParams"),
    ] {
        let own =
            [("connector", "pulsar"), ("topics", "t"), ("service-url", "h"), (plugin, "token"), (params, "token:a")];
        let settings = table_settings(&table(&own).expect(plugin).options).expect("complete");
        let Some(LogSettings::Pulsar(config)) = settings.log else { panic!("a cluster") };
        assert!(config.authentication.is_some(), "{plugin}");
    }
}

#[test]
fn how_entries_are_written_is_read_under_both_spellings() {
    let sink = |given: &[(&str, &str)]| table_settings(&table(given).expect("taken").options).expect("complete").sink;
    let expected = SinkSettings {
        producer_name: Some("p".into()),
        batching: false,
        batch_messages: Some(7),
        batch_bytes: Some(99),
        chunking: true,
        send_timeout: Some(Duration::from_secs(2)),
        ..SinkSettings::default()
    };
    let ours = sink(&[
        ("sink.producer-name", "p"),
        ("sink.batching", "false"),
        ("sink.batching.max-messages", "7"),
        ("sink.batching.max-bytes", "99"),
        ("sink.chunking", "true"),
        ("sink.send-timeout", "2 s"),
    ]);
    let pulsars = sink(&[
        ("pulsar.producer.producerName", "p"),
        ("pulsar.producer.batchingEnabled", "false"),
        ("pulsar.producer.batchingMaxMessages", "7"),
        ("pulsar.producer.batchingMaxBytes", "99"),
        ("pulsar.producer.chunkingEnabled", "true"),
        ("pulsar.producer.sendTimeoutMs", "2000"),
    ]);
    assert_eq!((ours, pulsars), (expected.clone(), expected));
    assert_eq!(sink(&[]), SinkSettings::default());
    for (key, value) in [
        ("sink.producer-name", ""),
        ("sink.batching.max-messages", "0"),
        ("sink.batching.max-messages", "1000000"),
        ("sink.batching.max-bytes", "0"),
        ("sink.chunking", "perhaps"),
        ("sink.send-timeout", "0 ms"),
        ("sink.send-timeout", "30 d"),
        ("pulsar.producer.sendTimeoutMs", "0"),
    ] {
        assert!(table(&[(key, value)]).is_err(), "{key} = {value}");
    }
}

#[test]
fn an_option_that_its_mode_does_not_ask_for_is_refused() {
    let effects = |given: &[(&str, &str)]| check_effects(&table(given).expect("taken").options, |_| true);
    for (given, part) in [
        (vec![("scan.startup.timestamp-millis", "1")], "'scan.startup.mode' = 'timestamp'"),
        (vec![("scan.startup.mode", "latest"), ("scan.startup.timestamp-millis", "1")], "has no effect without"),
        (vec![("scan.startup.specific-offsets", "1:2")], "'specific-offsets'"),
        (vec![("scan.bounded.timestamp-millis", "1")], "'scan.bounded.mode' = 'timestamp'"),
        (vec![("scan.bounded.mode", "latest-offset"), ("scan.bounded.specific-offsets", "1:2")], "'scan.bounded.mode'"),
        (vec![("source.start.inclusive", "false")], "a position or a time"),
        (vec![("scan.startup.mode", "latest"), ("source.start.inclusive", "true")], "a position or a time"),
    ] {
        let error = effects(&given).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
        let options = table(&given).expect("taken").options;
        check_effects(&options, |key| key == "format").expect("what is not asked about passes");
    }
    effects(&[
        ("scan.startup.mode", "timestamp"),
        ("scan.startup.timestamp-millis", "1"),
        ("source.start.inclusive", "false"),
        ("scan.bounded.mode", "specific-offsets"),
        ("scan.bounded.specific-offsets", "1:2"),
    ])
    .expect("each has an effect");
}

#[test]
fn options_of_other_connectors_are_theirs() {
    let checked = table(&[("connector", "datagen"), ("rows-per-second", "5")]).expect("taken");
    assert_eq!(checked.options["rows-per-second"], "5");
}

#[test]
fn secrets_are_never_shown() {
    let checked = catalog(&[("type", "pulsar"), ("service-url", "h"), ("auth-params", "token:canary")]).expect("taken");
    assert!(!format!("{checked:?}").contains("canary"));
    assert_eq!(masked(&checked.options)["auth-params"], "token:******");
    let settings = catalog_settings(&checked.options).expect("complete");
    assert!(!format!("{settings:?}").contains("canary"));
    let definition = crate::CatalogDefinition { name: "c".into(), options: checked.options.clone(), comment: None };
    assert!(!format!("{definition:?}").contains("canary"));
    let twice = catalog(&[("type", "pulsar"), ("auth-params", "token:canary"), ("authParams", "token:canary2")]);
    assert!(!twice.expect_err("twice").to_string().contains("canary"));
    for (value, shown) in [("file:///a/token", "file:///a/token"), ("canary", "******")] {
        assert_eq!(values::mask("auth-params", value), shown);
    }
    assert_eq!(values::mask("url", "http://u:canary@h/x"), "http://******@h/x");
    let url = catalog(&[("type", "pulsar"), ("admin-url", "http://u:canary@h")]).expect_err("refused").to_string();
    assert!(!url.contains("canary"), "{url}");
}

#[test]
fn no_spelling_stands_twice_in_a_table() {
    for rows in known::ALL {
        let mut keys: Vec<&str> = rows.iter().map(|row| row.given).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
    }
}

#[test]
fn durations_are_flinks() {
    for (text, millis) in
        [("5 s", 5_000), ("250", 250), ("2min", 120_000), ("0 ms", 0), ("1 h", 3_600_000), ("7 d", 604_800_000)]
    {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    assert!(
        parse_duration("soon").is_err()
            && parse_duration("-1 s").is_err()
            && parse_duration("9999999999999999999 d").is_err()
    );
}

#[test]
fn authentication_and_tls_are_read_under_every_spelling() {
    let config = |given: &[(&str, &str)]| {
        let checked =
            catalog(&[&[("type", "pulsar"), ("service-url", "pulsar+ssl://h:1")], given].concat()).expect("taken");
        match catalog_settings(&checked.options).expect("complete").log {
            LogSettings::Pulsar(config) => config,
            LogSettings::Embedded(..) => unreachable!("a cluster"),
        }
    };
    let read = config(&[
        ("pulsar.client.authPluginClassName", "org.apache.pulsar.client.impl.auth.AuthenticationBasic"),
        ("pulsar.client.authParams", r#"{"userId":"u","password":"p"}"#),
        ("pulsar.client.tlsTrustCertsFilePath", "/ca.pem"),
        ("on-encrypted", "discard"),
    ]);
    let basic = Authentication::Basic { user: "u".into(), password: "p".into() };
    assert_eq!((read.authentication, read.tls.ca_file), (Some(basic), Some("/ca.pem".into())));
    assert_eq!(read.encrypted, EncryptedMessages::Discard);
    let read = config(&[
        ("auth-plugin", "org.apache.pulsar.client.impl.auth.AuthenticationTls"),
        ("auth-params", "tlsCertFile:/c.pem,tlsKeyFile:/k.pem"),
    ]);
    assert_eq!(read.authentication, Some(Authentication::Certificate));
    assert_eq!((read.tls.certificate_file, read.tls.key_file), (Some("/c.pem".into()), Some("/k.pem".into())));
    let mixed =
        [("connector", "pulsar"), ("topics", "t"), ("service-url", "h"), ("archive", "/a"), ("read-compacted", "true")];
    let error = table(&mixed).expect_err("both").to_string();
    assert!(error.contains("do not go together"), "{error}");
}

#[test]
fn how_a_cluster_is_read_can_be_said_of_a_table_without_an_address_of_its_own() {
    let said = |given: &[(&str, &str)]| {
        let options = given.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        table_settings(&options).expect("known").log_reading
    };
    let catalogs = LogSettings::Pulsar(PulsarConfig { read_compacted: false, ..PulsarConfig::default() });
    let read = said(&[
        ("read-compacted", "true"),
        ("on-encrypted", "raw"),
        ("operation-timeout", "7 s"),
        ("max-frame-bytes", "1000"),
    ]);
    let LogSettings::Pulsar(config) = read.over(catalogs.clone()).expect("a cluster") else {
        unreachable!("a cluster")
    };
    assert!(config.read_compacted);
    assert_eq!(config.max_frame_bytes, Some(1000));
    assert_eq!(config.encrypted, EncryptedMessages::Raw);
    assert_eq!(config.operation_timeout, Duration::from_secs(7));
    assert_eq!(config.connect_timeout, PulsarConfig::default().connect_timeout, "as the catalog says");
    let embedded = LogSettings::Embedded("/log".into(), EmbeddedSettings::default());
    assert!(read.over(embedded.clone()).expect_err("not compacted").to_string().contains("not compacted"));
    assert!(said(&[]).over(embedded).is_ok());
}

#[test]
fn options_of_formats_are_known_by_flinks_names() {
    let with = |options: &[(&str, &str)]| table(&[&[("connector", "pulsar"), ("topics", "t")], options].concat());
    let kept = with(&[("format", "csv"), ("csv.field-delimiter", " "), ("value.csv.null-literal", " n/a ")]);
    let kept = kept.expect("taken").options;
    // Blanks mean something there.
    assert_eq!((kept["csv.field-delimiter"].as_str(), kept["csv.null-literal"].as_str()), (" ", " n/a "));
    assert_eq!(check_table(kept.clone()).expect("again").options, kept);
    for (key, policy) in [
        ("csv.ignore-parse-errors", OnDecodeError::Skip),
        ("json.ignore-parse-errors", OnDecodeError::Skip),
        ("value.json.ignore-parse-errors", OnDecodeError::Skip),
        ("protobuf.ignore-parse-errors", OnDecodeError::Skip),
        ("value.protobuf.ignore-parse-errors", OnDecodeError::Skip),
    ] {
        let options = with(&[(key, "true")]).expect("taken").options;
        assert_eq!(table_settings(&options).expect("settings").on_decode_error, policy, "{key}");
        let fails = with(&[(key, "false")]).expect("taken").options;
        assert_eq!(table_settings(&fails).expect("settings").on_decode_error, OnDecodeError::Fail, "{key}");
    }
    for (options, expected) in [
        (&[("raw.charset", "utf8"), ("raw.endianness", "BIG-ENDIAN")][..], None),
        (&[("raw.charset", "UTF-16")], Some("DECODE")),
        (&[("raw.endianness", "little-endian")], Some("big-endian, as Pulsar's own clients")),
        (&[("format", "canal-json")], Some("a topic's messages are new rows")),
        (&[("key.format", "csv"), ("key.fields", "k")], Some("not built here yet")),
        (&[("csv.field-delimiter", "ab")], Some("one ASCII character")),
        (&[("csv.escape-charakter", "x")], Some("did you mean `csv.escape-character`?")),
        (&[("csv.ignore-parse-errors", "true"), ("aquifer.dead-letter-topic", "d")], Some("is skip")),
        (&[("value.json.timestamp-format.standard", "iso-8601")], None),
        (&[("json.timestamp-format.standard", "RFC-3339")], Some("SQL, ISO-8601")),
        (&[("json.fail-on-missing-field", "true"), ("json.map-null-key.mode", "drop")], None),
        (&[("json.fail-on-missing-field", "true"), ("json.ignore-parse-errors", "true")], Some("cannot both be true")),
        (&[("json.encode.ignore-null-fields", "true"), ("value.json.encode.decimal-as-plain-number", "true")], None),
        (&[("key.json.timestamp-format.standard", "SQL"), ("avro.encoding", "binary")], None),
        (&[("key.json.timestamp-format.standard", "ISO-8601")], Some("is not supported: a key's JSON")),
        (&[("key.json.map-null-key.literal", "none")], Some("is not supported: a key's JSON")),
        (&[("value.avro.encoding", "json")], Some("binary datums")),
    ] {
        match (with(options), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{options:?}: {error}"),
            (other, _) => panic!("{options:?}: {other:?}"),
        }
    }
}

#[test]
fn what_an_entry_may_inflate_to_has_bounds() {
    for (text, bytes) in [
        ("65536", Some(65_536)),
        ("64 kb", Some(65_536)),
        ("1GB", Some(1 << 30)),
        ("63 kb", None),
        ("2 gb", None),
        ("-1", None),
    ] {
        let checked = table(&[("aquifer.max-inflated-bytes", text)]);
        let found = checked.ok().map(|checked| table_settings(&checked.options).expect("settings").max_inflated_bytes);
        assert_eq!(found.flatten(), bytes, "{text}");
    }
    let given = catalog(&[("type", "embedded"), ("service-url", "embedded:x"), ("aquifer.max-inflated-bytes", "2 mb")]);
    assert_eq!(catalog_settings(&given.expect("taken").options).expect("complete").max_inflated_bytes, Some(2 << 20));
}

#[test]
fn timeouts_of_pulsars_client_are_a_tables_too() {
    let own = [
        ("connector", "pulsar"),
        ("topics", "t"),
        ("pulsar.client.connectionTimeoutMs", "500"),
        ("pulsar.client.operationTimeoutMs", "7000"),
    ];
    let checked = table(&own).expect("taken");
    assert_eq!(checked.options["connect-timeout"], "500 ms");
    let reading = table_settings(&checked.options).expect("settings").log_reading;
    let LogSettings::Pulsar(config) = reading.over(LogSettings::Pulsar(PulsarConfig::default())).expect("a cluster")
    else {
        unreachable!("a cluster")
    };
    assert_eq!(config.connect_timeout, Duration::from_millis(500));
    assert_eq!(config.operation_timeout, Duration::from_secs(7));
}

#[test]
fn time_travel_under_other_names_is_a_stop_and_what_has_no_meaning_here_says_what_to_write() {
    for (key, value) in [
        ("scan.timestamp-millis", "1706702400000"),
        ("scan.timestamp", "2024-01-31 12:00:00"),
        ("source.stop.after-publish-time", "1706702400000"),
    ] {
        let options = table(&[(key, value)]).expect(key).options;
        assert_eq!(options["scan.bounded.mode"], "after-publish-time:1706702400000", "{key}");
        let stop = table_settings(&options).expect("settings").stop;
        assert_eq!(stop, Stop::PublishTime(1_706_702_400_001), "{key}: what was published at that time is read");
    }
    let twice = table(&[("scan.timestamp-millis", "1"), ("scan.bounded.mode", "latest-offset")]);
    assert!(twice.expect_err("two stops").to_string().contains("given twice"));
    assert!(table(&[("scan.timestamp", "yesterday")]).expect_err("no time").to_string().contains("is no time"));
    for (key, part) in [
        ("scan.snapshot-id", "FOR SYSTEM_TIME AS OF"),
        ("scan.version", "'scan.timestamp-millis'"),
        ("scan.tag-name", "`t$manifests`"),
        ("scan.watermark", "'source.stop.at-event-time'"),
        ("incremental-between", "'source.start.publish-time'"),
        ("incremental-between-timestamp", "'source.stop.at-publish-time'"),
    ] {
        let error = table(&[(key, "1")]).expect_err(key);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{key}");
        assert!(error.message().contains(key) && error.message().contains(part), "{error}");
    }
}
