//! What attachments are, by their names and by their first octets; nothing is unpacked.

use super::{
    Mark, Marks,
    decode::octets,
    fields::{Content, Encoding},
};

/// A part that is not there to be read in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, if it has one; at most 200 characters.
    pub name: Option<String>,
    /// What its header says that it is, in lower case.
    pub declared: String,
    /// What it is by its first octets, as a media type; none if they say nothing.
    pub detected: Option<&'static str>,
}

/// Looks at an attachment.
pub(super) fn read(content: &Content, body: &[u8], marks: &mut Marks) -> Attachment {
    let head = octets(content, body, HEAD_BYTES).unwrap_or_default();
    marks.set_if(
        Mark::BadEncoding,
        head.is_empty() && content.encoding != Encoding::Plain && !body.is_empty(),
    );
    let detected = infer::get(&head).map(|kind| kind.mime_type());
    let name = content.name.clone();
    marks.set(Mark::Attachment);
    mark_name(name.as_deref().unwrap_or_default(), marks);
    mark_octets(name.as_deref().unwrap_or_default(), detected, &head, marks);
    marks.set_if(Mark::HtmlAttached, content.kind == "text/html");
    Attachment { name, declared: content.kind.clone(), detected }
}

fn mark_name(name: &str, marks: &mut Marks) {
    let extension = extension(name);
    let is_runnable = RUNNABLE.contains(&extension.as_str());
    marks.set_if(Mark::Runnable, is_runnable);
    marks.set_if(Mark::Macros, MACROS.contains(&extension.as_str()));
    marks.set_if(Mark::HtmlAttached, PAGES.contains(&extension.as_str()));
    let stem = name.trim_end().rsplit_once('.').map(|(stem, _)| stem).unwrap_or_default();
    let is_double = is_runnable && HARMLESS.contains(&self::extension(stem).as_str());
    let is_turned = name.contains(['\u{202e}', '\u{202d}', '\u{2066}', '\u{2067}', '\u{2068}']);
    marks.set_if(Mark::DoubleExtension, is_double || is_turned);
}

fn mark_octets(name: &str, detected: Option<&str>, head: &[u8], marks: &mut Marks) {
    let is_program = detected.is_some_and(|kind| PROGRAMS.contains(&kind)) || is_shortcut(head);
    marks.set_if(Mark::Runnable, is_program);
    marks.set_if(Mark::Disguised, is_program && !RUNNABLE.contains(&extension(name).as_str()));
    if let Some(inside) = first_in_zip(head) {
        let flags = u16::from_le_bytes([head[6], head[7]]);
        marks.set_if(Mark::LockedArchive, flags & 1 == 1);
        let inside = extension(&String::from_utf8_lossy(inside));
        marks.set_if(Mark::Runnable, RUNNABLE.contains(&inside.as_str()));
    }
    let has_macros = memchr::memmem::find(head, b"vbaProject.bin").is_some();
    marks.set_if(Mark::Macros, has_macros);
}

/// The name of the first file in a ZIP archive (APPNOTE.TXT §4.3.7).
fn first_in_zip(head: &[u8]) -> Option<&[u8]> {
    if !head.starts_with(b"PK\x03\x04") || head.len() < ZIP_HEADER_BYTES {
        return None;
    }
    let length = usize::from(u16::from_le_bytes([head[26], head[27]]));
    head.get(ZIP_HEADER_BYTES..ZIP_HEADER_BYTES + length)
}

/// A Windows shortcut ([MS-SHLLINK] §2.1).
fn is_shortcut(head: &[u8]) -> bool {
    head.starts_with(b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46")
}

/// What stands behind the last dot, in lower case. Windows leaves out spaces and dots at the end of a name.
fn extension(name: &str) -> String {
    let name = name.trim_end_matches(|c: char| c.is_whitespace() || c == '.');
    name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default()
}

/// What runs, or makes something run, when it is opened with a double click.
const RUNNABLE: [&str; 45] = [
    "exe",
    "scr",
    "com",
    "pif",
    "bat",
    "cmd",
    "cpl",
    "dll",
    "msi",
    "msp",
    "js",
    "jse",
    "vbs",
    "vbe",
    "wsf",
    "wsh",
    "wsc",
    "hta",
    "ps1",
    "psm1",
    "lnk",
    "url",
    "jar",
    "jnlp",
    "reg",
    "chm",
    "inf",
    "scf",
    "sct",
    "gadget",
    "application",
    "appref-ms",
    "iso",
    "img",
    "vhd",
    "vhdx",
    "xll",
    "one",
    "iqy",
    "slk",
    "apk",
    "ace",
    "cab",
    "library-ms",
    "search-ms",
];
const MACROS: [&str; 9] = ["docm", "dotm", "xlsm", "xltm", "xlam", "xlsb", "pptm", "potm", "ppam"];
const PAGES: [&str; 6] = ["htm", "html", "shtml", "xhtml", "mht", "svg"];
const HARMLESS: [&str; 16] = [
    "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "txt", "rtf", "jpg", "jpeg", "png", "gif",
    "zip", "mp3", "csv",
];
const PROGRAMS: [&str; 8] = [
    "application/vnd.microsoft.portable-executable",
    "application/x-executable",
    "application/x-mach-binary",
    "application/java",
    "application/x-ole-storage+msi",
    "application/vnd.android.dex",
    "application/wasm",
    "application/llvm",
];
/// How much of an attachment is looked at.
const HEAD_BYTES: usize = 4 * 1024;
const ZIP_HEADER_BYTES: usize = 30;
