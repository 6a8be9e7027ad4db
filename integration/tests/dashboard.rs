//! The dashboard shows what is, in a browser, and the HTTP address gives nothing to whom it should not.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use integration::config::Endpoint;
use integration::paths::{self, Scratch};
use integration::{Config, PASSWORD, Proxy, Stage, Wire, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// What headless Chromium makes of a page: its document after some seconds, or a picture.
fn chromium(url: &str, arguments: &[&str]) -> String {
    let scratch = Scratch::new("chromium");
    let program = paths::in_path("chromium").expect("apt-get install --no-install-recommends chromium");
    let out = Command::new("timeout")
        .arg("180")
        .arg(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-background-networking", "--virtual-time-budget=4000"])
        .arg(format!("--user-data-dir={}", scratch.path().display()))
        .args(arguments)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .expect("chromium runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn picture(url: &str, name: &str, size: &str, dark: bool) {
    let file = paths::shared_dir("dashboard").join(format!("{name}.png"));
    fs::remove_file(&file).ok();
    let (file_argument, size) = (format!("--screenshot={}", file.display()), format!("--window-size={size}"));
    let mut arguments = vec![file_argument.as_str(), size.as_str()];
    if dark {
        arguments.push("--blink-settings=preferredColorScheme=0");
    }
    chromium(url, &arguments);
    assert!(fs::metadata(&file).is_ok_and(|meta| meta.len() > 10_000), "{} is no picture", file.display());
}

/// The text of an element of the page, without its tags.
fn text_of(page: &str, from: &str) -> String {
    let rest = page.split_once(from).unwrap_or_else(|| panic!("no {from} in {page}")).1;
    let rest = rest.split_once('>').map_or(rest, |(_, rest)| rest).split("</div>").next().unwrap_or("");
    let mut text = String::new();
    let mut inside = false;
    for c in rest.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text
}

#[test]
fn the_page_shows_endpoints_routing_pins_and_what_is_wrong() {
    let stage = Stage::new(2, |config| config.text("consistency", "eventual").text("max_lag", "10s"));
    let url = format!("http://127.0.0.1:{}/", stage.proxy.config().http);
    let mut pinned = stage.proxy.session();
    pinned.query("CREATE TEMP TABLE mine (id int)").ok();
    for _ in 0..50 {
        pinned.query("SELECT 1").ok();
        stage.proxy.session().query("SELECT count(*) FROM pg_class").ok();
    }
    // As long as statements come, and as slow.
    let mut slow = stage.proxy.session();
    slow.query("SELECT pg_sleep(0.25), 'a text with <b>marks</b> & more' AS \"<i>a name</i>\"").ok();
    slow.execute(
        "SELECT relname FROM pg_class WHERE relkind = ANY (ARRAY['r', 'i']) AND relname LIKE $1",
        &["pg%"],
    )
    .ok();
    slow.query("UPDATE pg_class SET relname = 'x' WHERE relname = 'there is no such table' AND 1/0 = 1");
    let page = chromium(&url, &["--dump-dom"]);
    let verdict = text_of(&page, "id=\"verdict\"");
    assert!(verdict.contains("All is well: 1 cluster, 2 of 2 replicas take reads."), "{verdict}");
    for server in stage.cluster.servers() {
        assert!(page.contains(&server.address()), "{} is not shown", server.address());
    }
    for shown in
        ["takes writes", "takes reads", "temp table", "replica: read", "primary: pinned", "class=\"curve\""]
    {
        assert!(page.contains(shown), "{shown} is not in {page}");
    }
    // Statements are shown without their values, and as text whatever is in them.
    let slowest = page.split_once("Statements that took the most time").expect("the section is there").1;
    let wanted = "select pg_sleep(?), ? as \"&lt;i&gt;a name&lt;/i&gt;\"</code>";
    assert!(slowest.contains(wanted), "{slowest}");
    assert!(slowest.contains("select count(*) from pg_class") && !page.contains("marks"), "{slowest}");
    // A rate takes two answers: the page goes on asking without being loaded again.
    assert!(page.matches("/s<").count() > 1, "no rate is shown");
    // A replica that lags is named, and so is a file that is refused.
    stage.cluster.replicas[1].sql("SELECT pg_wal_replay_pause()").ok();
    stage.cluster.primary.sql("CREATE TABLE moves (id int)").ok();
    stage.proxy.rewrite_text("[listen]\nport = 1\n");
    let status = || stage.proxy.http("/api/status").1;
    let out = format!("{} is out", stage.cluster.replicas[1].address());
    until("the lag is noticed", PATIENCE, || {
        stage.cluster.primary.sql("INSERT INTO moves VALUES (1)").ok();
        let said = status();
        let wanted = [out.as_str(), "file is not valid", "takes no reads, lagging"];
        wanted.iter().all(|part| said.contains(part)).then_some(())
    });
    let page = chromium(&url, &["--dump-dom"]);
    let verdict = text_of(&page, "id=\"verdict\"");
    assert!(verdict.contains("1 of 2 replicas take reads") && verdict.contains("not valid"), "{verdict}");
    assert!(page.contains("takes no reads, lagging"), "the event is not in {page}");
    picture(&url, "wide", "1200,1900", false);
    picture(&url, "phone-dark", "500,2400", true);
}

/// Status and body of a request with a method, from an address of this machine's.
fn ask(at: (&str, u16), method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

#[test]
fn control_is_for_this_machine_and_for_whom_has_the_token() {
    let token = "canary-token-5b1f";
    let mut config = Config::over(vec![Endpoint::auto("127.0.0.1:1".to_owned())]);
    config.listen = format!("http_token = \"{token}\"\n");
    let proxy = Proxy::start(config.clone());
    let http = ("127.0.0.1", config.http);
    for (method, path) in
        [("GET", "/reload"), ("GET", "/shutdown"), ("POST", "/metrics"), ("POST", "/"), ("PUT", "/live")]
    {
        assert_eq!(ask(http, method, path, "").0, 405, "{method} {path}");
    }
    let (status, body) = ask(http, "POST", "/reload", "Content-Length: 0\r\n");
    assert!(status == 200 && body.starts_with("generation 1: nothing changed"), "{status} {body}");
    assert_eq!(ask(http, "POST", "/reload", "Origin: https://elsewhere.example\r\n").0, 403);
    assert_eq!(ask(http, "POST", "/reload", "Authorization: Bearer wrong\r\n").0, 403);
    assert_eq!(ask(http, "POST", "/shutdown", "Authorization: Bearer \r\n").0, 403);
    proxy.rewrite_text(&config.to_string().replace("[clusters.main]", "[clusters.main]\nno_such_key = 1"));
    let (status, body) = ask(http, "POST", "/reload", "");
    assert!(status == 422 && body.contains("no_such_key"), "{status} {body}");
    proxy.rewrite_text(&config.to_string());
    let token = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(http, "POST", "/reload", &token).0, 200);
    assert_eq!(ask(http, "POST", "/shutdown", &token).0, 202);
    assert!(proxy.await_end(PATIENCE).is_some_and(|status| status.success()));
}

#[test]
fn no_answer_and_no_log_has_a_secret() {
    let canaries = ["canary-token-77aa", "canary-password-77bb", "canary-probe-77cc"];
    let stage = Stage::new(0, |mut config| {
        config.listen = format!("http_token = \"{}\"\n", canaries[0]);
        config.users.push(("ghost".to_owned(), canaries[1].to_owned()));
        config
    });
    let proxy = &stage.proxy;
    // A wrong password towards the database, a client's wrong password, a change of each, a bad file.
    drop(Wire::login(&integration::Login::new(proxy.port(), "ghost", canaries[1], "app")));
    drop(Wire::login(&integration::Login::new(proxy.port(), "app", canaries[1], "app")));
    let good = proxy.config().to_string();
    let changes = [
        good.replace(canaries[0], "canary-token-77dd"),
        good.replace(
            "engine = ",
            &format!("probe_user = \"app\"\nprobe_password = \"{}\"\nengine = ", canaries[2]),
        ),
        good.replace(
            "[clusters.main]",
            &format!("[clusters.main]\nprobe_password = 1\nx = \"{}\"", canaries[2]),
        ),
        good.replace(PASSWORD, "canary-password-77ee"),
    ];
    let http = ("127.0.0.1", proxy.config().http);
    let mut said = String::new();
    for text in &changes {
        proxy.rewrite_text(text);
        said += &ask(http, "POST", "/reload", "").1;
        for path in ["/", "/metrics", "/ready", "/live", "/api/status", "/nothing"] {
            said += &ask(http, "GET", path, "").1;
        }
    }
    let mut checked = Proxy::run(&changes[2], &["check"]);
    checked.stdout.append(&mut checked.stderr);
    said += &String::from_utf8_lossy(&checked.stdout);
    said += &proxy.log();
    assert!(said.contains("listen.http_token: changed") && said.contains("password"), "{said}");
    let shown: Vec<_> = said.lines().filter(|line| line.contains("canary")).collect();
    assert!(shown.is_empty(), "{shown:#?}");
}
