//! The pages that are written from the code are up to date.

use std::path::Path;

#[test]
fn the_configuration_reference_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let reference = splitpool::config::reference();
    assert!(written == reference, "write it anew: splitpool reference > docs/configuration.md");
    // Every key has a row, with what it takes and what it means.
    for line in reference.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.split(" | ").map(str::trim).collect();
        assert_eq!(line.matches(" | ").count(), 3, "{line}");
        assert!(!cells[1].is_empty() && cells[3].len() > 3, "{line}");
    }
}

#[test]
fn configurations_in_the_documentation_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    for page in ["README.md", "docs/quick-start.md", "docs/operating.md"] {
        let text = std::fs::read_to_string(root.join(page)).expect(page);
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let indent = block.len() - block.trim_start_matches(' ').len();
            let lines: Vec<_> = block.lines().map(|line| line.get(indent..).unwrap_or("")).collect();
            let whole = lines.join("\n").replace("password_file = ", "password = ");
            if whole.contains("[listen]") {
                let env = |_: &str| Some("variable".to_owned());
                let read = splitpool::config::load_str(&whole, root, &env);
                read.unwrap_or_else(|mistakes| panic!("{page}: {mistakes}"));
                checked += 1;
            }
        }
    }
    assert!(checked >= 2);
}
