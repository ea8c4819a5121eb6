//! Dovecot's passwd-file: `user:{SCHEME}hash:uid:gid:gecos:home:shell:extra`.
//!
//! Only the user and the hash count here, and `nologin` among the extra fields, which closes the account as it does in
//! Dovecot; all other fields (also `allow_nets`) are ignored, so one file may serve both programs. Empty lines and lines
//! that begin with `#` or `:` are skipped. One bad line makes the whole file bad: a half-read file would lock out customers
//! without a word, while a refused one leaves the former in force and says which line it is.

use super::{
    AuthError,
    disguise::{Disguise, Purpose},
    scheme::{Scheme, StoredHash},
    scram::ScramKeys,
};
use crate::types::AccountId;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// All logins of a file.
#[derive(Default)]
pub(super) struct Users {
    hashes: HashMap<AccountId, StoredHash>,
    /// Whose hash is computed for a user that does not exist.
    stand_ins: StandIns,
    /// Whose iterations SCRAM names for a user that does not exist, or has no keys for it.
    scram_stand_ins: StandIns,
}

impl Users {
    pub(super) fn count(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn find(&self, account: &AccountId) -> Option<&StoredHash> {
        self.hashes.get(account)
    }

    /// How many users have keys for SCRAM.
    pub(super) fn scram_count(&self) -> usize {
        self.scram_stand_ins.count()
    }

    /// True if the user exists and the password is right. Takes as long for a user that does not exist.
    pub(super) fn verify(&self, account: &AccountId, password: &[u8], disguise: &Disguise) -> bool {
        let right = self.looked_at(account, disguise).is_some_and(|hash| hash.verify(password));
        right && self.find(account).is_some()
    }

    /// The hash that is computed for this name: the user's own, or that of the user whom an unknown name looks like. Each
    /// scheme and cost stands in for unknown names as often as users have it, so that the time that a name takes says
    /// nothing about it.
    fn looked_at(&self, account: &AccountId, disguise: &Disguise) -> Option<&StoredHash> {
        let stand_in = || self.find(self.stand_ins.choose(account, disguise)?);
        self.find(account).or_else(stand_in)
    }

    /// The keys that a SCRAM exchange with this name is about, and whether they are its own. Those of a name without any
    /// are always the same and fit no password.
    pub(super) fn scram(&self, account: &AccountId, disguise: &Disguise) -> (ScramKeys, Whose) {
        let stand_in = self.scram_stand_ins.choose(account, disguise);
        let like = stand_in.and_then(|someone| self.find(someone)?.scram());
        let drawn = disguise.draw(Purpose::Salt, account);
        // Made for those who have keys, too, so that it takes as long.
        let nobodys = ScramKeys::of_nobody(like.as_ref(), &drawn);
        match self.find(account).and_then(StoredHash::scram) {
            Some(keys) => (keys, Whose::TheirOwn),
            None => (nobodys, Whose::Nobodys),
        }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first bad line.
    fn parse(text: &[u8]) -> Result<Self, BadLine> {
        let mut hashes = HashMap::new();
        let mut seen_in: HashMap<AccountId, usize> = HashMap::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let number = index + 1;
            let bad = |problem: String| BadLine { number, problem };
            let Some(entry) = Entry::parse(line).map_err(bad)? else { continue };
            if let Some(former) = seen_in.insert(entry.account.clone(), number) {
                return Err(bad(format!("{} stands in line {former} already", entry.account)));
            }
            if entry.may_log_in {
                hashes.insert(entry.account, entry.hash);
            }
        }
        let stand_ins = StandIns::among(hashes.iter());
        let with_keys = hashes.iter().filter(|(_, hash)| hash.scheme() == Scheme::ScramSha256);
        let scram_stand_ins = StandIns::among(with_keys);
        Ok(Self { hashes, stand_ins, scram_stand_ins })
    }
}

/// Whose keys a SCRAM exchange is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    TheirOwn,
    Nobodys,
}

/// One user of each scheme and cost, with the number of users that have this or one before it.
#[derive(Default)]
struct StandIns(Vec<(usize, AccountId)>);

impl StandIns {
    fn among<'u>(users: impl Iterator<Item = (&'u AccountId, &'u StoredHash)>) -> Self {
        let mut tally: BTreeMap<_, (usize, &AccountId)> = BTreeMap::new();
        for (account, stored) in users {
            tally.entry(stored.work()).or_insert((0, account)).0 += 1;
        }
        let mut so_far = 0;
        let counted = tally.into_values().map(|(count, account)| {
            so_far += count;
            (so_far, account.clone())
        });
        Self(counted.collect())
    }

    fn count(&self) -> usize {
        self.0.last().map_or(0, |&(count, _)| count)
    }

    /// Whom an unknown name looks like; none if there is nobody.
    fn choose(&self, account: &AccountId, disguise: &Disguise) -> Option<&AccountId> {
        let place = disguise.draw_below(Purpose::Work, account, self.count());
        let index = self.0.partition_point(|&(count, _)| count <= place);
        self.0.get(index).map(|(_, someone)| someone)
    }
}

struct Entry {
    account: AccountId,
    hash: StoredHash,
    may_log_in: bool,
}

impl Entry {
    /// Reads one line; none if it is empty or a comment.
    fn parse(line: &[u8]) -> Result<Option<Self>, String> {
        let line = line.trim_ascii_end();
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b":") {
            return Ok(None);
        }
        let mut fields = line.splitn(EXTRA_FIELD + 1, |&byte| byte == b':');
        let mut text = |what| {
            let octets = fields.next().ok_or_else(|| format!("no {what}"))?;
            std::str::from_utf8(octets).map_err(|_| format!("the {what} is not UTF-8"))
        };
        let account = text("user")?.parse().map_err(|error| format!("the user {error}"))?;
        let hash = text("password")?;
        let hash = StoredHash::parse(hash).map_err(|problem| format!("{account}: {problem}"))?;
        let may_log_in = !fields.nth(EXTRA_FIELD - 2).is_some_and(forbids_login);
        Ok(Some(Self { account, hash, may_log_in }))
    }
}

fn forbids_login(extra: &[u8]) -> bool {
    extra.split(u8::is_ascii_whitespace).any(|word| word == b"nologin" || word == b"nologin=y")
}

#[derive(Debug)]
struct BadLine {
    number: usize,
    problem: String,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { modified: metadata.modified().ok(), bytes: metadata.len(), inode: metadata.ino() }
    }
}

/// Reads a file and returns its users, and its stamp from before it was read.
pub(super) fn load(path: &Path) -> Result<(Users, Stamp), AuthError> {
    let failed = |source| AuthError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let text = read_bounded(file).map_err(failed)?;
    let users = Users::parse(&text).map_err(|bad| AuthError::Line {
        path: path.to_owned(),
        number: bad.number,
        problem: bad.problem,
    })?;
    Ok((users, stamp))
}

fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    match u64::try_from(text.len()) {
        Ok(0..=FILE_BYTES_MAX) => Ok(text),
        _ => Err(io::Error::other(format!("it is larger than {FILE_BYTES_MAX} octets"))),
    }
}

/// Puts a password field into a passwd-file, which is made if it is missing; all other lines and fields stay as they are.
///
/// `field` is what [`super::hash_password`] returns. The file is replaced as a whole, so that a reader sees the old or the
/// new one; two writers wait for each other. A new file has mode 0600; an existing one keeps owner, group and mode, but
/// nobody else's rights.
///
/// # Errors
/// The file cannot be read or written, or the field is not a hash.
pub fn set_password(path: &Path, account: &AccountId, field: &str) -> Result<(), AuthError> {
    StoredHash::parse(field).map_err(AuthError::Hashing)?;
    replace_line(path, account, field)
        .map_err(|source| AuthError::Write { path: path.to_owned(), source })
}

fn replace_line(path: &Path, account: &AccountId, field: &str) -> io::Result<()> {
    // A link stays a link: the file that it names is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lock = File::open(folder_of(&target))?;
    lock.lock()?;
    let (former, metadata) = match File::open(&target) {
        Ok(file) => {
            let metadata = file.metadata()?;
            (read_bounded(file)?, Some(metadata))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
        Err(error) => return Err(error),
    };
    let draft = draft_path(&target);
    write_draft(&draft, &with_password(&former, account, field), metadata.as_ref())
        .and_then(|()| fs::rename(&draft, &target))
        .inspect_err(|_| drop(fs::remove_file(&draft)))?;
    lock.sync_all()
}

fn folder_of(target: &Path) -> &Path {
    let named = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    named.unwrap_or_else(|| Path::new("."))
}

fn draft_path(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    target.with_file_name(name)
}

/// Writes a file that nobody else may read, under the owner and mode of the one that it will replace.
fn write_draft(draft: &Path, text: &[u8], former: Option<&fs::Metadata>) -> io::Result<()> {
    // One that a crash left behind; the lock keeps other writers away.
    if let Err(error) = fs::remove_file(draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text)?;
    if let Some(former) = former {
        keep_owner(&file, former)?;
        file.set_permissions(fs::Permissions::from_mode(former.mode() & 0o770))?;
    }
    file.sync_all()
}

/// Gives the file to the former one's owner and group, where that is not so already.
fn keep_owner(file: &File, former: &fs::Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) == (former.uid(), former.gid()) {
        return Ok(());
    }
    fchown(file, Some(former.uid()), Some(former.gid()))
}

/// The text of a file with this user's password field replaced, or a new line at the end.
fn with_password(former: &[u8], account: &AccountId, field: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(former.len() + field.len() + 64);
    let mut found = false;
    for line in former.split_inclusive(|&byte| byte == b'\n') {
        if found || !is_line_of(line, account) {
            text.extend_from_slice(line);
            continue;
        }
        found = true;
        let mut fields = line.trim_ascii_end().splitn(3, |&byte| byte == b':');
        text.extend_from_slice(fields.next().unwrap_or_default());
        text.push(b':');
        text.extend_from_slice(field.as_bytes());
        text.push(b':');
        text.extend_from_slice(fields.nth(1).unwrap_or(b":::::"));
        text.push(b'\n');
    }
    if !found {
        append_line(&mut text, account, field);
    }
    text
}

fn append_line(text: &mut Vec<u8>, account: &AccountId, field: &str) {
    if text.last().is_some_and(|&last| last != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(format!("{account}:{field}::::::\n").as_bytes());
}

fn is_line_of(line: &[u8], account: &AccountId) -> bool {
    let user = line.split(|&byte| byte == b':').next().unwrap_or_default().trim_ascii_end();
    !line.starts_with(b"#")
        && std::str::from_utf8(user)
            .is_ok_and(|user| user.parse().is_ok_and(|own: AccountId| own == *account))
}

/// The largest file that is read: three million users.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The extra fields come after seven others and may hold colons.
const EXTRA_FIELD: usize = 7;

#[cfg(test)]
mod tests {
    use super::super::scram;
    use super::*;
    use std::num::NonZeroU32;

    /// crypt(3) of `correct horse`.
    const HASH: &str = "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
    const OTHER: &str = "$5$saltsalt12345678$i1Qq2qEmyLpRjqDAuJBXMfiTRE7AwZcaJ.TG3H5UDK9";

    fn id(name: &str) -> AccountId {
        name.parse().unwrap()
    }

    fn disguise() -> Disguise {
        Disguise::open(None).unwrap()
    }

    fn check(line: &str, user: Option<&str>) {
        let users = Users::parse(line.as_bytes()).unwrap_or_else(|bad| panic!("{line}: {bad:?}"));
        assert_eq!(users.count(), usize::from(user.is_some()), "{line}");
        if let Some(user) = user {
            assert!(users.verify(&id(user), b"correct horse", &disguise()), "{line}");
            assert!(!users.verify(&id(user), b"wrong", &disguise()), "{line}");
        }
        assert!(!users.verify(&id("nobody"), b"correct horse", &disguise()), "{line}");
    }

    #[test]
    fn lines_are_read() {
        let all = "1000:1000:Ann, the first:/home/ann:/bin/false";
        for (line, user) in [
            (format!("ann:{{BLF-CRYPT}}{HASH}"), Some("ann")),
            (format!("Ann@Shop.Example:{HASH}:{all}\r"), Some("ann@shop.example")),
            (format!("ann:{HASH}:{all}:userdb_quota_rule=*:storage=1G"), Some("ann")),
            (format!("ann:{HASH}:{all}:allow_nets=192.0.2.0/24 nologin"), None),
            (format!("ann:{HASH}:nologin::::"), Some("ann")),
            (format!("ann:{HASH}::::::\n\n"), Some("ann")),
            (format!("#ann:{HASH}"), None),
            (format!(":{HASH}"), None),
            (String::from("\n  \n"), None),
            (String::new(), None),
        ] {
            check(&line, user);
        }
    }

    #[test]
    fn fields_that_are_ignored_need_not_be_utf8() {
        let mut line = format!("ann:{HASH}:::J").into_bytes();
        line.extend_from_slice(b"\xf6rg:::");
        assert_eq!(Users::parse(&line).unwrap().count(), 1);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, number, says) in [
            (format!("ann:{HASH}\nbob:{{PLAIN}}secret\n"), 2, "bob: a password in clear"),
            (format!("\n# x\nann:{HASH}\nANN:{OTHER}\n"), 4, "line 3"),
            (String::from("ann"), 1, "no password"),
            (format!("ann b:{HASH}"), 1, "user"),
            (String::from("ann::1000"), 1, "no {SCHEME}"),
        ] {
            let bad = Users::parse(text.as_bytes()).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(bad.number, number, "{text}");
            assert!(bad.problem.contains(says), "{}", bad.problem);
            assert!(!bad.problem.contains("secret"), "{}", bad.problem);
        }
    }

    /// Work and not time: what is computed for unknown names is spread over the schemes and costs as users are, and is
    /// always the same for one name, so that neither one look nor many tell who exists.
    #[test]
    fn unknown_names_cost_what_users_cost() {
        let (one, three) = (format!("a:{HASH}\n"), format!("b:{OTHER}\nc:{OTHER}\nd:{OTHER}\n"));
        let closed = format!("e:{OTHER}::::::nologin\n");
        let users = Users::parse((one + &three + &closed).as_bytes()).unwrap();
        let disguise = disguise();
        let work = |name: &str| users.looked_at(&id(name), &disguise).unwrap().work();
        assert_eq!(
            (work("a"), work("b")),
            (users.hashes[&id("a")].work(), users.hashes[&id("c")].work())
        );
        let costly = (0..1000).filter(|n| work(&format!("nobody{n}")) == work("b")).count();
        assert!((650..850).contains(&costly), "three of four users have it: {costly} of 1000");
        for name in ["e", "nobody", "x"] {
            assert_eq!(work(name), work(name));
            assert!(
                !users.verify(&id(name), b"correct horse", &disguise),
                "even with its password"
            );
        }
        let nobody = Users::parse(b"").unwrap();
        assert!(nobody.looked_at(&id("a"), &disguise).is_none());
    }

    #[test]
    fn unknown_names_have_a_salt_like_users() {
        let keys =
            |salt: &[u8], n| ScramKeys::derive(b"x", salt, NonZeroU32::new(n).unwrap()).text();
        let (few, many) = (keys(b"twelve bytes", 4096), keys(b"sixteen bytes ok", 5000));
        let text = format!("a:{{SCRAM-SHA-256}}{few}\nb:{{scram-sha-256}}{many}\nc:{HASH}\n");
        let users = Users::parse(text.as_bytes()).unwrap();
        let disguise = disguise();
        let shown = |name: &str| {
            let (keys, whose) = users.scram(&id(name), &disguise);
            (keys.iterations.get(), keys.salt.to_vec(), whose)
        };
        assert_eq!(users.scram_count(), 2);
        assert_eq!(shown("a"), (4096, b"twelve bytes".to_vec(), Whose::TheirOwn));
        let mut seen = BTreeMap::new();
        for name in (0..200).map(|n| format!("nobody{n}")).chain(["c".to_owned()]) {
            let (iterations, salt, whose) = shown(&name);
            assert_eq!((whose, &shown(&name).1), (Whose::Nobodys, &salt), "the same each time");
            *seen.entry((iterations, salt.len())).or_insert(0) += 1;
        }
        assert_eq!(Vec::from_iter(seen.keys()), [&(4096, 12), &(5000, 16)]);
        assert_ne!(shown("nobody1").1, shown("nobody2").1);

        let without = Users::parse(format!("c:{HASH}").as_bytes()).unwrap();
        let (keys, _) = without.scram(&id("c"), &disguise);
        assert_eq!((keys.iterations, keys.salt.len()), (scram::ITERATIONS, scram::SALT_BYTES));
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in proptest::collection::vec(0_u8.., 0..200), colons in 0_usize..9) {
            let _ = Users::parse(&text);
            let mut line = format!("ann:{HASH}{}", ":".repeat(colons)).into_bytes();
            line.extend_from_slice(&text);
            let _ = Users::parse(&line);
        }

        #[test]
        fn other_users_keep_their_lines(former in "([#a-c]{0,2}(:[x#:]{0,5}){0,3}\r?\n?){0,8}") {
            let ann = id("ann");
            let changed = with_password(former.as_bytes(), &ann, HASH);
            let expected = if former.is_empty() || former.ends_with('\n') {
                former
            } else {
                former + "\n"
            };
            assert_eq!(changed, format!("{expected}ann:{HASH}::::::\n").as_bytes());
            assert_eq!(with_password(&changed, &ann, HASH), changed, "twice changes nothing more");
        }
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("real"), dir.path().join("users"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        std::os::unix::fs::symlink("real/file", &link).unwrap();
        set_password(&link, &id("ann"), HASH).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(load(&folder.join("file")).unwrap().0.count(), 1);
    }

    #[test]
    fn a_password_is_put_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let text = || fs::read_to_string(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        set_password(&path, &id("ann"), HASH).unwrap();
        assert_eq!((text(), mode()), (format!("ann:{HASH}::::::\n"), 0o600));

        let former = format!("# staff\nAnn:{OTHER}:10:20:A:/h:/s:x=1:2\n\nbob:{OTHER}");
        fs::write(&path, former).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        set_password(&path, &id("ann"), HASH).unwrap();
        set_password(&path, &id("cid"), HASH).unwrap();
        let expected =
            format!("# staff\nAnn:{HASH}:10:20:A:/h:/s:x=1:2\n\nbob:{OTHER}\ncid:{HASH}::::::\n");
        assert_eq!((text(), mode()), (expected, 0o640));
        assert!(load(&path).is_ok());

        assert!(set_password(&path, &id("ann"), "secret").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }
}
