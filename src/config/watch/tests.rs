use std::os::unix::fs::symlink;
use std::time::Instant;

use super::*;

const TEXT: &str = r#"
[listen]
postgres = "127.0.0.1:6432"
[clusters.main]
engine = "postgres"
max_lag = "5s"
[[clusters.main.endpoints]]
address = "10.0.0.1:5432"
[databases.app]
cluster = "main"
[users.app]
password_file = "password"
"#;

/// What is noticed when it happens; files are looked at less often than that.
const SOON: Duration = Duration::from_secs(20);

/// What a ConfigMap looks like: `config.toml -> ..data/config.toml`, `..data -> ..N`.
struct Volume {
    dir: PathBuf,
    live: Arc<Live>,
    changes: mpsc::UnboundedReceiver<u64>,
}

impl Volume {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("splitpool-watch-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        version(&dir, 1, TEXT, "one");
        symlink("..1", dir.join("..data")).expect("a link");
        for file in ["config.toml", "password"] {
            symlink(Path::new("..data").join(file), dir.join(file)).expect("a link");
        }
        let live = Arc::new(Live::load(&dir.join("config.toml")).expect("a good file"));
        let (tell, changes) = mpsc::unbounded_channel();
        let reloaded = live.clone();
        tokio::spawn(watch(live.clone(), move || {
            let generation = reloaded.reload().map_or(0, |report| report.generation);
            let _ = tell.send(generation);
        }));
        Self { dir, live, changes }
    }

    /// Swaps `..data` as kubelet does, and removes what it led to.
    fn swap(&self, from: u32, to: u32) {
        symlink(format!("..{to}"), self.dir.join("..data_tmp")).expect("a link");
        std::fs::rename(self.dir.join("..data_tmp"), self.dir.join("..data")).expect("a swap");
        std::fs::remove_dir_all(self.dir.join(format!("..{from}"))).expect("it is there");
    }

    /// The generation after the next change, which must be noticed within two seconds.
    async fn next(&mut self) -> Option<u64> {
        timeout(SOON, self.changes.recv()).await.expect("noticed by itself")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn version(dir: &Path, number: u32, text: &str, password: &str) {
    let dir = dir.join(format!("..{number}"));
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("config.toml"), text).expect("a file");
    std::fs::write(dir.join("password"), password).expect("a file");
}

#[tokio::test]
async fn a_swap_of_the_data_link_is_noticed_each_time() {
    let mut volume = Volume::new("swap");
    for number in 2..5 {
        version(&volume.dir, number, &TEXT.replace("5s", &format!("{number}m")), "one");
        volume.swap(number - 1, number);
        assert_eq!(volume.next().await, Some(u64::from(number)));
        let lag = volume.live.current().clusters["main"].max_lag;
        assert_eq!(lag, Duration::from_secs(60) * number);
    }
    version(&volume.dir, 5, &TEXT.replace("5s", "4m"), "two");
    volume.swap(4, 5);
    assert_eq!(volume.next().await, Some(5), "a new password alone is a change");
}

#[tokio::test]
async fn a_swap_to_the_same_contents_is_no_change_and_a_bad_file_is_tried_once() {
    let mut volume = Volume::new("same");
    version(&volume.dir, 2, TEXT, "one");
    volume.swap(1, 2);
    version(&volume.dir, 3, "nonsense", "one");
    volume.swap(2, 3);
    assert_eq!(volume.next().await, Some(0));
    let started = Instant::now();
    version(&volume.dir, 4, &TEXT.replace("5s", "7s"), "one");
    volume.swap(3, 4);
    assert_eq!(volume.next().await, Some(2), "nothing in between, and it recovers");
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn a_plain_file_is_noticed_however_it_is_saved() {
    let mut volume = Volume::new("plain");
    let file = volume.dir.join("config.toml");
    std::fs::remove_file(&file).expect("it is there");
    std::fs::write(&file, TEXT.replace("5s", "1s")).expect("a file");
    assert_eq!(volume.next().await, Some(2), "replaced");
    std::fs::write(&file, TEXT.replace("5s", "2s")).expect("a file");
    assert_eq!(volume.next().await, Some(3), "written in place");
    let draft = volume.dir.join("draft");
    std::fs::write(&draft, TEXT.replace("5s", "3s")).expect("a file");
    std::fs::rename(&draft, &file).expect("a rename");
    assert_eq!(volume.next().await, Some(4), "renamed over");
}

#[test]
fn reading_is_not_a_change() {
    assert!(is_only_a_look(EventKind::Access(AccessKind::Open(AccessMode::Any))));
    assert!(is_only_a_look(EventKind::Access(AccessKind::Close(AccessMode::Read))));
    assert!(!is_only_a_look(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    assert!(!is_only_a_look(EventKind::Any));
}

#[tokio::test]
async fn a_change_is_told_once_even_if_nobody_reloads() {
    let mut volume = Volume::new("once");
    let (tell, mut told) = mpsc::unbounded_channel();
    let deaf = Arc::new(Live::load(&volume.dir.join("config.toml")).expect("a good file"));
    tokio::spawn(watch(deaf, move || {
        let _ = tell.send(());
    }));
    for number in 2..4 {
        version(&volume.dir, number, &TEXT.replace("5s", &format!("{number}m")), "one");
        volume.swap(number - 1, number);
        assert_eq!(volume.next().await, Some(u64::from(number)));
        timeout(SOON, told.recv()).await.expect("told by itself");
        timeout(4 * DEBOUNCE, told.recv()).await.expect_err("told once");
    }
}
