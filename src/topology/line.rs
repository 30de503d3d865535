//! What the lines of the underlay do to packets: delay, loss, rate and MTU of the link between a host and its switch.
//!
//! Values are written as tc(8) takes them: `10ms`, `1.5%`, `100mbit`. They hold for each direction of the link, so a
//! ping over one line with a delay of 10 ms takes 20 ms longer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::rules;
use super::source::Span;
use super::underlay::MTU_RANGE;

/// What the line between a host and its switch does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Delay in microseconds.
    pub delay: u32,
    /// Share of packets that are lost, in millionths.
    pub loss: u32,
    /// Rate in bytes a second; 0 is without limit.
    pub rate: u64,
}

/// A change of a line; what is none stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineChange {
    /// Delay in microseconds.
    pub delay: Option<u32>,
    /// Share of packets that are lost, in millionths.
    pub loss: Option<u32>,
    /// Rate in bytes a second; 0 is without limit.
    pub rate: Option<u64>,
    /// MTU of the host's NIC and of the switch's port, in bytes.
    pub mtu: Option<u32>,
}

/// What the line between a host and its switch does, where it differs from the segment's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LinkEntry {
    /// Delay of each packet in each direction: `10ms`, `500us`, `1s`.
    delay: Option<Spanned<String>>,
    /// Share of packets that are lost in each direction: `1%`.
    loss: Option<Spanned<String>>,
    /// Bandwidth in each direction: `100mbit`, `1gbit`.
    rate: Option<Spanned<String>>,
    /// MTU of the host's NIC and of the switch's port.
    mtu: Option<Spanned<u32>>,
}

impl LineChange {
    /// This change, and then another one.
    pub fn then(self, other: LineChange) -> LineChange {
        LineChange {
            delay: other.delay.or(self.delay),
            loss: other.loss.or(self.loss),
            rate: other.rate.or(self.rate),
            mtu: other.mtu.or(self.mtu),
        }
    }

    /// The line after this change.
    pub fn of(self, line: Line) -> Line {
        Line {
            delay: self.delay.unwrap_or(line.delay),
            loss: self.loss.unwrap_or(line.loss),
            rate: self.rate.unwrap_or(line.rate),
        }
    }
}

/// As tc reads it, `-` for a line that does nothing.
impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Line { delay, loss, rate } = self;
        let mut words = Vec::new();
        if *delay > 0 {
            words.push(format!("delay {}ms", f64::from(*delay) / 1000.0));
        }
        if *loss > 0 {
            words.push(format!("loss {}%", f64::from(*loss) / 10_000.0));
        }
        if *rate > 0 {
            words.push(format!("rate {}", rate_words(*rate)));
        }
        f.write_str(if words.is_empty() { "-".to_owned() } else { words.join(" ") }.as_str())
    }
}

/// A rate in the largest unit that divides it.
fn rate_words(bytes: u64) -> String {
    let bits = bytes * 8;
    let units = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000)];
    let unit = units.iter().find(|(_, size)| bits.is_multiple_of(*size));
    unit.map_or_else(|| format!("{bits}bit"), |(name, size)| format!("{}{name}", bits / size))
}

/// The change that a file's entry means.
pub(super) fn change(entry: Option<&LinkEntry>) -> Checked<LineChange> {
    let Some(LinkEntry { delay, loss, rate, mtu }) = entry else { return Ok(LineChange::default()) };
    read(delay.as_ref(), loss.as_ref(), rate.as_ref(), mtu.as_ref())
}

/// The change that these words mean, each with its place.
pub(super) fn read(
    delay: Option<&Spanned<String>>,
    loss: Option<&Spanned<String>>,
    rate: Option<&Spanned<String>>,
    mtu: Option<&Spanned<u32>>,
) -> Checked<LineChange> {
    Ok(LineChange {
        delay: delay.map(parse_delay).transpose()?,
        loss: loss.map(parse_loss).transpose()?,
        rate: rate.map(parse_rate).transpose()?,
        mtu: mtu.map(|mtu| rules::in_range("an MTU", mtu, MTU_RANGE)).transpose()?,
    })
}

/// The change that the words of a command line mean.
///
/// # Errors
/// Of `Kind::Usage` if one of them means nothing.
pub fn line_change(
    delay: Option<&str>,
    loss: Option<&str>,
    rate: Option<&str>,
    mtu: Option<u32>,
) -> crate::error::Result<LineChange> {
    let text = |text: Option<&str>| text.map(|text| Spanned { value: text.to_owned(), span: Span::default() });
    let mtu = mtu.map(|value| Spanned { value, span: Span::default() });
    let change = read(text(delay).as_ref(), text(loss).as_ref(), text(rate).as_ref(), mtu.as_ref());
    change.map_err(|complaint| complaint.into_usage())
}

/// Longest delay: an hour.
const DELAY_MAX: f64 = 3600e6;

fn parse_delay(text: &Spanned<String>) -> Checked<u32> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let micros = number(text, &units).filter(|micros| *micros <= DELAY_MAX);
    let wrong = || Complaint::at(text.span, format!("{} is no delay", quote(text)));
    micros
        .map(|micros| micros.round() as u32)
        .ok_or_else(|| wrong().hint("write a number and a unit, up to an hour: `500us`, `10ms`, `1s`"))
}

fn parse_loss(text: &Spanned<String>) -> Checked<u32> {
    let percent = number(text, &[("%", 1.0)]).filter(|percent| *percent <= 100.0);
    let wrong = || Complaint::at(text.span, format!("{} is no share of packets", quote(text)));
    percent
        .map(|percent| (percent * 10_000.0).round() as u32)
        .ok_or_else(|| wrong().hint("write it in percent, from `0%` to `100%`"))
}

fn parse_rate(text: &Spanned<String>) -> Checked<u64> {
    let units = [("tbit", 1e12), ("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];
    let bits = number(text, &units).filter(|bits| (*bits == 0.0 || *bits >= 8000.0) && *bits <= 1e13);
    let wrong = || Complaint::at(text.span, format!("{} is no rate", quote(text)));
    bits.map(|bits| (bits / 8.0).round() as u64).ok_or_else(|| {
        wrong().hint("write bits a second, from `8kbit` on: `512kbit`, `100mbit`, `1gbit`; `0bit` is no limit")
    })
}

/// A number with one of the units behind it, in the base unit; not negative.
fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, factor) = units.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, factor)))?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    digits.parse::<f64>().ok().filter(|_| plain).map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(delay: &str, loss: &str, rate: &str) -> crate::error::Result<String> {
        let change = line_change(Some(delay), Some(loss), Some(rate), None)?;
        Ok(change.of(Line::default()).to_string())
    }

    #[test]
    fn values_are_those_of_tc() {
        assert_eq!(line("10ms", "1.5%", "100mbit").unwrap(), "delay 10ms loss 1.5% rate 100mbit");
        assert_eq!(line("500us", "0.01%", "1gbit").unwrap(), "delay 0.5ms loss 0.01% rate 1gbit");
        assert_eq!(line("0s", "0%", "0bit").unwrap(), "-");
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_would_be() {
        for (delay, loss, rate) in [
            ("10", "1%", "1mbit"),
            ("-1ms", "1%", "1mbit"),
            ("2h", "1%", "1mbit"),
            ("1ms", "101%", "1mbit"),
            ("1ms", "nan%", "1mbit"),
            ("1ms", "1%", "1bit"),
            ("1ms", "1%", "1e9mbit"),
            ("3601s", "1%", "1mbit"),
        ] {
            let error = line(delay, loss, rate).unwrap_err();
            assert!(error.hint_text().is_some(), "{error}");
            assert_eq!(error.kind(), crate::error::Kind::Usage);
        }
    }

    #[test]
    fn unnamed_values_stay() {
        let first = line_change(Some("10ms"), Some("5%"), None, Some(1400)).unwrap();
        let both = first.then(line_change(None, Some("0%"), None, None).unwrap());
        assert_eq!((both.delay, both.loss, both.rate, both.mtu), (Some(10_000), Some(0), None, Some(1400)));
    }
}
