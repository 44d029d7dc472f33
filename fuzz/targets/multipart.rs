//! A form: packet boundaries change neither the fields nor the error, and the limits apply.
#![no_main]

mod pieces;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use qwen_edge::api::openai::wire_form;
use qwen_edge::server::fuzzing::form;

const CONTENT_TYPE: &str = "multipart/form-data; boundary=X";
const MAX_FILE_BYTES: u64 = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, data)) = pieces::parts(input) else { return };
    let read = |chunks: &[&[u8]]| {
        let chunks = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect();
        futures::executor::block_on(form(CONTENT_TYPE, chunks, MAX_FILE_BYTES))
    };
    let (at_once, in_chunks) = (read(&[data]), read(&pieces::pieces(cuts, data)));
    match (at_once, in_chunks) {
        (Ok(at_once), Ok(in_chunks)) => {
            assert_eq!(at_once, in_chunks);
            let size: usize = at_once.iter().map(|(_, _, content)| content.len()).sum();
            assert!(size <= data.len() && at_once.len() <= 100);
        }
        (Err(at_once), Err(in_chunks)) => {
            assert!((400..500).contains(&wire_form(at_once.kind()).status));
            assert_eq!(at_once.kind(), in_chunks.kind());
        }
        (at_once, in_chunks) => panic!("{at_once:?} at once, {in_chunks:?} in chunks"),
    }
});
