//! The names of columns from the rows of a header.
//!
//! ```text
//!  | 구분 |      인구       |          구분   인구/계   인구/남   인구/여
//!  |      |  계 | 남 | 여 |    ─►
//! ```

/// The name of every column of `rows`, the rows of a header from above, each the text of its cells from the first column on.
///
/// A cell that is blank in any row but the last takes what stands to its left, as the cells of a merged one do, where a name
/// stands below it; a name that is repeated below itself is told once. Line ends and runs of blanks become one blank. A column
/// without a name has an empty one.
pub fn joined(rows: &[Vec<String>]) -> Vec<String> {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let own = |row: usize, column: usize| rows[row].get(column).map_or("", String::as_str);
    let part = |row: usize, column: usize| -> &str {
        let below = (row + 1..rows.len()).any(|row| !own(row, column).is_empty());
        if !own(row, column).is_empty() || !below {
            return own(row, column);
        }
        // Not beyond a neighbour that belongs to another name above.
        let same_above = |other: &usize| {
            (0..row).all(|above| own(above, column).is_empty() || own(above, *other) == own(above, column))
        };
        let left = (0..column).rev().take_while(same_above).find(|other| !own(row, *other).is_empty());
        // What stands above a column of its own, with nothing below it, is no group.
        let is_group = |other: usize| (row + 1..rows.len()).any(|row| !own(row, other).is_empty());
        left.filter(|other| is_group(*other)).map_or("", |other| own(row, other))
    };
    let name = |column: usize| {
        let mut parts: Vec<&str> = Vec::new();
        for row in 0..rows.len() {
            let part = part(row, column);
            if !part.is_empty() && parts.last() != Some(&part) {
                parts.push(part);
            }
        }
        parts.join("/")
    };
    (0..width).map(name).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[&str], expected: &str) {
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.split('|').map(str::to_owned).collect()).collect();
        assert_eq!(joined(&rows), expected.split('|').collect::<Vec<_>>());
    }

    #[test]
    fn names_of_several_rows_are_joined() {
        check(&["이름| 금액\n(원) |"], "이름|금액 (원)|");
        check(&["구분|인구||", "|계|남|여"], "구분|인구/계|인구/남|인구/여");
        check(&["지역|지역|2016|", "지역|지역|계|20 - 24세"], "지역|지역|2016/계|2016/20 - 24세");
        check(&["가|나||다", "|라||", "|마|바|사"], "가|나/라/마|나/라/바|다/사");
        check(&["구분|", "|이름"], "구분|이름");
    }
}
