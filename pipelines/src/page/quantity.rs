//! Numbers as people read them: three digits and the unit that fits.

use crate::screen::grouped;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Seconds of time.
    Time,
    /// Bytes of memory or of files.
    Bytes,
    /// Rows a second.
    Rate,
    /// Bytes a second.
    Flow,
    /// Things.
    Count,
    /// One cost over another.
    Ratio,
}

impl Quantity {
    /// Its noun in the title of an axis.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Bytes => "memory",
            Self::Rate | Self::Flow => "rate",
            Self::Count => "number",
            Self::Ratio => "ratio",
        }
    }

    /// Size and name of the unit for numbers up to `most`.
    pub fn unit(self, most: f64) -> (f64, &'static str) {
        let (larger, smallest): (&[(f64, &str)], _) = match self {
            Self::Time => (&[(1.0, "s")], (1e-3, "ms")),
            Self::Bytes => (&[(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB")], (1.0, "B")),
            Self::Rate => (&[(1e6, "M rows/s"), (1e3, "k rows/s")], (1.0, "rows/s")),
            Self::Flow => (&[(1_073_741_824.0, "GiB/s"), (1_048_576.0, "MiB/s"), (1024.0, "KiB/s")], (1.0, "B/s")),
            Self::Count => (&[(1e6, "M"), (1e3, "k")], (1.0, "")),
            Self::Ratio => (&[], (1.0, "×")),
        };
        larger.iter().copied().find(|(size, _)| most >= *size).unwrap_or(smallest)
    }

    /// `1.23 s`, never broken into two lines; a dash of what was not measured.
    pub fn text(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        let (size, unit) = self.unit(value.abs());
        format!("{}\u{a0}{unit}", digits(value / size)).trim_end().to_owned()
    }

    /// `1.20–1.34 s`, both in the unit of the larger one.
    pub fn range(self, least: f64, most: f64) -> String {
        if !least.is_finite() || !most.is_finite() {
            return "–".to_owned();
        }
        let (size, unit) = self.unit(most.abs());
        format!("{}–{}\u{a0}{unit}", digits(least / size), digits(most / size)).trim_end().to_owned()
    }
}

/// Three digits that count, and every digit of a whole number.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 || value.fract() == 0.0 {
        let sign = if value <= -0.5 { "-" } else { "" };
        return format!("{sign}{}", grouped(size.round() as u64));
    }
    // 9.996 is written `10.0`: what rounds up to the next power of ten has its digits.
    let places = (2.0 - (size / 0.9995).log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.places$}")
}

/// A number without the zeros at its end.
pub fn round_digits(value: f64) -> String {
    let text = format!("{value:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The middle of the values; of an even number, the mean of the middle two. 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_number_has_three_digits_and_the_unit_that_fits() {
        let check =
            |quantity: Quantity, value: f64, text: &str| assert_eq!(quantity.text(value).replace('\u{a0}', " "), text);
        check(Quantity::Time, 1.234, "1.23 s");
        check(Quantity::Time, 0.18, "180 ms");
        check(Quantity::Time, 9.996, "10.0 s");
        check(Quantity::Time, 0.001_234, "1.23 ms");
        check(Quantity::Time, 1234.5, "1,235 s");
        check(Quantity::Bytes, 412.0 * 1_048_576.0, "412 MiB");
        check(Quantity::Bytes, 1.5 * 1_073_741_824.0, "1.50 GiB");
        check(Quantity::Bytes, 0.0, "0 B");
        check(Quantity::Rate, 3_140_000.0, "3.14 M rows/s");
        check(Quantity::Count, 50_000.0, "50 k");
        check(Quantity::Count, 12.0, "12");
        check(Quantity::Ratio, 12.34, "12.3 ×");
        check(Quantity::Ratio, f64::INFINITY, "–");
    }

    #[test]
    fn a_range_has_one_unit() {
        assert_eq!(Quantity::Time.range(0.9, 1.25), "0.900–1.25\u{a0}s");
        assert_eq!(Quantity::Time.range(f64::INFINITY, 0.0), "–");
    }

    #[test]
    fn whole_numbers_keep_their_digits() {
        assert_eq!([digits(1_204_551.0), digits(-3.0), digits(0.0)], ["1,204,551", "-3", "0"]);
        assert_eq!([round_digits(0.1 * 3.0), round_digits(20.0), round_digits(0.0)], ["0.3", "20", "0"]);
    }
}
