use overlab_dataplane::fields::Segment;

use super::*;

fn text_at<'t>(text: &'t str, document: &Document, path: &str, at_key: bool) -> &'t str {
    let path: Vec<_> = path
        .split('.')
        .map(|part| match part.parse() {
            Ok(index) => Segment::Index(index),
            Err(_) => Segment::Key(part.to_owned()),
        })
        .collect();
    let span = document.positions.locate(&path, at_key);
    &text[span.start as usize..span.end as usize]
}

#[test]
fn every_key_and_value_has_its_place() {
    let text = "a: {b: [x, 'ü y']}\nc:\n  - d: 10ms\n---\ne: |\n  long\n";
    let documents = parse(text).unwrap();
    assert_eq!(documents.len(), 2);
    assert_eq!(text_at(text, &documents[0], "a.b.0", false), "x");
    assert_eq!(text_at(text, &documents[0], "a.b.1", false), "'ü y'");
    assert_eq!(text_at(text, &documents[0], "a.b", false), "b");
    assert_eq!(text_at(text, &documents[0], "c.0.d", false), "10ms");
    assert_eq!(text_at(text, &documents[0], "c.0.d", true), "d");
    assert_eq!(text_at(text, &documents[0], "c.0.missing", false).chars().next(), None);
    assert_eq!(text_at(text, &documents[1], "e", true), "e");
}

#[test]
fn aliases_and_merges_point_at_their_definition() {
    let text = "base: &b {x: 1}\nuse: *b\nmerged: {<<: *b, y: 2}\n";
    let documents = parse(text).unwrap();
    assert_eq!(documents[0].value["merged"], serde_json::json!({"x": 1, "y": 2}));
    assert_eq!(
        documents[0]
            .positions
            .locate(&[Segment::Key("use".into()), Segment::Key("x".into())], false)
            .start,
        13
    );
    assert_eq!(
        documents[0]
            .positions
            .locate(&[Segment::Key("merged".into()), Segment::Key("x".into())], true)
            .start,
        10
    );
}

#[test]
fn a_key_that_is_there_twice_is_refused_with_both_places() {
    let problems = parse("a: 1\nb: {c: 1, c: 2}\n").err().unwrap();
    assert_eq!(problems[0].message, "key `c` is there twice");
    assert_eq!(problems[0].span, Some(Span { start: 15, end: 16 }));
    assert_eq!(problems[0].related.map(|(span, _)| span.start), Some(9));
}

#[test]
fn broken_yaml_is_refused_with_its_place() {
    let problems = parse("a: [1, 2\nb: 3\n").err().unwrap();
    assert_eq!(problems[0].code, "Y-SYNTAX");
    assert!(problems[0].span.is_some());
    assert!(!problems[0].message.contains("line"), "{}", problems[0].message);
}

#[test]
fn json_is_read_as_yaml() {
    let documents = parse("{\"a\": {\"b\": [1, true, null, \"x\"]}}").unwrap();
    assert_eq!(documents[0].value, serde_json::json!({"a": {"b": [1, true, null, "x"]}}));
}

/// Each aims at another limit.
#[test]
fn files_that_would_take_all_memory_are_refused() {
    let laughs = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, i| {
        format!("{text}a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "))
    });
    let aliases = format!("a: &a [x, y]\nb:\n{}", "- *a\n".repeat(2_000_000));
    let anchors: String = (0..1_000_000).map(|i| format!("- &a{i} x\n")).collect();
    let deep = "[".repeat(10_000_000);
    let deep_block = (0..500).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    let merges = format!("a: &a {{x: 1, y: 2}}\nb:\n{}", "- {<<: *a}\n".repeat(1_000_000));
    for text in [laughs, aliases, anchors, deep, deep_block, merges] {
        let problems = parse(&text).err().unwrap();
        assert_eq!(problems[0].code, "Y-LIMIT", "{problems:?}");
    }
}
