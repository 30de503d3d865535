//! How things are printed: errors, tables as kubectl has them, JSON and YAML.

use std::io::{self, ErrorKind, Write};

use serde_json::{Value, json};

use super::args::Output;
use crate::error::{Error, Kind, Result};

/// Prints an error on stderr.
pub fn error(error: &Error) {
    let red = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
    // If stderr is closed there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {}", harmless(&error.to_string()));
}

/// A text with its control characters spelled out: an argument that is quoted must not move the cursor.
fn harmless(text: &str) -> String {
    let spelled = |c: char| if c.is_control() && c != '\n' { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(spelled).collect()
}

/// Prints data on stdout. That nobody reads it to its end (`minik get pods | head -1`) is no failure, and the exit code
/// stays what the command found.
///
/// # Errors
/// If stdout cannot be written.
pub fn text(text: &str) -> Result<()> {
    offer(text).map(drop)
}

/// Prints data on stdout; false if nobody reads it any more.
///
/// # Errors
/// If stdout cannot be written.
pub fn offer(text: &str) -> Result<bool> {
    let mut stdout = anstream::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    is_read(written).map_err(|e| Error::io("cannot write the output", e))
}

/// Whether somebody reads what was written.
fn is_read(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Prints a line for the user on stderr, if somebody reads it.
///
/// # Errors
/// If stderr cannot be written.
pub fn note(line: &str) -> Result<()> {
    is_read(writeln!(anstream::stderr(), "{line}")).map(drop).map_err(|e| Error::io("cannot write to stderr", e))
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its header, in upper case.
    pub header: &'static str,
    /// Whether only `-o wide` shows it.
    pub wide: bool,
}

/// A column that is always shown.
pub const fn column(header: &'static str) -> Column {
    Column { header, wide: false }
}

/// A column that `-o wide` shows.
pub const fn wide(header: &'static str) -> Column {
    Column { header, wide: true }
}

/// One thing in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its Kubernetes namespace, if it is in one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its cells, one for each column.
    pub cells: Vec<String>,
    /// The same as an object, for JSON and YAML.
    pub object: Value,
}

/// A list of things of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The kind as `-o name` has it: `pod`, `deployment.apps`.
    pub kind: &'static str,
    /// The columns.
    pub columns: Vec<Column>,
    /// The things.
    pub rows: Vec<Row>,
    /// Whether the columns are those of calicoctl, which pads the last one too and ends with an empty line.
    pub like_calicoctl: bool,
}

impl Listing {
    /// Names as kubectl gives them where lists of several kinds are one below the other: `service/web`.
    pub fn name_kinds(&mut self) {
        let names = self.columns.iter().position(|column| column.header == "NAME");
        for (row, at) in self.rows.iter_mut().zip(names.into_iter().cycle()) {
            row.cells[at] = format!("{}/{}", self.kind, row.name);
        }
    }

    /// Adds kubectl's column LABELS.
    pub fn show_labels(&mut self) {
        self.columns.push(column("LABELS"));
        for row in &mut self.rows {
            let labels = row.object["metadata"]["labels"].as_object().into_iter().flatten();
            let pairs: Vec<String> =
                labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
            row.cells.push(if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") });
        }
    }

    /// The list as text in the format that was asked for; `one` is whether a single thing was asked for by name.
    ///
    /// # Errors
    /// If it cannot be written as YAML.
    pub fn render(&self, output: Output, with_namespace: bool, one: bool) -> Result<String> {
        match output {
            Output::Table => Ok(self.table(false, with_namespace)),
            Output::Wide => Ok(self.table(true, with_namespace)),
            Output::Name => Ok(self.rows.iter().map(|row| format!("{}/{}\n", self.kind, row.name)).collect()),
            Output::Json => to_json(&self.objects(one)),
            Output::Yaml => to_yaml(&self.objects(one)),
        }
    }

    fn objects(&self, one: bool) -> Value {
        match self.rows.as_slice() {
            [row] if one => row.object.clone(),
            rows => {
                json!({ "apiVersion": "v1", "kind": "List", "items": rows.iter().map(|row| &row.object).collect::<Vec<_>>() })
            }
        }
    }

    fn table(&self, all: bool, with_namespace: bool) -> String {
        let shown: Vec<usize> = (0..self.columns.len()).filter(|i| all || !self.columns[*i].wide).collect();
        let mut lines: Vec<Vec<&str>> = vec![shown.iter().map(|i| self.columns[*i].header).collect()];
        lines.extend(self.rows.iter().map(|row| shown.iter().map(|i| row.cells[*i].as_str()).collect()));
        if with_namespace {
            lines[0].insert(0, "NAMESPACE");
            for (line, row) in lines[1..].iter_mut().zip(&self.rows) {
                line.insert(0, row.namespace.as_deref().unwrap_or_default());
            }
        }
        let mut text = columns(&lines, self.like_calicoctl);
        if self.like_calicoctl {
            text.push('\n');
        }
        text
    }
}

/// Lines of cells in columns, three spaces apart.
pub fn columns(lines: &[Vec<&str>], pad_last: bool) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |i: usize| {
        lines.iter().filter_map(|line| line.get(i)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (i, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if i + 1 < line.len() || pad_last {
                text.extend(std::iter::repeat_n(' ', widths[i] + 3 - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

/// A table with borders, as calicoctl draws it: centred headers, numbers to the right.
pub fn boxed(headers: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].len()).chain([headers[i].len()]).max().unwrap_or_default();
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let border: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
    let mut text = border.clone();
    for (header, width) in headers.iter().zip(&widths) {
        text.push_str(&format!("| {header:^width$} "));
    }
    text.push_str("|\n");
    text.push_str(&border);
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            let number = cell.parse::<u64>().is_ok();
            text.push_str(&if number { format!("| {cell:>width$} ") } else { format!("| {cell:<width$} ") });
        }
        text.push_str("|\n");
    }
    text + &border
}

/// A value as indented JSON.
///
/// # Errors
/// If it has no JSON form.
pub fn to_json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::new(Kind::Io, "cannot write JSON").because(e))?;
    Ok(text + "\n")
}

/// A value as YAML.
///
/// # Errors
/// If it has no YAML form.
pub fn to_yaml(value: &impl serde::Serialize) -> Result<String> {
    serde_saphyr::to_string(value).map_err(|e| Error::new(Kind::Io, format!("cannot write YAML: {e}")))
}

/// A value as JSON or YAML; none for the formats that are text for people.
///
/// # Errors
/// If it has no such form.
pub fn as_data(value: &impl serde::Serialize, output: Output) -> Result<Option<String>> {
    match output {
        Output::Json => to_json(value).map(Some),
        Output::Yaml => to_yaml(value).map(Some),
        Output::Table | Output::Wide | Output::Name => Ok(None),
    }
}

/// A time span as kubectl prints ages (apimachinery, duration.HumanDuration).
pub fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |whole: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{small}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let row = |name: &str, ip: &str| Row {
            namespace: Some("default".into()),
            name: name.into(),
            cells: vec![name.into(), "Running".into(), ip.into()],
            object: json!({ "name": name }),
        };
        Listing {
            kind: "pod",
            columns: vec![column("NAME"), column("STATUS"), wide("IP")],
            rows: vec![row("a", "10.0.0.1"), row("longer", "10.0.0.20")],
            like_calicoctl: false,
        }
    }

    #[test]
    fn tables_are_kubectls() {
        let list = listing();
        let text = |output, with_namespace| list.render(output, with_namespace, false).expect("renders");
        assert_eq!(text(Output::Table, false), "NAME     STATUS\na        Running\nlonger   Running\n");
        assert_eq!(
            text(Output::Wide, true),
            "NAMESPACE   NAME     STATUS    IP\n\
             default     a        Running   10.0.0.1\n\
             default     longer   Running   10.0.0.20\n"
        );
        assert_eq!(text(Output::Name, false), "pod/a\npod/longer\n");
        assert_eq!(text(Output::Yaml, false), "apiVersion: v1\nkind: List\nitems:\n- name: a\n- name: longer\n");
    }

    #[test]
    fn boxes_are_calicoctls() {
        let rows = [
            ["IP Pool", "10.100.0.0/16", "65536", "7 (0%)", "65529 (100%)"],
            ["Block", "10.100.84.128/26", "64", "4 (6%)", "60 (94%)"],
        ];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cell.to_string()).collect()).collect();
        let expected = "\
+----------+------------------+-----------+------------+--------------+
| GROUPING |       CIDR       | IPS TOTAL | IPS IN USE |   IPS FREE   |
+----------+------------------+-----------+------------+--------------+
| IP Pool  | 10.100.0.0/16    |     65536 | 7 (0%)     | 65529 (100%) |
| Block    | 10.100.84.128/26 |        64 | 4 (6%)     | 60 (94%)     |
+----------+------------------+-----------+------------+--------------+
";
        assert_eq!(boxed(&["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"], &rows), expected);
    }

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(harmless("no `\u{1b}[2Ja\tb`\nhint: ä"), "no `\\u{1b}[2Ja\\tb`\nhint: ä");
    }

    #[test]
    fn ages_are_kubectls() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (124, "2m4s"),
            (180, "3m"),
            (659, "10m"),
            (11_000, "3h3m"),
            (30_000, "8h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(age(seconds), text);
        }
    }
}
