use super::*;

fn rules(text: &str) -> Rules {
    ready(text).unwrap_or_else(|error| panic!("{error}"))
}

fn ready(text: &str) -> Result<Rules, ContentError> {
    Rules::new(&toml::from_str(text).unwrap())
}

fn read(text: &str) -> Facts {
    let size = ByteCount::new(text.len() as u64);
    facts(&Excerpt { text: text.as_bytes(), form: Form::Plain, size })
}

/// A rule that asks for something, with one point.
fn rule(asks: &str) -> Rules {
    rules(&format!("[[rule]]\nname = \"r\"\nsays = \"s\"\nscore = 1.0\n{asks}"))
}

const MESSAGE: &str = "From: \"The Bank\" <a@shop.example>\r\nSubject: Your ORDER\r\nX-Mailer: Leaf  Mailer\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nClick\r\n  here, FREE freebsd: http://Host.example/ \
    \u{e9}free 3!\r\n--b\r\nContent-Type: application/x; name=A.exe\r\n\r\nx\r\n--b--\r\n";

fn check(asks: &str, counts: bool) {
    let verdict = rule(asks).judge(&read(MESSAGE));
    assert_eq!(!verdict.hits.is_empty(), counts, "{asks}");
}

#[test]
fn words_are_whole_and_in_any_case() {
    check("words = [\"Click Here\"]", true);
    check("words = [\"free\"]", true);
    check("words = [\"your order\"]", true);
    check("words = [\"ree\", \"free 3\", \"order click\"]", true);
    check("words = [\"bsd\", \"lick\", \"clic\", \"ord\"]", false);
    check("words = [\"free 3\"]", false);
    check("words = [\"the bank\"]", false);
}

#[test]
fn short_words_and_phrases_that_begin_alike_are_all_found() {
    let found = |words: &[&'static str], text: &str| {
        let all: Vec<String> = words.iter().map(|word| format!("words = [\"{word}\"]")).collect();
        let rule = |n: usize, asks: &str| {
            format!("[[rule]]\nname = \"{n}\"\nsays = \"s\"\nscore = 1.0\n{asks}\n")
        };
        let file: String = all.iter().enumerate().map(|(n, asks)| rule(n, asks)).collect();
        let verdict = rules(&file).judge(&read(&format!("Subject: x\r\n\r\n{text}\r\n")));
        verdict.hits.iter().map(|hit| words[hit.rule.parse::<usize>().unwrap()]).collect::<Vec<_>>()
    };
    let phrases = ["sum of", "the sum of", "the sum", "of", "the sums"];
    assert_eq!(found(&phrases, "The sum of it"), ["sum of", "the sum of", "the sum", "of"]);
    let short = ["a", "us", "tax", "tax,", "3%", "xxx"];
    assert_eq!(found(&short, "tax, (us)"), ["us", "tax", "tax,"]);
    assert_eq!(found(&short, "a 3% of xxxx taxi usa"), ["a", "3%"]);
    assert_eq!(found(&short, "XXX"), ["xxx"]);
}

#[test]
fn expressions_are_held_against_their_field() {
    check("text = ['click here, free']", true);
    check("text = ['^your order click']", true);
    check("subject = ['^your order$']", true);
    check("subject = ['click']", false);
    check("from_name = ['^the bank$']", true);
    check("mailer = ['^leaf mailer$']", true);
    check("hosts = ['^host\\.example$']", true);
    check("files = ['\\.exe$']", true);
    check("files = ['exe\\.']", false);
}

#[test]
fn expressions_are_found_however_they_are_looked_for() {
    // The first is found by what it begins with, the second has nothing of the kind.
    for expression in ["click here", "[a-z] ?here"] {
        check(&format!("text = ['{expression}']"), true);
        check(&format!("text = ['{expression}!']"), false);
        check(&format!("text = ['{expression}']\nwithout = [\"attachment\"]"), false);
    }
    // Behind the first 64, all are looked for together.
    let many: String = (0..70).map(|n| format!("'odd{n}', ")).collect();
    check(&format!("text = [{many} 'click here']"), true);
    check(&format!("text = [{many} 'click there']"), false);
}

#[test]
fn everything_that_a_rule_asks_for_must_be_there() {
    check("marks = [\"attachment\"]", true);
    check("marks = [\"attachment\", \"reply\"]", false);
    check("without = [\"reply\"]", true);
    check("without = [\"reply\", \"attachment\"]", false);
    check("at_least = { links = 1, attachments = 1 }", true);
    check("at_least = { links = 2 }", false);
    check("at_most = { links = 1 }", true);
    check("at_most = { links = 0 }", false);
    check("words = [\"free\"]\nmarks = [\"reply\"]", false);
    check("words = [\"nothing\"]\nmarks = [\"attachment\"]", false);
    check("words = [\"nothing\"]\nsubject = ['order']", true);
}

#[test]
fn points_grow_with_what_is_found_up_to_the_most() {
    let check = |more: &str, points: f32| {
        let found = rule(more).judge(&read(MESSAGE));
        assert!((found.score - points).abs() < 1e-6, "{more}: {found:?}");
        assert_eq!(&*found.hits[0].rule, "r");
    };
    check("words = [\"free\", \"click here\", \"order\", \"nothing\"]", 1.0);
    check("each = 0.5\nwords = [\"free\", \"click here\", \"order\", \"nothing\"]", 2.0);
    check("each = 0.5\nmost = 1.25\nwords = [\"free\", \"click here\", \"order\"]", 1.25);
    check("each = 0.5\nwords = [\"free\"]\nsubject = ['order', 'your']", 2.0);
}

#[test]
fn a_mistake_is_told_with_its_rule() {
    let check = |text: &str, expected: &str| {
        let error = ready(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let rule = |asks: &str| format!("[[rule]]\nname = \"r\"\nsays = \"s\"\nscore = 1.0\n{asks}\n");
    check(&rule(""), "the rule r: asks for nothing");
    check(&rule("text = ['(']"), "the rule r: regex parse error");
    check(&rule("text = ['(a{1000}){1000}']"), "the rule r: Compiled regex exceeds size limit");
    check(&rule("marks = [\"odd\"]"), "the rule r: there is no mark \"odd\"");
    check(&rule("words = [\" \"]"), "the rule r: \" \" is too long or nothing");
    check(&rule("words = [\"$5\"]"), "the rule r: \"$5\" begins with neither a letter nor a digit");
    check(&rule("each = 1e9\nwords = [\"a\"]"), "the rule r: more than 100 points");
    check(&rule("words = [\"a\"]").repeat(2), "the rule r: there are two of this name");
    let many: String =
        (0..501).map(|n| rule("words = [\"a\"]").replace("\"r\"", &format!("\"r{n}\""))).collect();
    check(&many, "more than 500 rules");
}

#[test]
fn a_file_that_fails_its_own_test_is_not_used() {
    let file = |test: &str| {
        format!(
            "[[rule]]\nname = \"r\"\nsays = \"s\"\nscore = 1.0\nwords = [\"free\"]\n\
             [[test]]\nname = \"t\"\nmessage = '''\nSubject: x\n\nfree\n'''\n{test}\n"
        )
    };
    for right in ["hits = [\"r\"]", "misses = [\"q\"]", "at_least = 1.0\nat_most = 1.0"] {
        assert_eq!(ready(&file(right)).map(|rules| rules.count()), Ok(1), "{right}");
    }
    for wrong in ["hits = [\"q\"]", "misses = [\"r\"]", "at_least = 1.5", "at_most = 0.5"] {
        let error = ready(&file(wrong)).map(|_| ()).unwrap_err();
        assert!(matches!(error, ContentError::Example { .. }), "{wrong}: {error}");
    }
}

#[test]
fn the_rules_that_ship_pass_their_tests() {
    let rules = rules(include_str!("../../../../config/content.toml"));
    assert!(rules.count() > 30);
    let harmless =
        read("From: a@shop.example\r\nTo: b@firm.example\r\nSubject: x\r\n\r\nSee you.\r\n");
    assert_eq!(rules.judge(&harmless), Verdict::default());
}
