//! The authenticator as `intake` sees it.

use super::*;
use std::fs;

/// crypt(3) of `correct horse`, cost 4.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
/// crypt(3) of `pässwörd €`, cost 4.
const OTHER: &str = "$2b$04$abcdefghijklmnopqrstuuKnHl.x1yQ06jW2xtQY6ynPSc7M2jr9G";
const RIGHT: &str = "correct horse";
const OFFICE: &str = "192.0.2.1";
const HOTEL: &str = "198.51.100.1";

struct Desk {
    auth: Authenticator,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Desk {
    fn open(users: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        fs::write(&file, users).unwrap();
        let mut settings = Settings {
            passwd_file: Some(file.clone()),
            dovecot: None,
            disguise_file: None,
            cache_entries_max: 100,
            cache_ttl: Duration::from_secs(600),
            hashing: Hashing::default(),
            checks_max: 2,
            pace: pace(3),
        };
        change(&mut settings);
        Self { auth: Authenticator::new(settings).unwrap(), file, _dir: dir }
    }

    fn staffed() -> Self {
        Self::open(&format!("ann@shop.example:{HASH}\nbob@shop.example:{HASH}\n"), |_| ())
    }

    async fn ask(&self, login: &str, password: &str, client: &str, seconds: i64) -> Verdict {
        let password = Secret::new(password.as_bytes());
        sendable(self.auth.check(&attempt(login, client, seconds), &password)).await
    }

    async fn fail(&self, times: usize, login: &str, client: &str, seconds: i64) {
        for _ in 0..times {
            let verdict = self.ask(login, "wrong", client, seconds).await;
            assert_eq!(verdict, Verdict::Rejected, "{login} from {client}");
        }
    }
}

fn attempt<'a>(login: &'a str, client: &str, seconds: i64) -> Attempt<'a> {
    let now = Timestamp::from_millis(1_000_000 + seconds * 1000);
    Attempt { login, client: client.parse().unwrap(), channel: Channel::Tls, now }
}

/// So many failures a minute, and no answer is held back.
fn pace(per_minute: u32) -> PaceRules {
    PaceRules { per_minute, put_off_max: Duration::from_secs(900), delay_max: Duration::ZERO }
}

/// A session may move from thread to thread while it waits.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

fn accepted(login: &str) -> Verdict {
    Verdict::Accepted(login.parse().unwrap())
}

#[tokio::test]
async fn a_password_is_right_or_wrong() {
    let desk = Desk::open(&format!("ann@shop.example:{HASH}\n"), |s| s.pace = pace(100));
    let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
    for (login, password, verdict) in [
        ("ann@shop.example", RIGHT, accepted("ann@shop.example")),
        ("ANN@Shop.Example", RIGHT, accepted("ann@shop.example")),
        ("ann@shop.example", "wrong", Verdict::Rejected),
        ("ann@shop.example", "", Verdict::Rejected),
        ("ann@shop.example", &long, Verdict::Rejected),
        ("ann", RIGHT, Verdict::Rejected),
        ("nobody@shop.example", RIGHT, Verdict::Rejected),
        ("", RIGHT, Verdict::Rejected),
        ("ann@shop.example\r\n", RIGHT, Verdict::Rejected),
    ] {
        assert_eq!(desk.ask(login, password, OFFICE, 0).await, verdict, "{login:?} {password:?}");
    }
}

#[tokio::test]
async fn without_a_file_nobody_logs_in() {
    let desk = Desk::open("", |s| s.passwd_file = None);
    assert_eq!(desk.ask("ann", RIGHT, OFFICE, 0).await, Verdict::Rejected);
    assert_eq!(desk.auth.reload().await.unwrap(), 0);
}

#[tokio::test]
async fn a_network_that_fails_is_put_off_even_with_the_right_password() {
    let desk = Desk::staffed();
    desk.fail(3, "nobody", OFFICE, 0).await;
    for (client, seconds, verdict) in [
        (OFFICE, 0, Verdict::Paced),
        (OFFICE, 19, Verdict::Paced),
        (HOTEL, 0, accepted("bob@shop.example")),
        ("::ffff:192.0.2.1", 0, Verdict::Paced),
    ] {
        let got = desk.ask("bob@shop.example", RIGHT, client, seconds).await;
        assert_eq!(got, verdict, "{client} {seconds}");
    }
    assert_eq!(desk.ask("ann@shop.example", RIGHT, OFFICE, 20).await, accepted("ann@shop.example"));
}

#[tokio::test]
async fn a_whole_ipv6_64_is_one_network() {
    let desk = Desk::staffed();
    for host in 1..=3 {
        desk.fail(1, "nobody", &format!("2001:db8:1:2::{host}"), 0).await;
    }
    let ask = |client| desk.ask("ann@shop.example", RIGHT, client, 0);
    assert_eq!(ask("2001:db8:1:2:ffff::").await, Verdict::Paced);
    assert_eq!(ask("2001:db8:1:3::").await, accepted("ann@shop.example"));
}

#[tokio::test]
async fn a_stranger_cannot_lock_out_the_owner() {
    let desk = Desk::staffed();
    for bot in 1..=3 {
        desk.fail(1, "ann@shop.example", &format!("203.0.113.{bot}"), 0).await;
    }
    let ask = |client| desk.ask("ann@shop.example", RIGHT, client, 0);
    assert_eq!(ask("203.0.113.1").await, Verdict::Paced, "it failed itself");
    assert_eq!(ask(OFFICE).await, accepted("ann@shop.example"));
}

#[tokio::test]
async fn a_failing_device_does_not_lock_out_its_neighbours_who_logged_in_before() {
    let desk = Desk::staffed();
    let ann = |password, client| desk.ask("ann@shop.example", password, client, 0);
    assert_eq!(ann(RIGHT, OFFICE).await, accepted("ann@shop.example"));
    desk.fail(3, "printer", OFFICE, 0).await;
    assert_eq!(ann(RIGHT, OFFICE).await, accepted("ann@shop.example"));
    assert_eq!(desk.ask("bob@shop.example", RIGHT, OFFICE, 0).await, Verdict::Paced);

    // Nor may the device guess a remembered password faster than any other.
    for _ in 0..3 {
        assert_eq!(ann("wrong", OFFICE).await, Verdict::Paced);
    }
    assert_eq!(ann(RIGHT, OFFICE).await, Verdict::Paced);
}

#[tokio::test]
async fn a_remembered_password_costs_no_hash() {
    let desk = Desk::staffed();
    let ann = |password| desk.ask("ann@shop.example", password, OFFICE, 0);
    assert_eq!(ann(RIGHT).await, accepted("ann@shop.example"));
    let all = u32::try_from(desk.auth.places.available_permits()).unwrap();
    let busy = desk.auth.places.acquire_many(all).await.unwrap();
    assert_eq!(ann(RIGHT).await, accepted("ann@shop.example"));
    assert_eq!(ann("wrong").await, Verdict::Unavailable);
    assert_eq!(desk.ask("bob@shop.example", RIGHT, OFFICE, 0).await, Verdict::Unavailable);
    drop(busy);
    assert_eq!(ann("wrong").await, Verdict::Rejected);
    assert_eq!(desk.auth.places.available_permits(), WAITING_MAX + 2, "every turn was given back");
}

#[tokio::test]
async fn attempts_that_waited_are_paced_when_their_turn_comes() {
    let desk = Desk::open(&format!("ann:{HASH}\n"), |s| s.checks_max = 1);
    let ask = || desk.ask("ann", "wrong", OFFICE, 0);
    let got = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask());
    let got = [got.0, got.1, got.2, got.3, got.4, got.5];
    let rejected = got.iter().filter(|&verdict| *verdict == Verdict::Rejected).count();
    let paced = got.iter().filter(|&verdict| *verdict == Verdict::Paced).count();
    assert_eq!((rejected, paced), (3, 3), "{got:?}");
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_answer_has_failed_all_the_same() {
    let desk = Desk::open(&format!("ann:{HASH}\n"), |s| s.pace = pace(1));
    {
        let mut asked = std::pin::pin!(desk.ask("ann", "wrong", OFFICE, 0));
        let first_look = std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx)));
        assert!(first_look.await.is_pending());
    }
    let all = u32::try_from(WAITING_MAX + 2).unwrap();
    drop(desk.auth.places.acquire_many(all).await.unwrap());
    assert_eq!(desk.ask("ann", RIGHT, OFFICE, 0).await, Verdict::Paced);
}

#[tokio::test]
async fn a_reload_takes_the_new_file_whole_or_not_at_all() {
    let desk = Desk::staffed();
    let ann = |password| desk.ask("ann@shop.example", password, OFFICE, 0);
    assert_eq!(ann(RIGHT).await, accepted("ann@shop.example"));

    fs::write(&desk.file, format!("ann@shop.example:{OTHER}\nbob:{{PLAIN}}x\n")).unwrap();
    let error = desk.auth.reload().await.unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("in clear"), "{error}");
    assert_eq!(ann(RIGHT).await, accepted("ann@shop.example"), "the former file is in force");

    fs::write(&desk.file, format!("ann@shop.example:{OTHER}\n")).unwrap();
    assert_eq!((desk.auth.reload().await.unwrap(), desk.auth.users_count()), (1, 1));
    assert_eq!(ann(RIGHT).await, Verdict::Rejected, "what was remembered is void");
    assert_eq!(ann("pässwörd €").await, accepted("ann@shop.example"));

    fs::remove_file(&desk.file).unwrap();
    assert!(matches!(desk.auth.reload().await, Err(AuthError::Read { .. })));
    assert_eq!(ann("pässwörd €").await, accepted("ann@shop.example"));
}

#[tokio::test]
async fn a_changed_file_is_noticed_once() {
    let desk = Desk::staffed();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let auth = Arc::new(desk.auth);
    let watched = Arc::clone(&auth);
    let watch = tokio::spawn(async move {
        watched
            .run_watch(Duration::from_millis(5), move |result| {
                told.send(result.map_err(|error| error.to_string())).unwrap();
            })
            .await;
    });
    let replace = |text: &str| {
        let fresh = desk.file.with_extension("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(&fresh, &desk.file).unwrap();
    };
    replace("nonsense\n");
    let first = heard.recv().await.unwrap();
    assert!(first.is_err(), "{first:?}");
    set_password(&desk.file, &"ann".parse().unwrap(), HASH).unwrap();
    let second = heard.recv().await.unwrap();
    assert!(second.is_err_and(|error| error.contains("line 1")));
    replace(&format!("ann:{HASH}\n"));
    assert_eq!(heard.recv().await.unwrap(), Ok(1));
    watch.abort();
    assert!(watch.await.unwrap_err().is_cancelled());
    assert!(heard.try_recv().is_err(), "each change is told once");
}

#[test]
fn a_bad_file_is_an_error_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let settings = Settings {
        passwd_file: Some(file.clone()),
        dovecot: None,
        disguise_file: None,
        cache_entries_max: 1,
        cache_ttl: Duration::from_secs(1),
        hashing: Hashing::default(),
        checks_max: 1,
        pace: pace(1),
    };
    assert!(matches!(Authenticator::new(settings.clone()), Err(AuthError::Read { .. })));
    fs::write(&file, "ann:secret\n").unwrap();
    let error = Authenticator::new(settings).err().unwrap();
    assert!(matches!(error, AuthError::Line { number: 1, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the paused clock says how long an answer took")]
async fn failures_are_told_later_and_later_and_successes_at_once() {
    let desk = Desk::open(&format!("ann@shop.example:{HASH}\nbob:{HASH}\n"), |s| {
        s.pace = PaceRules { delay_max: Duration::from_secs(5), ..pace(100) };
    });
    let took = async |login: &str, password: &str, client: &str| {
        let began = tokio::time::Instant::now();
        let verdict = desk.ask(login, password, client, 0).await;
        (verdict, began.elapsed().as_secs())
    };
    for seconds in [0, 1, 2, 4, 5, 5] {
        assert_eq!(took("nobody", "wrong", OFFICE).await, (Verdict::Rejected, seconds));
    }
    assert_eq!(took("bob", RIGHT, OFFICE).await, (accepted("bob"), 0), "the right password");
    assert_eq!(took("bob", "wrong", HOTEL).await, (Verdict::Rejected, 0), "another network");
    assert_eq!(took("nobody", "wrong", HOTEL).await.1, 5, "the same login");
    assert_eq!(desk.auth.places.available_permits(), WAITING_MAX + 2, "no turn was held");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_answers_are_held_back() {
    let desk = Desk::open(&format!("ann:{HASH}\n"), |s| {
        s.pace = PaceRules { delay_max: Duration::from_secs(5), ..pace(100) };
    });
    desk.fail(1, "ann", OFFICE, 0).await;
    let all = desk.auth.delays.try_acquire_many(u32::try_from(DELAYS_MAX).unwrap()).unwrap();
    assert_eq!(desk.ask("ann", "wrong", OFFICE, 0).await, Verdict::Unavailable);
    assert_eq!(desk.ask("ann", RIGHT, OFFICE, 0).await, accepted("ann"));
    drop(all);
    assert_eq!(desk.ask("ann", "wrong", OFFICE, 0).await, Verdict::Rejected);
    assert_eq!(desk.auth.delays.available_permits(), DELAYS_MAX, "every place was given back");
}

#[tokio::test]
async fn a_proof_is_paced_like_a_password_and_makes_a_home() {
    let keys = scram::ScramKeys::derive(b"pencil", b"salt", 4096.try_into().unwrap());
    let desk = Desk::open(&format!("ann:{{SCRAM-SHA-256}}{}\n", keys.text()), |_| ());
    // As RFC 5802 §3 has it, from the password on.
    let prove = async |password: &str, client| {
        let mut salted = [0; KEY_BYTES];
        let (hmac, iterations) = (ring::pbkdf2::PBKDF2_HMAC_SHA256, 4096.try_into().unwrap());
        ring::pbkdf2::derive(hmac, iterations, b"salt", password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| {
            ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), text)
        };
        let client_key = sign(&salted, b"Client Key");
        let stored = ring::digest::digest(&ring::digest::SHA256, client_key.as_ref());
        let mut proof = [0; KEY_BYTES];
        let signed = sign(stored.as_ref(), b"message");
        let octets = client_key.as_ref().iter().zip(signed.as_ref()).map(|(a, b)| a ^ b);
        proof.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
        let proof = ScramProof { auth_message: "message".into(), proof };
        desk.auth.check_proof(&attempt("ann", client, 0), &proof).await
    };
    let proven = |verdict| matches!(verdict, Verdict::Proven(..));
    assert!(proven(prove("pencil", OFFICE).await));
    desk.fail(3, "printer", OFFICE, 0).await;
    assert!(proven(prove("pencil", OFFICE).await), "its home is known");
    assert_eq!(desk.ask("ann", "pencil", OFFICE, 0).await, Verdict::Paced);
    for _ in 0..3 {
        assert_eq!(prove("wrong", OFFICE).await, Verdict::Paced);
    }
    assert_eq!(prove("pencil", OFFICE).await, Verdict::Paced, "guessing at it is paced, too");
    assert!(desk.auth.scram_parameters(&attempt("ann", OFFICE, 0)).is_err());
    assert!(desk.auth.scram_parameters(&attempt("ann", HOTEL, 0)).is_ok());
}
