//! The README and the help are true: every command line in them parses, every file that the README names exists, its
//! tables list what the program has, its names are those of the plan, and what it shows as output of commands without
//! privilege is their output.

#![allow(clippy::disallowed_methods, clippy::expect_used, reason = "a test ends where its preparation fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use minik::cli::args::Cli;
use minik::error::Kind;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(project().join("README.md")).expect("there is a README")
}

/// A fenced block: the word after the fence, its first line's number, and its text.
struct Block {
    language: String,
    line: usize,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                blocks.push(Block { language: language.to_owned(), line: number + 2, text: String::new() });
            }
            None if open => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            None => {}
        }
    }
    assert!(!open, "a fence is not closed");
    blocks
}

/// What is between two backquotes, outside of blocks.
fn spans(text: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut open = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            open = !open;
        } else if !open {
            outside.push_str(line);
            outside.push('\n');
        }
    }
    outside.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
}

/// Command lines as one types them: those of `sh` blocks, and those behind `$ ` in `console` blocks.
fn typed(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for block in blocks(text) {
        for (offset, line) in block.text.lines().enumerate() {
            let command = match block.language.as_str() {
                "sh" => Some(line),
                "console" => line.strip_prefix("$ "),
                _ => None,
            };
            lines.extend(command.map(|command| (block.line + offset, command.to_owned())));
        }
    }
    lines
}

/// The words of a simple command line, cut at `|`, `&&`, `;`, `>` and `#`. Quotes hold words together.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for c in line.chars().chain(['\n']) {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\n' | '|' | '&' | ';' | '>' | '<' | '(' | ')' | '#') => {
                words.extend(word.take());
                if c != ' ' {
                    all.push(std::mem::take(&mut words));
                }
                if c == '#' {
                    break;
                }
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    all.retain(|words: &Vec<String>| !words.is_empty());
    all
}

/// Those of the commands that are minik's, with `minik` as first word.
fn minik_commands(line: &str) -> Vec<Vec<String>> {
    let own = |words: Vec<String>| {
        let at = words.iter().take(2).position(|word| word.rsplit('/').next() == Some("minik"))?;
        (at == 0 || words[0] == "sudo").then(|| words[at..].to_vec())
    };
    commands(line).into_iter().filter_map(own).collect()
}

#[test]
fn command_lines_are_cut_as_a_shell_cuts_them() {
    let cut = minik_commands("sudo target/release/minik show a | minik plan - --as 'x y' > f # minik no");
    assert_eq!(cut, [vec!["target/release/minik", "show", "a"], vec!["minik", "plan", "-", "--as", "x y"]]);
    assert!(minik_commands("cd minik").is_empty());
}

#[test]
fn every_command_line_parses() {
    let text = readme();
    let mut lines = typed(&text);
    // In running text a span may be a pattern, as `minik exec TARGET -- …`, or a part of a line; whole lines of minik
    // without such signs are commands.
    lines.extend(
        spans(&text)
            .into_iter()
            .filter(|span| span.starts_with("minik ") && !span.contains(['…', '<', '[', '{']))
            .map(|span| (0, span)),
    );
    let mut count = 0;
    let mut wrong = Vec::new();
    for (number, line) in lines {
        for words in minik_commands(&line) {
            count += 1;
            // `minik exec` in running text is a command's name.
            let is_name = |error: &clap::Error| {
                number == 0 && words.len() == 2 && error.kind() == ErrorKind::MissingRequiredArgument
            };
            if let Err(error) = Cli::try_parse_from(&words)
                && error.use_stderr()
                && !is_name(&error)
            {
                wrong.push(format!("line {number}: {line}\n{error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 30, "only {count} command lines were found");
}

#[test]
fn every_example_in_the_help_parses() {
    let program = Cli::command();
    let mut count = 0;
    for command in std::iter::once(&program).chain(program.get_subcommands()) {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in text.lines() {
            // Those of the program itself have an explanation behind them, in a column of its own.
            let line = line.trim_start_matches("Examples:").trim_start_matches("Example:").trim();
            for words in minik_commands(line.split("   ").next().unwrap_or_default()) {
                count += 1;
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{}: {line}\n{error}", command.get_name());
                }
            }
        }
    }
    assert!(count >= 30, "only {count} examples were found");
}

#[test]
fn every_file_that_is_named_exists() {
    let text = readme();
    let mut paths: Vec<String> = Vec::new();
    for link in text.split("](").skip(1) {
        let target = link.split(')').next().unwrap_or_default();
        if !target.contains("://") && !target.starts_with('#') {
            paths.push(target.split('#').next().unwrap_or_default().to_owned());
        }
    }
    assert!(paths.len() >= 5, "{paths:?}");
    let ours = ["src/", "tests/", "scripts/", "topologies/"];
    let words = spans(&text).into_iter().chain(typed(&text).into_iter().map(|(_, line)| line));
    for span in words {
        let words = span.split([' ', ',']).filter(|word| ours.iter().any(|dir| word.starts_with(dir)));
        paths.extend(words.map(str::to_owned));
    }
    let missing: Vec<&String> =
        paths.iter().filter(|path| !path.contains(['…', '<', '*']) && !project().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The first cells of the table under a heading, without backquotes.
fn first_cells(text: &str, heading: &str) -> Vec<String> {
    let section = text.split_once(&format!("\n## {heading}\n")).map(|(_, rest)| rest).expect(heading);
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().skip_while(|line| !line.starts_with("|--")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split(" | ").next())
        .map(|cell| cell.trim_matches(['|', ' ']).replace('`', ""))
        .collect()
}

#[test]
fn the_table_of_commands_is_that_of_the_program() {
    let listed: Vec<String> = first_cells(&readme(), "Commands")
        .iter()
        .flat_map(|cell| cell.split(" · "))
        .filter_map(|form| form.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let program = Cli::command();
    let known: Vec<String> = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    assert_eq!(listed, known, "in the order of `minik --help`");
}

#[test]
fn the_table_of_exit_codes_is_the_contract() {
    let listed = first_cells(&readme(), "Exit codes");
    assert_eq!(listed, ["0", "1", "2", "3", "4"]);
    let kinds = [Kind::Usage, Kind::Topology, Kind::Unsupported, Kind::Permission, Kind::Io, Kind::Check];
    assert!(kinds.iter().all(|kind| listed.contains(&kind.exit_code().to_string())));
}

#[test]
fn names_are_those_of_the_plan() {
    let text = readme();
    let plan = fs::read_to_string(project().join("tests/golden/calico-ipip.txt")).expect("a golden plan");
    let tokens: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.').collect();
    let is_cali =
        |word: &str| word.len() == 15 && word.starts_with("cali") && word[4..].chars().all(|c| c.is_ascii_hexdigit());
    let is_pod = |word: &str| {
        let parts: Vec<&str> = word.split('-').collect();
        parts.len() == 3 && parts[0] == "test" && parts[2].len() == 5
    };
    let checked: Vec<&str> = tokens.into_iter().filter(|word| is_cali(word) || is_pod(word)).collect();
    let foreign: Vec<&&str> = checked.iter().filter(|word| !plan.contains(**word)).collect();
    assert!(foreign.is_empty(), "not in the plan of calico-ipip: {foreign:?}");
    assert!(checked.len() >= 4, "{checked:?}");
}

#[test]
fn the_oldest_rust_is_that_of_the_manifest() {
    let manifest = fs::read_to_string(project().join("Cargo.toml")).expect("a manifest");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
    let sentence = format!("Rust {} or newer", version.trim_matches('"'));
    assert!(readme().contains(&sentence), "{sentence}");
}

/// Whether `seen` is `shown`, of which a line that is `…` stands for any number of lines, and one that ends with ` …`
/// for any end of the line.
fn agrees(shown: &[&str], seen: &[&str]) -> bool {
    match shown {
        [] => seen.is_empty(),
        [first, rest @ ..] if first.trim() == "…" => (0..=seen.len()).any(|skip| agrees(rest, &seen[skip..])),
        [first, rest @ ..] => {
            let same = |line: &str| match first.strip_suffix('…') {
                Some(start) => line.starts_with(start),
                None => line.trim_end() == first.trim_end(),
            };
            seen.split_first().is_some_and(|(line, others)| same(line) && agrees(rest, others))
        }
    }
}

#[test]
fn lines_that_are_left_out_match_and_others_do_not() {
    assert!(agrees(&["a", "…", "d"], &["a", "b", "c", "d"]));
    assert!(agrees(&["a …"], &["a b c"]));
    assert!(!agrees(&["a", "…", "d"], &["a", "b"]));
    assert!(!agrees(&["a"], &["a", "b"]));
}

#[test]
fn output_that_needs_no_privilege_is_what_is_shown() {
    let mut count = 0;
    for block in blocks(&readme()).into_iter().filter(|block| block.language == "console") {
        for part in format!("\n{}", block.text).split("\n$ ").skip(1) {
            let (line, output) = part.split_once('\n').unwrap_or((part, ""));
            let pure = ["diff", "plan", "show", "schema", "topologies", "version"];
            let [words] = &minik_commands(line)[..] else { continue };
            if commands(line).len() != 1 || !pure.contains(&words[1].as_str()) {
                continue;
            }
            count += 1;
            let ran = Command::new(env!("CARGO_BIN_EXE_minik"))
                .args(&words[1..])
                .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
                .stdin(Stdio::null())
                .output()
                .expect("minik runs");
            let seen = String::from_utf8_lossy(&ran.stdout).into_owned();
            let (shown, seen): (Vec<&str>, Vec<&str>) = (output.lines().collect(), seen.lines().collect());
            assert!(agrees(&shown, &seen), "`{line}` prints\n{}\nand not\n{output}", seen.join("\n"));
        }
    }
    assert!(count >= 1, "no such output is shown");
}
