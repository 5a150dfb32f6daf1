#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::kafka::Writer;

fn flexible(bytes: &[u8]) -> Reader<'_> {
    let mut reader = Reader::new(bytes);
    reader.set_flexible(true);
    reader
}

fn problem<T: std::fmt::Debug>(result: Result<T, ReadError>) -> ReadProblem {
    result.unwrap_err().problem
}

#[test]
fn both_encodings_return_what_was_written() {
    for is_flexible in [false, true] {
        let mut writer = Writer::new();
        writer.set_flexible(is_flexible);
        writer.int8(-1);
        writer.int16(-2);
        writer.int32(-3);
        writer.int64(-4);
        writer.bool(true);
        writer.uuid(TopicId::from_bytes([7; 16]));
        writer.string("s", "").unwrap();
        writer.string("s", &"é".repeat(100)).unwrap();
        writer.nullable_string("s", None).unwrap();
        writer.bytes("b", &[1; 300]).unwrap();
        writer.nullable_bytes("b", None).unwrap();
        writer
            .nullable_array::<i8>("a", None, |_, _| Ok(()))
            .unwrap();
        writer.unsigned_varint(u32::MAX);
        writer.tagged_fields(&[]).unwrap();
        let bytes = writer.finish();

        let mut reader = Reader::new(&bytes);
        reader.set_flexible(is_flexible);
        assert_eq!(reader.int8("i"), Ok(-1));
        assert_eq!(reader.int16("i"), Ok(-2));
        assert_eq!(reader.int32("i"), Ok(-3));
        assert_eq!(reader.int64("i"), Ok(-4));
        assert_eq!(reader.bool("b"), Ok(true));
        assert_eq!(reader.uuid("u"), Ok(TopicId::from_bytes([7; 16])));
        assert_eq!(reader.string("s").unwrap(), "");
        assert_eq!(reader.string("s").unwrap(), "é".repeat(100));
        assert_eq!(reader.nullable_string("s"), Ok(None));
        assert_eq!(&reader.bytes("b").unwrap()[..], &[1; 300]);
        assert_eq!(reader.nullable_bytes("b"), Ok(None));
        assert_eq!(reader.nullable_array("a", 1, |r| r.int8("i")), Ok(None));
        assert_eq!(reader.unsigned_varint("v"), Ok(u32::MAX));
        reader.skip_tagged_fields().unwrap();
        reader.finish("message").unwrap();
    }
}

#[test]
fn a_text_is_no_longer_than_the_plain_encoding_can_say() {
    // A compact length is the text's and one more, 7 bits a byte.
    let text = |length: usize| {
        let mut bytes = Vec::new();
        let mut rest = length + 1;
        while rest >= 0x80 {
            bytes.push((rest as u8) | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes.resize(bytes.len() + length, b'a');
        bytes
    };
    assert_eq!(flexible(&text(32_767)).string("s").unwrap().len(), 32_767);
    assert_eq!(
        problem(flexible(&text(32_768)).string("s")),
        ReadProblem::TooLong { length: 32_768 }
    );
}

#[test]
fn an_error_names_the_field_and_its_place() {
    let mut reader = Reader::new(&[0, 1, 0, 5, b'a']);
    reader.int16("first").unwrap();
    assert_eq!(
        reader.string("second").unwrap_err().to_string(),
        "field second at byte 4: needs 5 bytes, 1 are left"
    );
}

#[test]
fn lengths_below_minus_one_and_forbidden_nulls_are_refused() {
    let minus_two = [0xff, 0xff, 0xff, 0xfe];
    let length = ReadProblem::NegativeLength { length: -2 };
    assert_eq!(problem(Reader::new(&minus_two).nullable_bytes("b")), length);
    assert_eq!(problem(Reader::new(&minus_two[2..]).string("s")), length);
    assert_eq!(
        problem(Reader::new(&[0xff; 2]).string("s")),
        ReadProblem::Null
    );
    assert_eq!(problem(flexible(&[0]).bytes("b")), ReadProblem::Null);
    let array = flexible(&[0]).array("a", 1, |r| r.int8("i"));
    assert_eq!(problem(array), ReadProblem::Null);
    assert_eq!(
        problem(flexible(&[2, 0xff]).string("s")),
        ReadProblem::NotUtf8
    );
}

#[test]
fn a_varint_of_more_than_32_bits_is_refused() {
    let longest = [0xff, 0xff, 0xff, 0xff, 0x1f];
    assert_eq!(
        problem(Reader::new(&longest).unsigned_varint("v")),
        ReadProblem::VarintTooLong
    );
    assert_eq!(
        problem(Reader::new(&[0x80; 6]).unsigned_varint("v")),
        ReadProblem::VarintTooLong
    );
    assert_eq!(
        problem(Reader::new(&[0x80]).unsigned_varint("v")),
        ReadProblem::Truncated {
            needed: 2,
            available: 1
        }
    );
}

#[test]
fn an_array_may_claim_exactly_what_the_bytes_hold() {
    let bytes = [0, 0, 0, 2, 0, 1, 0, 2];
    let read = |bytes| Reader::new(bytes).array("a", 2, |r| r.int16("i"));
    assert_eq!(read(&bytes), Ok(vec![1, 2]));
    assert_eq!(
        problem(read(&bytes[..7])),
        ReadProblem::CountBeyondBytes {
            count: 2,
            element_bytes: 2,
            available: 3
        }
    );
}

#[test]
fn tagged_fields_rise_and_are_read_to_their_end() {
    let read = |bytes| {
        let mut found = None;
        let mut reader = flexible(bytes);
        reader.tagged_fields(|tag, field| {
            if tag != 3 {
                return Ok(false);
            }
            found = Some(field.int8("known")?);
            Ok(true)
        })?;
        reader.finish("message")?;
        Ok(found)
    };
    assert_eq!(read(&[0]), Ok(None));
    assert_eq!(read(&[2, 1, 2, 0xaa, 0xaa, 3, 1, 9]), Ok(Some(9)));
    let refused = [
        (&[2, 3, 1, 9, 3, 1, 9][..], ReadProblem::TagOrder { tag: 3 }),
        (&[2, 3, 1, 9, 1, 0], ReadProblem::TagOrder { tag: 1 }),
        (&[1, 3, 2, 9, 9], ReadProblem::Trailing { extra: 1 }),
        (&[0, 9], ReadProblem::Trailing { extra: 1 }),
    ];
    for (bytes, expected) in refused {
        assert_eq!(problem(read(bytes)), expected, "{bytes:?}");
    }
    // The position of a field inside of a tagged field counts from the message's begin.
    let error = read(&[1, 3, 0]).unwrap_err();
    assert_eq!((error.field, error.position), ("known", 3));
}
