//! A file that is said to be a backup: whatever is in it, only parts that are whole and known come out of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{path::PathBuf, sync::LazyLock};
use tollgate::store::backup::{ARCHIVE, ERASURES, Place, STORE, measure, read_manifest, unpack};

fuzz_target!(|octets: &[u8]| {
    let file = FOLDER.path().join("b.tar");
    std::fs::write(&file, octets).expect("memory");
    let said = read_manifest(&file);
    let places: Vec<Place> =
        [STORE, ARCHIVE, ERASURES].map(|name| Place { name, path: place(name) }).into();
    let found = unpack(&file, &places);
    if let Ok(manifest) = &found {
        assert_eq!(said.as_ref().expect("it was read"), manifest);
        for part in &manifest.parts {
            if let Some(place) = places.iter().find(|place| place.name == part.name) {
                let whole = measure(&place.path).expect("it was written");
                assert_eq!((whole.bytes, &whole.sha256), (part.bytes, &part.sha256));
            }
        }
    }
    for place in places {
        let _ = std::fs::remove_file(place.path);
    }
    let other = std::fs::read_dir(FOLDER.path()).expect("memory").count();
    assert_eq!(other, 1, "nothing is written anywhere else");
});

fn place(name: &str) -> PathBuf {
    FOLDER.path().join(format!("{name}.part"))
}

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a folder in memory"));
