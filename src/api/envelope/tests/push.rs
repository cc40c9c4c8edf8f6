//! Pushes.

use super::super::push::PAYLOAD_DEPTH_MAX;
use super::*;

fn read(body: &str) -> Vec<PushItem<'_>> {
    push(body.as_bytes(), 10).unwrap()
}

fn refused(body: &str) -> String {
    refusal(push(body.as_bytes(), 3))
}

/// The refusal of a list whose second item is this one.
fn refused_item(item: &str) -> String {
    refused(&format!(r#"{{"items":[{{"queue":"q"}},{item},17]}}"#))
}

#[test]
fn an_item_is_read_as_it_was_sent() {
    let items = read(
        r#"{"x":1,"items":[{"queue":"orders","partition":"c-17","payload": { "n" : 1 } ,
            "transactionId":"t-1","traceId":"0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10"}]}"#,
    );
    let expected = PushItem {
        queue: "orders".into(),
        partition: "c-17".into(),
        payload: r#"{ "n" : 1 }"#,
        transaction_id: Some("t-1".into()),
        trace_id: Some("0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10".into()),
    };
    assert_eq!(items, [expected]);
}

#[test]
fn what_is_missing_has_its_default() {
    let expected = PushItem {
        queue: "q".into(),
        partition: "Default".into(),
        payload: "null",
        transaction_id: None,
        trace_id: None,
    };
    for item in [
        r#"{"queue":"q"}"#,
        r#"{"queue":"q","payload":null}"#,
        r#"{"queue":"q","transactionId":"","traceId":""}"#,
        r#"{"queue":"q","data":1,"namespace":2,"task":null,"producerSub":[],"":{}}"#,
        r#"{"queue":7,"queue":null,"queue":"q"}"#,
        r#"{"\u0071ueue":"q"}"#,
    ] {
        let body = format!(r#"{{"items":[{item}]}}"#);
        assert_eq!(read(&body), std::slice::from_ref(&expected), "{item}");
    }
    assert_eq!(read(r#"{"items":[]}"#), []);
    assert_eq!(read(r#"{"items":[{"queue":""}]}"#)[0].queue, "");
}

#[test]
fn payloads_stay_the_text_they_were() {
    for payload in [
        "null",
        "true",
        "0",
        "-0.10e+5",
        "1e999",
        "123456789012345678901234567890",
        r#""""#,
        r#""é\u00e9\ud83d\udc51\/""#,
        r#""\ud800""#,
        "[]",
        "[ 1 ,\n\t2\r\n]",
        "{}",
        "{\"a\":1,\n\"a\":2}",
        r#"{"queue":"other","items":[{}]}"#,
    ] {
        let body = format!("{{\"items\":[{{\"payload\": \n{payload}\t,\"queue\":\"q\"}}]}}");
        assert_eq!(read(&body)[0].payload, payload);
    }
}

#[test]
fn a_payload_may_be_nested_so_far() {
    let body = |levels: usize| {
        let deep = "[".repeat(levels) + &"]".repeat(levels);
        (format!(r#"{{"items":[{{"queue":"q"}},{{"queue":"q","payload":{deep}}}]}}"#), deep)
    };
    let (accepted, deep) = body(PAYLOAD_DEPTH_MAX);
    assert_eq!(read(&accepted)[1].payload, deep);
    let problem = "items[1].payload must not be nested deeper than 512 levels";
    for levels in [PAYLOAD_DEPTH_MAX + 1, 100_000] {
        assert!(refused(&body(levels).0).ends_with(problem), "{levels}");
    }
}

#[test]
fn the_last_of_several_equal_names_counts() {
    let items = read(
        r#"{"items":7,"items":[{}],"items":[{"queue":"a","queue":"b","payload":1,"payload":2}]}"#,
    );
    assert_eq!((items.len(), &*items[0].queue, items[0].payload), (1, "b", "2"));
    assert!(refused(r#"{"items":[],"items":7}"#).ends_with("items must be an array"));
}

#[test]
fn text_without_escapes_is_borrowed() {
    let body = r#"{"items":[{"queue":"é","partition":"p","transactionId":"t",
        "traceId":"0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10"},
        {"queue":"a\tb","partition":"\u0070"}]}"#;
    let items = read(body);
    assert!(is_borrowed(&items[0].queue));
    assert!(is_borrowed(&items[0].partition));
    assert!(items[0].transaction_id.as_ref().is_some_and(is_borrowed));
    assert!(items[0].trace_id.as_ref().is_some_and(is_borrowed));
    assert!(body.as_bytes().as_ptr_range().contains(&items[0].queue.as_ptr()));
    assert_eq!((&*items[1].queue, &*items[1].partition), ("a\tb", "p"));
    assert!(!is_borrowed(&items[1].queue));
}

#[test]
fn trace_ids_are_uuids_in_one_form() {
    let expected = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";
    for sent in
        [expected, "0B3E2F52-53F5-4f0a-a5a5-0A86C29A7D10", "0b3e2f5253f54f0aa5a50a86c29a7d10"]
    {
        let body = format!(r#"{{"items":[{{"queue":"q","traceId":"{sent}"}}]}}"#);
        assert_eq!(read(&body)[0].trace_id.as_deref(), Some(expected), "{sent}");
    }
    for sent in
        ["x", "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d1", " ", "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d1é"]
    {
        let item = format!(r#"{{"queue":"q","traceId":"{sent}"}}"#);
        assert_eq!(refused_item(&item), "invalid_field: items[1].traceId must be a UUID", "{sent}");
    }
}

#[test]
fn the_first_bad_field_is_named_with_its_place() {
    let long = "x".repeat(256);
    let table = [
        ("7", "items[1] must be an object"),
        ("null", "items[1] must be an object"),
        ("[]", "items[1] must be an object"),
        ("{}", "items[1].queue is missing; it must be a string"),
        (r#"{"queue":null}"#, "items[1].queue must be a string"),
        (r#"{"queue":7}"#, "items[1].queue must be a string"),
        (r#"{"queue":["q"]}"#, "items[1].queue must be a string"),
        (r#"{"queue":{"q":1}}"#, "items[1].queue must be a string"),
        (r#"{"queue":"q","queue":true}"#, "items[1].queue must be a string"),
        (r#"{"Queue":"q"}"#, "items[1].queue is missing; it must be a string"),
        (r#"{"queue":"\u0000"}"#, "items[1].queue must not contain the character U+0000"),
        (r#"{"queue":"LONG"}"#, "items[1].queue must not be longer than 255 characters"),
        (r#"{"queue":"q","partition":null}"#, "items[1].partition must be a string"),
        (r#"{"queue":"q","partition":1.5}"#, "items[1].partition must be a string"),
        (r#"{"queue":"q","partition":""}"#, "items[1].partition must not be empty"),
        (
            r#"{"queue":"q","partition":"LONG"}"#,
            "items[1].partition must not be longer than 255 characters",
        ),
        (r#"{"queue":"q","transactionId":null}"#, "items[1].transactionId must be a string"),
        (r#"{"queue":"q","transactionId":-1}"#, "items[1].transactionId must be a string"),
        (
            r#"{"queue":"q","transactionId":"LONG"}"#,
            "items[1].transactionId must not be longer than 255 characters",
        ),
        (
            r#"{"queue":"q","transactionId":"a\u0000"}"#,
            "items[1].transactionId must not contain the character U+0000",
        ),
        (r#"{"queue":"q","traceId":null}"#, "items[1].traceId must be a string"),
        (r#"{"queue":"q","traceId":false}"#, "items[1].traceId must be a string"),
        // In the order of the contract, not of the text.
        (r#"{"traceId":1,"partition":1,"queue":1}"#, "items[1].queue must be a string"),
    ];
    for (item, expected) in table {
        let item = item.replace("LONG", &long);
        assert_eq!(refused_item(&item), format!("invalid_field: {expected}"), "{item}");
    }
}

#[test]
fn items_must_be_a_list_of_bounded_length() {
    for (body, expected) in [
        ("{}", "invalid_field: items is missing; it must be an array"),
        (r#"{"items":null}"#, "invalid_field: items must be an array"),
        (r#"{"items":{"queue":"q"}}"#, "invalid_field: items must be an array"),
        (r#"{"items":"q"}"#, "invalid_field: items must be an array"),
        (
            r#"{"items":[{"queue":"q"},{"queue":"q"},{"queue":"q"},{"queue":"q"}]}"#,
            "too_many_items: items must not have more than 3 elements",
        ),
        (
            r#"{"items":[{},{},{},{}]}"#,
            "invalid_field: items[0].queue is missing; it must be a string",
        ),
    ] {
        assert_eq!(refused(body), expected, "{body}");
    }
    assert_eq!(push(br#"{"items":[{"queue":"q"}]}"#, 1).map(|items| items.len()), Ok(1));
    assert_eq!(push(br#"{"items":[]}"#, 0), Ok(vec![]));
}

#[test]
fn a_body_that_breaks_off_is_not_json_whatever_was_wrong_before() {
    assert!(refused(r#"{"items":[{"queue":7},"#).starts_with("invalid_json: Invalid JSON: EOF"));
    assert!(refused(r#"{"items":[{"queue":"\ud800"}]}"#).starts_with("invalid_json: "));
    assert!(push(b"{\"items\":[{\"queue\":\"q\",\"payload\":\"\xff\"}]}", 9).is_err());
}
