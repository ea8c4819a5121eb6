//! The tests' own tools do what the tests believe of them.

use crate::support::{
    Client, at_once,
    guide::Guide,
    most_within,
    postfix::{FakeDovecot, Postfix},
    sink,
};
use std::time::Duration;
use tollgate::clock::steady_now;

#[test]
fn the_sink_keeps_what_it_accepts_and_refuses_what_it_is_told_to() {
    let sink = sink().refuse_nth(2, "550 5.1.1 nobody").run();
    let mut client = Client::hello(sink.address());
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(250, "RCPT TO:<one@remote.example>");
    client.expect(550, "RCPT TO:<two@remote.example>");
    client.expect(250, "RCPT TO:<three@remote.example>");
    assert_eq!(client.text("Subject: dots\n\n..\nend\n").code, 250);

    let taken = sink.last();
    assert_eq!(
        taken.recipients,
        ["RCPT TO:<one@remote.example>", "RCPT TO:<three@remote.example>"]
    );
    assert_eq!(taken.as_str(), "Subject: dots\r\n\r\n.\r\nend\r\n");
    assert_eq!(taken.fields("subject"), ["dots"]);
}

#[test]
fn the_sink_hangs_up_on_the_idle() {
    let sink = sink().hang_up_idle(Duration::from_millis(100)).run();
    let mut client = Client::hello(sink.address());
    assert_eq!(client.reply().code, 421);
    assert_eq!(client.rest(), b"");
}

#[test]
fn the_sink_takes_many_at_once() {
    let sink = sink().run();
    at_once(20, |_| Client::hello(sink.address()).send("a@b", &["c@d"], "text").code);
    assert_eq!((sink.wait_for(20).len(), sink.connections()), (20, 20));
}

#[test]
fn the_most_in_any_window_is_counted() {
    let begin = steady_now();
    let moments: Vec<_> = [0, 4, 5, 9, 10, 11].map(|s| begin + Duration::from_secs(s)).into();
    assert_eq!(most_within(Duration::from_secs(5), &moments), 3);
    assert_eq!(most_within(Duration::from_secs(7), &moments), 4);
    assert_eq!(most_within(Duration::from_secs(60), &moments), 6);
    assert_eq!(most_within(Duration::from_secs(1), &[]), 0);
}

#[test]
fn postfix_writes_who_handed_a_mail_in() {
    let sink = sink().run();
    let port = sink.address().port().to_string();
    let guide =
        Guide::chapter("postfix", "By its address").replace("gate.provider.example", "localhost");
    let postfix = Postfix::start(&guide.replace("2525", &port), &FakeDovecot::start());
    let mut client = Client::hello(postfix.address);
    // base64 of "\0a@shop.example\0secret"
    client.expect(235, "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==");
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    postfix.sendmail("a@shop.example", "b@remote.example", "Subject: local\n\ntext\n").well();
    let taken = sink.wait_for(2);
    let received = |nth: usize| taken[nth].fields("Received")[0].clone();
    let both = [received(0), received(1)].concat();
    assert!(both.contains("(Postfix, from userid 0)"), "{both}");
}
