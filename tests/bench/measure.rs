//! Figures of one kind from one run, and the table that they end in.

use std::io::{Error, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Repeated measurements of one thing in one unit.
#[derive(Debug, Clone)]
pub struct Figures {
    values: Vec<f64>,
    unit: &'static str,
}

impl Figures {
    /// Measures `times` times.
    pub fn of(times: usize, unit: &'static str, mut one: impl FnMut() -> Result<f64>) -> Result<Figures> {
        let values: Result<Vec<f64>> = (0..times).map(|_| one()).collect();
        Ok(Figures::from(values?, unit))
    }

    pub fn from(mut values: Vec<f64>, unit: &'static str) -> Figures {
        values.sort_by(f64::total_cmp);
        Figures { values, unit }
    }

    pub fn median(&self) -> f64 {
        let middle = self.values.len() / 2;
        match self.values.len() % 2 {
            0 => (self.values[middle - 1] + self.values[middle]) / 2.0,
            _ => self.values[middle],
        }
    }

    pub fn least(&self) -> f64 {
        self.values[0]
    }

    pub fn most(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    /// These and others of the same kind.
    pub fn and(mut self, others: Figures) -> Figures {
        self.values.extend(others.values);
        Figures::from(self.values, self.unit)
    }

    /// `67.0 ms (66.1–69.2)`
    pub fn text(&self) -> String {
        format!("{} {} ({}–{})", short(self.median()), self.unit, short(self.least()), short(self.most()))
    }
}

/// Three figures.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// One measure: who did it, what it took, and all as a ratio to the first.
pub struct Measure {
    title: String,
    rows: Vec<(String, Figures)>,
    remarks: Vec<String>,
}

impl Measure {
    pub fn new(title: impl Into<String>) -> Measure {
        Measure { title: title.into(), rows: Vec::new(), remarks: Vec::new() }
    }

    /// Adds a row; the first is what all are compared with.
    pub fn row(&mut self, who: impl Into<String>, figures: Figures) {
        self.rows.push((who.into(), figures));
    }

    /// Says what could not be measured, and why.
    pub fn remark(&mut self, words: impl Into<String>) {
        self.remarks.push(words.into());
    }

    pub fn print(&self) {
        println!("\n{}", self.title);
        let width = self.rows.iter().map(|(who, _)| who.chars().count()).max().unwrap_or(0);
        let base = self.rows.first().map_or(1.0, |(_, figures)| figures.median());
        for (who, figures) in &self.rows {
            let ratio = figures.median() / base;
            println!("  {who:<width$}   {ratio:>7.2}×   {}", figures.text());
        }
        for words in &self.remarks {
            println!("  ({words})");
        }
    }
}

/// Runs a command to its end and gives its standard output; its failure is an error with what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Error::other(format!("{command:?}: {}: {}", done.status, said.trim_end())));
    }
    String::from_utf8(done.stdout).map_err(Error::other)
}

/// How long a command takes from being started to its end, in milliseconds. Its output goes to files, so that nothing
/// waits for a reader, and a background process that keeps them open holds nobody up.
pub fn milliseconds(command: &mut Command) -> Result<f64> {
    told(command).map(|(taken, _)| taken)
}

/// The same, and what it said on its standard error.
pub fn told(command: &mut Command) -> Result<(f64, String)> {
    let said = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?);
    let start = Instant::now();
    let status = command.status()?;
    let taken = start.elapsed();
    let said = text_of(said)?;
    if status.success() {
        return Ok((taken.as_secs_f64() * 1e3, said));
    }
    Err(Error::other(format!("{command:?}: {status}: {}", said.trim_end())))
}

fn text_of(mut file: std::fs::File) -> Result<String> {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Waits until `condition` holds, and fails with `what` if it does not within a minute.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition()? {
        if Instant::now() > deadline {
            return Err(Error::other(format!("waited 60 s until {what}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether a program is on the PATH.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
