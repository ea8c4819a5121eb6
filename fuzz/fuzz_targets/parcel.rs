//! What a node tells the others, as Redis may hand it over: what can be read of it can be kept, or it would stand in the way of all that
//! comes after it, at every node.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, io::Write as _, sync::LazyLock};
use tollgate::{
    rules::alarm::Changes,
    store::{
        archive::{
            self, Archive, Lack,
            stream::{Header, Heard, Parcel, Taken},
        },
        records::Revision,
    },
    types::Timestamp,
};

// The first octet says whether the rest is packed, or is what stands in the package.
fuzz_target!(|octets: &[u8]| {
    let Some((&form, text)) = octets.split_first() else { return };
    let body = if form & 1 == 0 { packed(text) } else { text.to_vec() };
    let header = header();
    let Ok(parcel) = Parcel::read(header.clone(), &body) else { return };
    let until = header.at;
    let heard = Heard { node: header.node, number: header.number, events: 0, until };
    let taken = Taken {
        parcels: vec![(parcel, Changes::default())],
        origins: BTreeMap::from([(header.origin, heard)]),
        position: Revision { mark: 1, number: 1 },
        missed: None,
        lack: Lack::Nothing,
    };
    let kept = GATE.runtime.block_on(GATE.archive.take_in(taken.into()));
    kept.expect("what can be read can be kept");
});

struct Gate {
    runtime: tokio::runtime::Runtime,
    archive: Archive,
    _folder: tempfile::TempDir,
}

static GATE: LazyLock<Gate> = LazyLock::new(|| {
    // In memory, because what is written is not the point.
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let settings = archive::Settings { path: folder.path().join("archive.db") };
    let archive = archive::open(&settings).expect("an archive");
    Gate { runtime, archive, _folder: folder }
});

fn header() -> Header {
    let at = Timestamp::from_millis(1_795_000_000_000);
    Header { origin: [7; 8], node: "b".into(), number: 1, events_before: 0, at }
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}
