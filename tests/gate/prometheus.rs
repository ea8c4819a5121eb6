//! What an administrator copies from deploy/ for monitoring is accepted by the real Prometheus and Alertmanager, asks for no metric that
//! the gate does not have, and has an answer where there was traffic.

use crate::support::{
    Client, Gate, gate, ports,
    programs::{self, Said},
    sink, wait_for,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const RULES: &str = "prometheus/tollgate.rules.yml";

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn in_folder(program: &str, arguments: &[&str], folder: &Path) -> Said {
    programs::run_command(Command::new(program).args(arguments).current_dir(folder), "")
}

#[test]
fn rules_and_examples_are_accepted_and_the_rules_do_what_their_tests_say() {
    let folder = deploy("prometheus");
    for arguments in [
        &["check", "rules", "tollgate.rules.yml"][..],
        &["test", "rules", "tests.yml"],
        &["check", "config", "prometheus.yml"],
    ] {
        let said = in_folder("promtool", arguments, &folder).well();
        assert!(said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
    let said = in_folder("amtool", &["check-config", "alertmanager.yml"], &deploy("alertmanager"));
    assert!(said.well().contains("SUCCESS"));
}

/// Every expression of the dashboard, as Grafana would ask it for all gates.
fn dashboard_expressions() -> Vec<String> {
    let text = fs::read_to_string(deploy("grafana/tollgate.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    let asked = |text: &str| text.replace("$instance", ".*").replace("$__rate_interval", "1m");
    expressions.map(asked).collect()
}

/// The text of the rules' expressions, also where one goes over several lines.
fn rules_text() -> String {
    let text = fs::read_to_string(deploy(RULES)).unwrap();
    let is_expression = |line: &&str| {
        let line = line.trim();
        !line.starts_with(['#', '-']) && !line.starts_with("summary") && !line.starts_with("desc")
    };
    text.lines().filter(is_expression).collect::<Vec<_>>().join("\n")
}

/// The names of metrics in an expression, without what a histogram adds to them.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let names = words.filter(|word| word.starts_with("tollgate_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

#[test]
fn every_metric_that_rules_and_dashboard_ask_for_is_there() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md"));
    let page = page.unwrap();
    assert_eq!(gate.client().send("a@shop.example", &["b@remote.example"], "text").code, 250);
    let asked = metrics_in(&(dashboard_expressions().join("\n") + &rules_text()));
    assert!(asked.len() > 40, "the test finds the metrics no longer: {asked:?}");
    // The month's share is there from the first whole minute on.
    let shown = |name: &String| {
        let shown = gate.http("/metrics").1;
        let is_of = |line: &str| {
            let rest = line.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
        };
        name == "tollgate_availability_ratio" || shown.lines().any(is_of)
    };
    wait_for("the figures that are looked at", || {
        gate.http("/metrics").1.contains("tollgate_sla_budget_seconds").then_some(())
    });
    for name in &asked {
        assert!(page.contains(&format!("`{name}`")), "docs/metrics.md does not have {name}");
        assert!(shown(name), "/metrics does not have {name}");
    }
}

/// A real Prometheus that reads a gate's metrics every second and knows the rules.
struct Prometheus {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Prometheus {
    fn watching(gate: &Gate) -> Self {
        let (folder, address) = (TempDir::new().unwrap(), ports::free_port());
        let example = fs::read_to_string(deploy("prometheus/prometheus.yml")).unwrap();
        let config = example
            .replace("127.0.0.1:8025", &gate.http_address().to_string())
            .replace("15s", "1s")
            .replace("tollgate.rules.yml", &deploy(RULES).to_string_lossy());
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { address, child, _folder: folder }
    }

    /// What an expression has for an answer: a line for each series.
    fn ask(&self, expression: &str) -> Said {
        let server = format!("http://{}", self.address);
        programs::run("promtool", &["query", "instant", &server, expression])
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Expressions that have no answer as long as nothing of their kind happens.
fn may_be_empty(expression: &str) -> bool {
    expression.contains("availability_ratio") || expression.ends_with("> 0")
}

#[test]
fn a_real_prometheus_reads_the_gate_and_has_an_answer_to_every_question() {
    let sink = sink().run();
    let gate = gate().limit(2, "1h").next_hop(&sink).run();
    let prometheus = Prometheus::watching(&gate);
    wait_for("the first figures", || {
        let said = prometheus.ask("up{job=\"tollgate\"}");
        (said.code == 0 && said.out.contains("=> 1 ")).then_some(())
    });
    // Rates need traffic between two readings.
    wait_for("a rate of messages", || {
        gate.client().send_until_refused("a@shop.example", 3);
        Client::hello(gate.smarthost()).say("AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHdyb25n");
        let said = prometheus.ask("sum(rate(tollgate_refusals_total[1m])) > 0").well();
        (!said.trim().is_empty()).then_some(())
    });
    let expressions = dashboard_expressions();
    assert!(expressions.len() > 40, "{expressions:?}");
    // A series that began with that traffic has no rate before its second reading.
    for expression in expressions.iter().filter(|expression| !may_be_empty(expression)) {
        wait_for(expression, || {
            let answer = prometheus.ask(expression).well();
            (!answer.trim().is_empty()).then_some(())
        });
    }
    for (expression, wanted) in [
        ("sum(tollgate:refusals:rate5m{reason=\"limit\"}) > 0", true),
        ("tollgate:disk_free:ratio > 0", true),
        ("tollgate:message_seconds:p99_5m > 0", true),
        ("tollgate:sla_budget_used:ratio == 0", true),
        // Nothing is wrong with this gate but the machine's disk, which is not ours.
        ("ALERTS{alertname!~\"TollgateDisk.*\", alertstate=\"firing\"}", false),
    ] {
        wait_for(expression, || {
            let said = prometheus.ask(expression).well();
            (said.trim().is_empty() != wanted).then_some(())
        });
    }
}
