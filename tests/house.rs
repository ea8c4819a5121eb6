//! The rules of the house, as plain tests: who may import whom, what the pure half never touches, links that lead
//! somewhere, configurations that load, replies that are documented, and checks that fail when they cannot check.

#![expect(clippy::unwrap_used, reason = "a test may stop at anything it did not expect")]

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

// ── who may import whom ──

/// The modules from the ground up; each may import those of the lines above its own, and none of its own line.
const LAYERS: [&[&str]; 16] = [
    &["types"],
    &["clock"],
    &["event"],
    &["smtp", "message", "chart"],
    &["rules"],
    &["dial"],
    &["net", "auth", "scan", "resolve", "store", "spool", "telemetry", "notify", "mailbox"],
    &["standing"],
    &["deliver"],
    &["admin"],
    &["watch"],
    &["intake"],
    &["config"],
    &["http"],
    &["cli"],
    &["app"],
];

#[test]
fn modules_import_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let importer = module_of(&file);
        for imported in imports(&code_of(&file)) {
            if !may_import(&importer, &imported) {
                wrong.push(format!("{}: {importer} must not import {imported}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_import_check_sees_what_it_should() {
    let code = "use crate::{\n    store::{ledger::Ledger, records},\n    types::Key,\n};\nfn f() { crate::app::g() }";
    let seen: Vec<String> = imports(code).into_iter().collect();
    assert_eq!(seen, ["app", "store", "types"]);
    assert!(may_import("intake", "store") && may_import("intake", "deliver"));
    assert!(!may_import("store", "spool") && !may_import("rules", "store"));
    assert!(!may_import("types", "event") && may_import("smtp", "clock"));
}

fn may_import(importer: &str, imported: &str) -> bool {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    match (layer(importer), layer(imported)) {
        _ if importer == imported => true,
        // main and lib stand above everything.
        (None, Some(_)) => ["main", "lib"].contains(&importer),
        (Some(importer), Some(imported)) => imported < importer,
        (_, None) => false,
    }
}

/// The first segment of every path that begins with `crate::` or, in main.rs, with `tollgate::`.
fn imports(code: &str) -> BTreeSet<String> {
    let code = code.replace("tollgate::", "crate::");
    let mut found = BTreeSet::new();
    for (_, rest) in
        code.match_indices("crate::").map(|(at, found)| (at, &code[at + found.len()..]))
    {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_segments(group)),
            None => found.extend(word(rest)),
        }
    }
    found.into_iter().filter(|name| name.starts_with(char::is_lowercase)).collect()
}

/// The words of a `{…}` group that stand at its own depth and begin an entry.
fn first_segments(group: &str) -> Vec<String> {
    let (mut depth, mut entry, mut entries) = (0_u32, String::new(), Vec::new());
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => entries.push(std::mem::take(&mut entry)),
            _ if depth == 0 => entry.push(character),
            _ => {}
        }
    }
    entries.push(entry);
    entries.iter().filter_map(|entry| word(entry.trim())).collect()
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

// ── what is kept where ──

#[test]
fn the_pure_half_does_no_io() {
    let forbidden = [
        "tokio",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "std::fs",
        "fs::",
        "std::io",
        "tracing",
        "async ",
        ".await",
        "std::thread",
        "getrandom",
        "Instant",
        "SystemTime",
        "println!",
        "Mutex",
        "clock::",
    ];
    for module in ["smtp", "message", "chart", "rules"] {
        for file in rust_files(&format!("src/{module}")) {
            let code = code_of(&file);
            for word in forbidden {
                assert!(!code.contains(word), "{} uses {word:?}", file.display());
            }
        }
    }
}

#[test]
fn only_the_embedded_store_knows_its_database() {
    let knowing: Vec<PathBuf> =
        rust_files("src").into_iter().filter(|file| code_of(file).contains("rusqlite")).collect();
    for file in &knowing {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy();
        let may = ["src/store/sqlite", "src/store/archive"].map(|home| path.starts_with(home));
        assert!(may.contains(&true), "{path} knows rusqlite");
    }
    assert!(!knowing.is_empty(), "the embedded store is somewhere else now: correct this test");
}

#[test]
fn only_the_shared_ledger_knows_redis() {
    let is_import = |line: &str| line.starts_with("use redis::") || line.contains("::redis::Redis");
    let knows = |file: &PathBuf| code_of(file).lines().map(str::trim).any(is_import);
    let knowing: Vec<PathBuf> = rust_files("src").into_iter().filter(knows).collect();
    for file in &knowing {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy();
        assert!(path.starts_with("src/store/redis/"), "{path} knows the crate redis");
    }
    assert!(!knowing.is_empty(), "the shared ledger is somewhere else now: correct this test");
}

#[test]
fn one_crypto_provider_is_built_in() {
    let lock = read(&root().join("Cargo.lock"));
    assert!(lock.contains("name = \"ring\"") && !lock.contains("aws-lc"), "see Cargo.lock");
}

#[test]
fn every_module_says_what_it_is_for() {
    for file in rust_files("src") {
        assert!(read(&file).starts_with("//! "), "{} begins without a doc", file.display());
    }
}

// ── what is written about it ──

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut dead = Vec::new();
    for document in files(&root(), "md") {
        for link in links(&read(&document)) {
            let target = document.parent().unwrap().join(&link);
            if !target.exists() {
                dead.push(format!("{} → {link}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// The relative targets of `[text](target)`, without their anchors.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files
        .filter(|file| !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:"))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_proof_that_security_names_exists() {
    let page = read(&root().join("docs/security.md"));
    let code: String = ["src", "tests"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .map(|file| read(&file))
        .collect();
    let proofs: Vec<&str> = page.lines().flat_map(proofs).collect();
    assert!(proofs.len() > 100, "the test finds the proofs no longer: {proofs:?}");
    let exists = |proof: &str| match proof.strip_suffix(".smtp") {
        Some(_) => root().join("tests/dialogs").join(proof).exists(),
        None => {
            code.contains(&format!("fn {proof}("))
                || root().join(format!("fuzz/fuzz_targets/{proof}.rs")).exists()
        }
    };
    let missing: Vec<&str> = proofs.into_iter().filter(|proof| !exists(proof)).collect();
    assert!(missing.is_empty(), "docs/security.md names what is not there: {missing:?}");
}

/// What stands in backticks in the last column of a row.
fn proofs(line: &str) -> impl Iterator<Item = &str> {
    let row = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |"));
    let last = row.and_then(|row| row.rsplit(" | ").next()).unwrap_or_default();
    last.split('`').skip(1).step_by(2).filter(|proof| !proof.contains("::"))
}

#[test]
fn every_reply_is_documented() {
    let table = read(&root().join("docs/smtp-replies.md"));
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    let mut given = BTreeSet::new();
    for file in rust_files("src") {
        given.extend(replies(&code_of(&file)));
    }
    let documented = |(code, status): &(String, String)| {
        rows.iter().any(|row| row.contains(code.as_str()) && row.contains(status.as_str()))
    };
    let missing: Vec<_> = given.iter().filter(|reply| !documented(reply)).collect();
    assert!(missing.is_empty(), "docs/smtp-replies.md has no row for {missing:?}");
    assert!(given.len() > 30, "the test finds the replies no longer: {given:?}");
}

/// Every code with its enhanced status, written as `450, "4.7.1"` or as `"450 4.7.1 text"`.
fn replies(code: &str) -> Vec<(String, String)> {
    let pieces: Vec<&str> = code.split('"').collect();
    let apart = pieces.windows(2).filter_map(|pair| {
        let number = pair[0].trim_end().strip_suffix(',')?;
        let number = number.get(number.len().checked_sub(3)?..)?;
        Some((number, pair[1]))
    });
    let in_one = pieces.iter().filter_map(|piece| {
        let (number, rest) = piece.split_once(' ')?;
        Some((number, rest.split(' ').next()?))
    });
    apart
        .chain(in_one)
        .filter(|(number, status)| is_reply(number, status))
        .map(|(number, status)| (number.to_owned(), status.to_owned()))
        .collect()
}

/// True of three digits and an enhanced status of the same class.
fn is_reply(number: &str, status: &str) -> bool {
    let parts: Vec<&str> = status.split('.').collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number.len() == 3
        && digits(number)
        && parts.len() == 3
        && parts.iter().all(|part| digits(part))
        && number.starts_with(parts[0])
}

#[test]
fn every_configuration_loads() {
    let folder = tempfile::tempdir().unwrap();
    let (rules, mut configurations): (Vec<_>, Vec<_>) = files(&root().join("config"), "toml")
        .into_iter()
        .partition(|file| named_by(file).is_some());
    assert!(configurations.len() >= 2 && rules.len() == 2, "{configurations:?} {rules:?}");
    for (number, rules) in rules.iter().enumerate() {
        // Content rules and blocklists are checked through a configuration that names them.
        let file = folder.path().join(format!("with-rules-{number}.toml"));
        let quickstart = read(&root().join("config/quickstart.toml"));
        let (table, key) = named_by(rules).unwrap();
        let named = format!("{quickstart}\n[{table}]\n{key} = {:?}\n", rules.display().to_string());
        fs::write(&file, named).unwrap();
        configurations.push(file);
    }
    for file in configurations {
        let checked = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args([OsStr::new("check-config"), OsStr::new("--config"), file.as_os_str()])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}: {checked:#?}", file.display());
    }
}

/// The key of a configuration that names a file which is none itself.
fn named_by(file: &Path) -> Option<(&'static str, &'static str)> {
    match file.file_stem()?.to_str()? {
        "content" => Some(("spam", "content_rules")),
        "blocklists" => Some(("blocklist", "lists_file")),
        _ => None,
    }
}

#[test]
fn nothing_depends_on_where_it_was_written() {
    let home = std::env::var("HOME").unwrap_or_default() + "/";
    // Without a home, or with the root folder for one, its name says nothing.
    let home = if home.len() > "//".len() { home.as_str() } else { env!("CARGO_MANIFEST_DIR") };
    let places = [env!("CARGO_MANIFEST_DIR"), home];
    for kind in ["rs", "md", "toml", "py", "service", "smtp", "txt", "run"] {
        for file in files(&root(), kind).into_iter().filter(|file| !file.ends_with(file!())) {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            for place in places {
                assert!(!text.contains(place), "{} names {place}", file.display());
            }
        }
    }
}

// ── checks that cannot check must fail ──

#[test]
fn the_test_command_fails_when_a_tool_is_missing() {
    let tools = tempfile::tempdir().unwrap();
    for name in ["bash", "dirname", "id", "dpkg-query", "cargo"] {
        let found =
            Command::new("bash").args(["-c", &format!("command -v {name}")]).output().unwrap();
        let path = String::from_utf8(found.stdout).unwrap();
        symlink(path.trim(), tools.path().join(name)).unwrap();
    }
    let run = tools_only(tools.path());
    let complaint = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success(), "{run:?}");
    for tool in ["swaks", "curl", "python3"] {
        assert!(complaint.contains(&format!("missing: {tool} ")), "{complaint}");
    }
}

fn tools_only(path: &Path) -> Output {
    Command::new("bash")
        .arg(root().join("tests/run"))
        .env("PATH", path)
        .env("TOLLGATE_TESTS_TOOLS_ONLY", "1")
        .output()
        .unwrap()
}

// ── files ──

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first folder or file under src/ that a file belongs to.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// A source file without its comments and without the tests at its end.
fn code_of(file: &Path) -> String {
    let text = read(file);
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.split(" // ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let found = files(&root().join(folder), "rs");
    assert!(!found.is_empty(), "{folder} is empty");
    // Test modules in files of their own.
    found.into_iter().filter(|file| file.file_stem() != Some(OsStr::new("tests"))).collect()
}

/// All files of one kind below a folder, without what is built or made while running.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let is_ours = !["target", "var", ".git"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new(extension)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
