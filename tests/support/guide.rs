//! The blocks of `deploy/smarthost/*.md`, which the tests configure real mail servers with.

use std::{collections::BTreeMap, fs, path::Path};

/// The blocks of one chapter of a guide, by the word behind their opening fence.
pub(crate) struct Guide {
    blocks: BTreeMap<String, String>,
}

impl Guide {
    /// Reads a chapter of the guide for a mail server.
    pub(crate) fn chapter(server: &str, title: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/smarthost");
        let path = folder.join(server).with_extension("md");
        let text = fs::read_to_string(&path).unwrap();
        let chapter = text.split("\n## ").find(|chapter| chapter.starts_with(title));
        let chapter = chapter.unwrap_or_else(|| panic!("no chapter {title:?} for {server}"));
        // Fences come in pairs, so every second piece is a block.
        let blocks = chapter.split("```").skip(1).step_by(2).filter_map(|block| {
            let (kind, lines) = block.split_once('\n')?;
            Some((kind.to_owned(), lines.to_owned()))
        });
        Self { blocks: blocks.collect() }
    }

    /// A block; empty if the chapter has none of the kind.
    pub(crate) fn block(&self, kind: &str) -> &str {
        self.blocks.get(kind).map_or("", String::as_str)
    }

    /// The row of the gate's trust table without its `[[trust]]` line.
    pub(crate) fn trust_row(&self) -> String {
        self.block("toml").replace("[[trust]]\n", "")
    }

    /// Puts the test's place in for the guide's.
    pub(crate) fn replace(mut self, from: &str, to: &str) -> Self {
        self.blocks.values_mut().for_each(|block| *block = block.replace(from, to));
        self
    }
}
