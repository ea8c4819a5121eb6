use super::*;

fn read(text: &str) -> Facts {
    read_octets(text.as_bytes())
}

fn read_octets(text: &[u8]) -> Facts {
    facts(&Excerpt { text, form: Form::Plain, size: ByteCount::new(text.len() as u64) })
}

/// A message with everything that a message should have, fields added at the end of its header.
fn message(fields: &str, body: &str) -> String {
    format!(
        "From: Ana <ana@shop.example>\r\nTo: bo@firm.example\r\nSubject: Lunch\r\n\
         Date: Sun, 22 Nov 2026 09:14:07 +0100\r\nMessage-ID: <1@shop.example>\r\n{fields}\r\n{body}"
    )
}

fn marks_of(fields: &str, body: &str) -> Vec<&'static str> {
    read(&message(fields, body)).marks.iter().map(Mark::name).collect()
}

const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";

#[test]
fn an_ordinary_message_has_no_marks() {
    let found = read(&message("X-Mailer: Quill 1\r\n", "See you at one.\r\n"));
    assert_eq!(found.marks, Marks::default());
    assert_eq!(found.authors.from, ["ana@shop.example".parse().unwrap()]);
    assert_eq!(found.authors.name.as_deref(), Some("Ana"));
    assert_eq!((found.subject.as_str(), found.text.as_str()), ("Lunch", "See you at one.\n"));
    assert_eq!(found.date, Some("2026-11-22T08:14:07Z".parse().unwrap()));
    assert_eq!(
        (found.mailer.as_deref(), found.recipients_shown, found.parts),
        (Some("Quill 1"), 1, 1)
    );
}

#[test]
fn fields_set_marks() {
    let check = |fields: &str, expected: &[&str]| {
        assert_eq!(marks_of(fields, "text\r\n"), expected, "{fields}");
    };
    check("In-Reply-To: <2@x.example>\r\n", &["reply"]);
    check("References:\r\n <2@x.example>\r\n", &["reply"]);
    check("Reply-To: x@free.example\r\n", &["reply-elsewhere"]);
    check("Reply-To: x@mail.shop.example\r\n", &[]);
    check("Sender: x@free.example\r\n", &["sender-elsewhere"]);
    check(
        "List-ID: <l.shop.example>\r\nlist-unsubscribe: <https://x>\r\n",
        &["list-id", "list-unsubscribe"],
    );
    check("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", &["one-click"]);
    check("Precedence: Bulk\r\n", &["bulk"]);
    check("Precedence: first-class\r\n", &[]);
    check("Auto-Submitted: auto-replied (vacation)\r\n", &["auto-replied"]);
    check("Auto-Submitted: auto-generated\r\n", &["auto-generated"]);
    check("Auto-Submitted: no\r\n", &[]);
    check("X-PHP-Originating-Script: 33:a.php\r\n", &["php"]);
    check("X-Forwarded-For: a@b.example c@d.example\r\n", &["forwarded"]);
    check("Resent-From: a@b.example\r\n", &["forwarded"]);
    check("DKIM-Signature: v=1\r\n", &["signed"]);
    check("X-Priority: 1 (Highest)\r\n", &["urgent"]);
    check("Disposition-Notification-To: x@shop.example\r\n", &["receipt-wanted"]);
    check("Subject: again\r\n", &["doubled-field"]);
    check("Received: from x\r\nReceived: from y\r\n", &[]);
    check("no field\r\n", &["broken-header"]);
    check(
        "Content-Type: multipart/report; boundary=x\r\n",
        &["report", "no-text", "broken-multipart"],
    );
}

#[test]
fn what_is_missing_is_marked() {
    let marks: Vec<&str> = read("X: y\r\n\r\ntext").marks.iter().map(Mark::name).collect();
    let missing = ["no-from", "recipients-hidden", "no-subject", "no-date", "no-message-id"];
    assert_eq!(marks, missing);
    let head = "From: \"ceo@firm.example\" <x@free.example>, y@free.example\r\n\
                To: undisclosed-recipients:;\r\nSubject: =?utf-8?q?Re=3A_a?=\r\nDate: tomorrow\r\n\
                Message-ID: <1@localhost.localdomain>\r\n\r\ntext";
    let marks: Vec<&str> = read(head).marks.iter().map(Mark::name).collect();
    let strange = [
        "several-authors",
        "name-shows-other-address",
        "recipients-hidden",
        "bad-date",
        "local-message-id",
        "subject-reply",
    ];
    assert_eq!(marks, strange);
}

#[test]
fn the_script_of_php_is_named() {
    let found = read(&message("X-PHP-Originating-Script: 1042:wp-mail.php\r\n", "x"));
    assert_eq!(found.origin, Some(Origin { owner: 1042, script: "wp-mail.php".into() }));
}

#[test]
fn text_is_decoded() {
    let check = |fields: &str, body: &[u8], expected: &str| {
        let text = [message(fields, "").as_bytes(), body].concat();
        assert_eq!(read_octets(&text).text.trim_end(), expected, "{fields}");
    };
    let encoding = "Content-Transfer-Encoding: ";
    check(&format!("{encoding}quoted-printable\r\n"), b"caf=C3=A9 =\r\nau lait", "café au lait");
    check(&format!("{encoding}base64\r\n"), b"Y2Fm\r\nw6kg\r\n", "café");
    check("Content-Type: text/plain; charset=iso-8859-1\r\n", b"caf\xe9", "café");
    check("Content-Type: text/plain; charset=windows-1251\r\n", b"\xcf\xf0\xe8", "При");
    check("", b"caf\xe9", "caf\u{fffd}");
    check("Content-Type: text/plain; charset=none-such\r\n", b"caf\xc3\xa9", "café");
    assert_eq!(marks_of(&format!("{encoding}base64\r\n"), "?!?!"), ["bad-encoding"]);
    assert_eq!(marks_of(&format!("{encoding}uuencode\r\n"), "x"), ["bad-encoding"]);
    assert_eq!(marks_of(&format!("{encoding}base64\r\n"), "YWJj"), ["needless-base64"]);
}

#[test]
fn dots_that_were_put_in_are_taken_out() {
    let text = message("", "a\r\n..b\r\n. c\r\n");
    let excerpt = |form| {
        let size = ByteCount::new(text.len() as u64);
        facts(&Excerpt { text: text.as_bytes(), form, size }).text
    };
    assert_eq!(excerpt(Form::Stuffed), "a\r\n.b\r\n c\n");
    assert_eq!(excerpt(Form::Plain), "a\r\n..b\r\n. c\n");
}

#[test]
fn what_a_reader_sees_of_a_page_is_its_text() {
    let check = |body: &str, text: &str, marks: &[&str]| {
        let found = read(&message(HTML, body));
        assert_eq!(found.text.trim(), text, "{body}");
        let all: Vec<&str> = found.marks.iter().map(Mark::name).collect();
        assert_eq!(all[..2], ["html", "html-only"], "{body}");
        assert_eq!(all[2..], *marks, "{body}");
    };
    check("<p>Vi<b></b>ag<!-- x -->ra &amp; &#67;o</p><p>now", "Viagra & Co\nnow", &[]);
    check("<title>t</title><style>s</style>a<script>x<b</script>b", "ab", &["html-script"]);
    check("a<span style='display: none'>hid<span>d</span>en</span>b", "ab", &["html-hidden"]);
    check("a<div hidden>hidden</div>b", "a\nb", &["html-hidden"]);
    check("a<i style=\"font-size:1px !important\">hidden</i>b", "ab", &["html-hidden"]);
    check("a<i style='font-size:1em'>shown</i>b", "ashownb", &[]);
    check("a<br style='display:none'>b", "a\nb", &[]);
    check("a<form action=/x>b</form>", "ab", &["html-form"]);
    check("<img src='http://x.example/a'>b", "b", &["remote-image"]);
    check("<img src='cid:a'>b", "b", &[]);
}

#[test]
fn links_are_listed_by_host() {
    let hosts = |fields: &str, body: &str| -> Vec<(String, String)> {
        let found = read(&message(fields, body));
        found.links.into_iter().map(|link| (link.host, link.domain)).collect()
    };
    let pair = |host: &str, domain: &str| (host.to_owned(), domain.to_owned());
    let text = "HTTP://WWW.Shop.co.uk/a?b (www.firm.example), https://a.github.io/x. http:// x://y.example \
                https://shop.co.uk:8080 ftp://f.example";
    assert_eq!(
        hosts("", text),
        [
            pair("www.shop.co.uk", "shop.co.uk"),
            pair("a.github.io", "a.github.io"),
            pair("shop.co.uk", "shop.co.uk"),
            pair("f.example", "f.example"),
            pair("www.firm.example", "firm.example"),
        ]
    );
    let odd = "http:///a.example/b http://b.example\\c http://c.example?d=//x http://d.example#//x";
    assert_eq!(
        hosts("", odd),
        ["a.example", "b.example", "c.example", "d.example"].map(|host| pair(host, host))
    );
    let split = "<a href='https:/\t/\ta.ex\nample/b'>a</a> <a href='https:b.example//c'>b</a>";
    assert_eq!(hosts(HTML, split), ["a.example", "b.example"].map(|host| pair(host, host)));
    let page = "<a href='http://x@3221225985/'>a</a> <a href=' //m\u{fc}ller.example/b'>b</a> <a href='/c'>c</a>";
    let expected =
        [pair("192.0.2.1", "192.0.2.1"), pair("xn--mller-kva.example", "xn--mller-kva.example")];
    assert_eq!(hosts(HTML, page), expected);
    let marks = ["html", "html-only", "link-to-address", "link-punycode", "link-credentials"];
    assert_eq!(marks_of(HTML, page), marks);
}

#[test]
fn a_link_that_shows_another_is_a_trick() {
    let check = |body: &str, is_trick: bool| {
        assert_eq!(marks_of(HTML, body).contains(&"link-mismatch"), is_trick, "{body}");
    };
    check("<a href='http://evil.example/'>https://bank.example/login</a>", true);
    check("<a href='http://evil.example/'> <b>www.Bank.example</b> </a>", true);
    check("<a href='http://evil.example/'>the bank at https://bank.example</a>", false);
    check("<a href='http://x.bank.example/'>https://www.bank.example/login</a>", false);
    check("<a href='http://evil.example/'>Bank</a> https://bank.example", false);
}

/// Parts of a multipart with the boundary `b`, each with its header.
fn multipart(parts: &[&str]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
    message(
        "Content-Type: multipart/mixed; boundary=b\r\n",
        &format!("{}--b--\r\n", parts.concat()),
    )
}

#[test]
fn parts_are_told_apart() {
    let inner = "Content-Type: multipart/alternative; boundary=\"c c\"\r\n\r\n\
                 --c c\r\n\r\nplain\r\n--c c\r\nContent-Type: text/html\r\n\r\n<p>page\r\n--c c--";
    let forwarded =
        "Content-Type: message/rfc822\r\n\r\nSubject: x\r\nContent-Type: text/plain\r\n\r\ninside";
    let found = read(&multipart(&[inner, forwarded, "Content-Type: image/png\r\n\r\nx"]));
    assert_eq!(found.text.split_whitespace().collect::<Vec<_>>(), ["plain", "page", "inside"]);
    assert_eq!((found.parts, found.attachments.len()), (4, 1));
    assert_eq!(found.marks, [Mark::Html, Mark::Attachment].into_iter().collect());
}

#[test]
fn broken_parts_are_read_as_far_as_they_go() {
    let check = |text: &str, words: &[&str], mark: Option<Mark>| {
        let found = read(text);
        assert_eq!(found.text.split_whitespace().collect::<Vec<_>>(), words, "{text}");
        assert_eq!(found.marks, mark.into_iter().collect(), "{text}");
    };
    let kind = "Content-Type: multipart/mixed";
    let begin = |body: &str| message(&format!("{kind}; boundary=b\r\n"), body);
    check(&begin("--b\r\n\r\na\r\n"), &["a"], Some(Mark::BrokenMultipart));
    check(&message(&format!("{kind}\r\n"), "a"), &["a"], Some(Mark::BrokenMultipart));
    check(&begin("--b\r\nX: y\r\n--b\r\n\r\na\r\n--b--\r\n"), &["a"], None);
    check(&begin("--b\r\n\r\na\r\n--bb\r\n--b--\r\n--b\r\n\r\nc"), &["a", "--bb"], None);
    check(&begin("--b\n\na\n--b\n\nb\n--b--"), &["a", "b"], None);
    check(&begin("--b--\r\n"), &[], Some(Mark::NoText));
}

#[test]
fn attachments_are_known_by_what_they_are() {
    let check = |header: &str, body: &str, detected: Option<&str>, marks: &[Mark]| {
        let found = read(&multipart(&["\r\ntext", &format!("{header}\r\n\r\n{body}")]));
        let all: Marks = marks.iter().copied().chain([Mark::Attachment]).collect();
        assert_eq!(found.marks, all, "{header}");
        assert_eq!(found.attachments[0].detected, detected, "{header}");
    };
    let named = |name: &str| format!("Content-Disposition: attachment; filename=\"{name}\"");
    let base64 = |name: &str| format!("{}\r\nContent-Transfer-Encoding: base64", named(name));
    let pdf = Some("application/pdf");
    check(&named("a.pdf"), "%PDF-1.7", pdf, &[]);
    check(&named("a.txt"), "x", None, &[]);
    check(&named("a.EXE"), "x", None, &[Mark::Runnable]);
    check(&named("a.exe. "), "x", None, &[Mark::Runnable]);
    check(&named("bill.pdf.js"), "x", None, &[Mark::Runnable, Mark::DoubleExtension]);
    check(&named("a\u{202e}fdp.exe"), "x", None, &[Mark::Runnable, Mark::DoubleExtension]);
    check(&named("a.docm"), "x", None, &[Mark::Macros]);
    check(&named("a.html"), "x", None, &[Mark::HtmlAttached]);
    check(
        "Content-Type: text/html; name=a\r\nContent-Disposition: attachment",
        "x",
        None,
        &[Mark::HtmlAttached],
    );
    let program = Some("application/vnd.microsoft.portable-executable");
    check(
        &base64("a.pdf"),
        "TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAA=",
        program,
        &[Mark::Runnable, Mark::Disguised],
    );
    // A ZIP archive whose first file is a.js and needs a password.
    let archive = Some("application/zip");
    check(
        &base64("a.zip"),
        "UEsDBAoAAQAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAYS5qcw==",
        archive,
        &[Mark::Runnable, Mark::LockedArchive],
    );
    check(
        "Content-Disposition: attachment; filename*=utf-8''%61%2e%65xe",
        "x",
        None,
        &[Mark::Runnable],
    );
    check(
        "Content-Type: application/x; name=\"=?utf-8?B?YS5leGU=?=\"",
        "x",
        None,
        &[Mark::Runnable],
    );
}

#[test]
fn scripts_and_their_tricks_are_seen() {
    let check = |text: &str, shares: &[(&str, u8)], mark: Option<Mark>| {
        let found = read(&message("", text));
        assert_eq!(found.scripts.shares(), shares, "{text}");
        assert_eq!(found.marks, mark.into_iter().collect(), "{text}");
    };
    check("abcd ефгх", &[("Latn", 50), ("Cyrl", 50)], None);
    check("漢字かな", &[("Hani", 50), ("Hira", 50)], None);
    check("p\u{430}yp\u{430}l account", &[("Latn", 84), ("Cyrl", 15)], Some(Mark::MixedScripts));
    check("pass\u{200b}word", &[("Latn", 100)], Some(Mark::Invisible));
    check("123", &[], None);
}

#[test]
fn a_word_that_is_taken_apart_is_as_long_as_its_letters() {
    let check = |text: &str, letters: u32| {
        assert_eq!(read(&message("", text)).shape.spelled, letters, "{text}");
    };
    check("buy v.i.a.g.r.a now", 6);
    check("V I A  G\r\nR A", 6);
    check("c-a-s-h and a_l_l_o_w", 5);
    check("a.b-c-d", 3);
    check("I am a man, a b", 2);
    check("a 1 b 2 c", 0);
    check("vi.ag.ra", 0);
    check("one plain word", 0);
    check(&format!("{} x*y*z", "word ".repeat(40)), 3);
}

#[test]
fn words_are_counted_however_long_their_lines_are() {
    let check = |text: &str, words: u32, shouted: u32| {
        let shape = read(&message("", text)).shape;
        assert_eq!((shape.words, shape.shouted), (words, shouted), "{text}");
    };
    check("one  two\tTHREE\r\n\r\nFOUR! iFIVE SI-X A.B.C.D 7SEVEN7\x0cEIGHT", 9, 5);
    check(&"AB ".repeat(500), 500, 0);
    check(&"ABCD ab\r\n".repeat(500), 1_000, 500);
    check(&"X".repeat(2_000), 1, 1);
    check("\r\n \r\n", 0, 0);
}

#[test]
fn a_text_that_is_repeated_has_the_same_fingerprint() {
    let text =
        "rates begin at three percent and no income check is needed before the places are gone ";
    let finger = |text: &str| read(&message("", text)).fingerprint.unwrap();
    assert_eq!(finger(&text.repeat(20)), finger(&text.repeat(2)));
    assert_eq!(finger(&text.to_uppercase()), finger(text));
}

#[test]
fn a_variant_of_a_text_is_near_and_another_text_is_not() {
    let offer = "We are pleased to offer a limited number of refinancing places to home owners in the area; \
        rates begin at three percent and no income check is needed. Our agents are standing by until midnight. \
        Visit the page below before the places are gone and quote the reference in this letter.";
    let finger = |text: &str| read(&message("", text)).fingerprint.unwrap();
    let variants = [
        format!("Dear Ana,\r\n{offer}\r\nhttp://a1.example/x"),
        format!("Hello Boris Brown!\r\n{offer}\r\nhttp://zz.example/qwe?1\r\nqzxv kdjf"),
        offer.replace("midnight", "sunday").to_uppercase(),
    ];
    for variant in &variants {
        let distance = finger(offer).distance(finger(variant));
        assert!(distance <= Fingerprint::NEAR, "{distance}: {variant}");
    }
    let other = "Attached is the agenda of the meeting on the new warehouse; please read the proposal of the \
        architect and tell the secretary which of the two dates suits you, so that the room can be booked in time.";
    assert!(finger(offer).distance(finger(other)) > 2 * Fingerprint::NEAR);
    assert_eq!(read(&message("", "Please call me.")).fingerprint, None);
}

#[test]
fn every_mark_is_documented() {
    let page = include_str!("../../../docs/content-rules.md");
    for mark in Mark::ALL {
        let name = mark.name();
        assert!(page.contains(&format!("\n| `{name}` | ")), "{name} has no row");
    }
}

#[test]
fn every_list_has_an_end() {
    let many =
        |piece: &dyn Fn(usize) -> String, count| -> String { (0..count).map(piece).collect() };
    let found = read(&message("", &many(&|n| format!("http://h{n}.example/ "), 1_000)));
    assert_eq!((found.links.len(), found.marks.has(Mark::LinksUncounted)), (LINKS_MAX, true));
    let parts = vec!["Content-Type: image/png\r\n\r\nx"; 10_000];
    let found = read(&multipart(&parts));
    assert_eq!((found.parts, found.attachments.len()), (100, 20));
    assert!(found.marks.has(Mark::PartsUncounted) && !found.marks.has(Mark::BrokenMultipart));
    let nested =
        many(&|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"), 1_000);
    assert!(
        read(&message("", "").replace("\r\n\r\n", &format!("\r\n{nested}")))
            .marks
            .has(Mark::TooDeep)
    );
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(1_000);
    assert_eq!(read(&message("", "").replace("\r\n\r\n", &format!("\r\n{messages}"))).parts, 1);
    let long = message("", &"word ".repeat(SCAN_BYTES_MAX));
    let found = read(&long);
    assert!(found.text.len() <= TEXT_BYTES_MAX && found.marks.has(Mark::CutOff));
    assert_eq!(found.size.octets(), long.len() as u64);
    let authors = many(&|n| format!("a{n}@shop.example, "), 1_000);
    assert_eq!(read(&format!("From: {authors}\r\n\r\n")).authors.from.len(), 10);
}

proptest::proptest! {
    #[test]
    fn any_octets_are_read_without_panic(
        at in 0..600_usize,
        octets in proptest::collection::vec(proptest::sample::select(b"-:;=<>&#?@/. \r\n\"\\\xff\xc3b".to_vec()), 0..60)
    ) {
        let html = "Content-Type: text/html\r\n\r\n<a href='http://x.example'>b</a>";
        let mut text = multipart(&["\r\nwww.b.example", html]).into_bytes();
        let at = at.min(text.len());
        let end = (at + octets.len()).min(text.len());
        text.splice(at..end, octets);
        let _ = read_octets(&text);
    }
}
