//! What the values of a column are.

use arrow::datatypes::{DataType, Field};
use ieum_model::dataset::ItemType;

use crate::convert::{date, whole_number};

/// Says whether a value is a sound identifier of a kind, by the kind's rules.
pub type Identify<'i> = dyn Fn(ItemType, &str) -> bool + 'i;

/// Kinds of identifiers whose rules few other values keep, the strictest first.
const IDENTIFIERS: [ItemType; 7] =
    [ItemType::Rrno, ItemType::Frno, ItemType::Crno, ItemType::Brno, ItemType::Pnu, ItemType::Vin, ItemType::Ci];
/// Values below which nothing is said of a kind: one digit in ten is a right check digit.
const ENOUGH: usize = 8;

/// What is found out of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) item_type: ItemType,
    pub(super) identifies: bool,
}

/// The type of a column, by its name and its values; blank ones say nothing.
pub(super) fn of_values<'v>(name: &str, values: impl Iterator<Item = &'v str>, identify: &Identify<'_>) -> Found {
    let values: Vec<&str> = values.map(str::trim).filter(|value| !value.is_empty()).collect();
    let kind = IDENTIFIERS
        .into_iter()
        .find(|kind| values.len() >= ENOUGH && share(&values, |value| identify(*kind, value)) >= 90);
    let item_type = kind.unwrap_or_else(|| plain(name, &values));
    Found { name: name.to_owned(), item_type, identifies: kind.is_some() }
}

fn share(values: &[&str], holds: impl Fn(&str) -> bool) -> usize {
    values.iter().filter(|value| holds(value)).count() * 100 / values.len().max(1)
}

fn plain(name: &str, values: &[&str]) -> ItemType {
    let all = |holds: &dyn Fn(&str) -> bool| !values.is_empty() && values.iter().all(|value| holds(value));
    let digits = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit());
    if all(&|value| date(value).is_some()) {
        return ItemType::Date;
    }
    if all(&|value| matches!(value, "Y" | "N")) {
        return ItemType::Flag;
    }
    if all(&|value| value.len() == 14 && digits(value) && date(&value[..8]).is_some()) {
        return ItemType::Dt;
    }
    if all(&|value| value.len() == 6 && digits(value) && date(&format!("{value}01")).is_some_and(|day| day.is_some()))
        && ["월", "ym", "month"].iter().any(|part| name.to_lowercase().contains(part))
    {
        return ItemType::Ym;
    }
    // Zeros that a number would lose are part of a code.
    if values.iter().any(|value| value.len() > 1 && value.starts_with('0') && digits(value)) && all(&digits) {
        return ItemType::Code;
    }
    let is_code = ["코드", "번호", "_cd", "_id", "code"].iter().any(|part| name.to_lowercase().contains(part));
    if all(&digits) && is_code {
        return ItemType::Code;
    }
    if all(&|value| whole_number(value).is_some()) {
        let money = ["금액", "액", "_amt", "amount"].iter().any(|end| name.to_lowercase().ends_with(end));
        return if money { ItemType::Amt } else { ItemType::Int };
    }
    if all(&|value| value.replace(',', "").parse::<f64>().is_ok_and(f64::is_finite)) {
        return ItemType::Dec;
    }
    if values.iter().any(|value| value.chars().count() > 200) { ItemType::Text } else { ItemType::Str }
}

/// The type of a column of a file that is typed itself.
pub(super) fn of_arrow(field: &Field) -> Found {
    let mut data_type = field.data_type();
    if let DataType::Dictionary(_, value) = data_type {
        data_type = value;
    }
    let item_type = match data_type {
        DataType::Date32 | DataType::Date64 => ItemType::Date,
        DataType::Timestamp(..) => ItemType::Dt,
        DataType::Boolean => ItemType::Flag,
        number if number.is_integer() => ItemType::Int,
        number if number.is_numeric() => ItemType::Dec,
        _ => ItemType::Str,
    };
    Found { name: field.name().clone(), item_type, identifies: false }
}

/// The name of a type in the catalog.
pub(super) fn name(item_type: ItemType) -> &'static str {
    match item_type {
        ItemType::Rrno => "rrno",
        ItemType::Frno => "frno",
        ItemType::Brno => "brno",
        ItemType::Crno => "crno",
        ItemType::Pno => "pno",
        ItemType::Dln => "dln",
        ItemType::Pnu => "pnu",
        ItemType::Vin => "vin",
        ItemType::Vhrno => "vhrno",
        ItemType::Ci => "ci",
        ItemType::Date => "date",
        ItemType::Ym => "ym",
        ItemType::Year => "year",
        ItemType::Dt => "dt",
        ItemType::Amt => "amt",
        ItemType::Int => "int",
        ItemType::Dec => "dec",
        ItemType::Flag => "flag",
        ItemType::Code => "code",
        ItemType::Str => "str",
        ItemType::Text => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_tell_their_type() {
        let check = |name: &str, values: &[&str], expected: ItemType| {
            let found = of_values(name, values.iter().copied(), &|_, _| false);
            assert_eq!(found.item_type, expected, "{name}: {values:?}");
        };
        check("일자", &["2024-02-29", "", "20240301"], ItemType::Date);
        check("여부", &["Y", "N"], ItemType::Flag);
        check("시각", &["20240229120000"], ItemType::Dt);
        check("기준월", &["202402", "202403"], ItemType::Ym);
        check("우편", &["01234", "56789"], ItemType::Code);
        check("시도코드", &["11", "26"], ItemType::Code);
        check("인구", &["9,321,863", "12"], ItemType::Int);
        check("납부금액", &["100", "-5"], ItemType::Amt);
        check("위도", &["37.5", "36"], ItemType::Dec);
        check("이름", &["갑", "1"], ItemType::Str);
        check("비고", &[], ItemType::Str);
        let long = "가".repeat(201);
        check("본문", &[&long], ItemType::Text);
    }

    #[test]
    fn an_identifier_needs_enough_sound_values() {
        let is_brno = |kind: ItemType, value: &str| kind == ItemType::Brno && value.ends_with('7');
        let found = |count: usize| of_values("번호", ["1234567897"].into_iter().cycle().take(count), &is_brno);
        assert_eq!((found(8).item_type, found(8).identifies), (ItemType::Brno, true));
        assert!(!found(7).identifies);
    }
}
