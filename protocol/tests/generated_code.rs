//! The committed FlatBuffers code is that of the committed schemas.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

/// A machine that runs the tests need not have flatc: the first line of the generated file names
/// the CRC-32 of the schemas it was made from. CI runs `schema/regenerate.sh --check` as well.
#[test]
fn generated_code_matches_the_schemas() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut schemas: Vec<_> = std::fs::read_dir(root.join("schema"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "fbs"))
        .collect();
    schemas.sort();
    assert!(!schemas.is_empty());
    let mut crc = flate2::Crc::new();
    for schema in schemas {
        crc.update(&std::fs::read(schema).unwrap());
    }

    let generated = std::fs::read_to_string(root.join("src/native/generated.rs")).unwrap();
    assert_eq!(
        generated.lines().next().unwrap(),
        format!("// schemas: crc32 {:08x}", crc.sum()),
        "the schemas have changed: run protocol/schema/regenerate.sh"
    );
}
