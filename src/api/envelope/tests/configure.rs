//! Configurations.

use super::*;
use crate::queue_options::QueueOptions;

fn options(text: &str) -> QueueOptions {
    configure(format!(r#"{{"queue":"q","options":{text}}}"#).as_bytes()).unwrap().options
}

#[test]
fn every_option_has_a_default_and_its_own_name() {
    let defaults = serde_json::json!({
        "leaseTime": 300, "maxSize": 0, "ttl": 3600, "retryLimit": 3, "retryDelay": 0,
        "deadLetterQueue": false, "dlqAfterMaxRetries": false, "priority": 0,
        "delayedProcessing": 0, "windowBuffer": 0, "retentionSeconds": 0,
        "completedRetentionSeconds": 0, "retentionEnabled": false, "encryptionEnabled": false,
        "maxWaitTimeSeconds": 0
    });
    assert_eq!(serde_json::to_value(QueueOptions::default()).unwrap(), defaults);
    for text in ["{}", "null", "[]", "7", "\"x\"", r#"{"ttl":null,"unknown":{"ttl":1}}"#] {
        assert_eq!(options(text), QueueOptions::default(), "{text}");
    }
    assert_eq!(configure(br#"{"queue":"q"}"#).unwrap().options, QueueOptions::default());
}

#[test]
fn every_option_arrives_under_its_own_name() {
    let mut all = serde_json::to_value(QueueOptions::default()).unwrap();
    for (number, value) in (11..).zip(all.as_object_mut().unwrap().values_mut()) {
        *value = if value.is_boolean() { true.into() } else { number.into() };
    }
    assert_eq!(serde_json::to_value(options(&all.to_string())).unwrap(), all);
}

#[test]
fn numbers_and_booleans_may_be_written_as_strings() {
    for (written, expected) in
        [("7", 7), ("\"7\"", 7), ("\" 7 \"", 7), ("\"+7\"", 7), ("7.0", 7), ("7e2", 700), ("0", 0)]
    {
        let seen = options(&format!(r#"{{"ttl":{written}}}"#)).ttl_seconds;
        assert_eq!(seen, expected, "{written}");
    }
    assert_eq!(options(r#"{"priority":-5}"#).priority, -5);
    assert_eq!(options(r#"{"maxSize":2147483647}"#).size_max, i32::MAX);
    for written in ["true", "1", "\"true\"", "\"TRUE\"", "\"1\"", "\"on\"", "\"yes\"", "\"t\""] {
        let seen = options(&format!(r#"{{"encryptionEnabled":{written}}}"#));
        assert!(seen.encryption_enabled, "{written}");
    }
    for written in ["false", "0", "\"false\"", "\"0\"", "\"off\"", "\"no\"", "\"f\"", "null"] {
        let seen = options(&format!(r#"{{"encryptionEnabled":{written}}}"#));
        assert!(!seen.encryption_enabled, "{written}");
    }
}

#[test]
fn a_value_that_does_not_convert_is_refused_with_the_option_s_name() {
    let range = "must be an integer between 0 and 2147483647";
    for written in [
        "-1",
        "\"-1\"",
        "1.5",
        "\"1.5\"",
        "\"\"",
        "\"x\"",
        "\"0x1\"",
        "true",
        "[]",
        "{}",
        "2147483648",
        "-2147483649",
        "99999999999999999999",
        "1e300",
        "\"2147483648\"",
        "-0.5",
    ] {
        let body = format!(r#"{{"queue":"q","options":{{"leaseTime":{written}}}}}"#);
        let expected = format!("invalid_option: options.leaseTime {range}");
        assert_eq!(refusal(configure(body.as_bytes())), expected, "{written}");
    }
    for written in ["2", "-1", "0.0", "\"\"", "\"x\"", "[]", "{}", "\"truee\""] {
        let body = format!(r#"{{"queue":"q","options":{{"retentionEnabled":{written}}}}}"#);
        let expected = "invalid_option: options.retentionEnabled must be a boolean";
        assert_eq!(refusal(configure(body.as_bytes())), expected, "{written}");
    }
    assert_eq!(
        refusal(configure(br#"{"queue":"q","options":{"priority":"high"}}"#)),
        "invalid_option: options.priority must be an integer between -2147483648 and 2147483647"
    );
}

#[test]
fn names_are_text_or_absent() {
    let read = configure(br#"{"queue":"q","namespace":"shop","task":"invoice"}"#).unwrap();
    assert_eq!((&*read.namespace, &*read.task), ("shop", "invoice"));
    let read = configure(br#"{"queue":"","namespace":null,"task":7}"#).unwrap();
    assert_eq!((&*read.queue, &*read.namespace, &*read.task), ("", "", ""));
    for (body, expected) in [
        ("{}", "queue is missing; it must be a string"),
        (r#"{"queue":null}"#, "queue must be a string"),
        (r#"{"queue":"\u0000"}"#, "queue must not contain the character U+0000"),
        (r#"{"queue":"q","task":"\u0000"}"#, "task must not contain the character U+0000"),
        (r#"{"queue":"q","namespace":"LONG"}"#, "namespace must not be longer than 255 characters"),
    ] {
        let body = body.replace("LONG", &"é".repeat(256));
        assert_eq!(refusal(configure(body.as_bytes())), format!("invalid_field: {expected}"));
    }
}
