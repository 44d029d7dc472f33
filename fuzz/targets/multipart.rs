//! A form: any split of its bytes gives the same fields or the same refusal, within the limits.
#![no_main]

mod pieces;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use qwen_edge::api::openai::wire_form;
use qwen_edge::server::fuzzing::form;

const TYPE: &str = "multipart/form-data; boundary=X";
const LIMIT: u64 = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, data)) = pieces::parts(input) else { return };
    let read = |pieces: &[&[u8]]| {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        futures::executor::block_on(form(TYPE, pieces, LIMIT))
    };
    let (at_once, in_pieces) = (read(&[data]), read(&pieces::pieces(cuts, data)));
    match (at_once, in_pieces) {
        (Ok(at_once), Ok(in_pieces)) => {
            assert_eq!(at_once, in_pieces);
            let size: usize = at_once.iter().map(|(_, _, content)| content.len()).sum();
            assert!(size <= data.len() && at_once.len() <= 100);
        }
        (Err(at_once), Err(in_pieces)) => {
            assert!((400..500).contains(&wire_form(at_once.kind()).status));
            assert_eq!(at_once.kind(), in_pieces.kind());
        }
        (at_once, in_pieces) => panic!("{at_once:?} at once, {in_pieces:?} in pieces"),
    }
});
