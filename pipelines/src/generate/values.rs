//! One cell of a row, by the type and the name of its item.

use std::borrow::Cow;

use chrono::{Datelike, Days, Months, NaiveDate};
use ieum_model::dataset::{Dataset, Item, ItemType, Sensitivity};

use super::names;
use super::people::{Person, Population, Rng, hash};

/// A value before it is written in a format.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// Money or a count.
    Int(i64),
    /// A day.
    Date(NaiveDate),
    /// Anything else.
    Text(Cow<'static, str>),
    /// Values of a repeated item.
    List(Vec<Cell>),
}

/// A column of an export.
#[derive(Debug, Clone)]
pub struct Column {
    /// Item code, or name of a key that is no item.
    pub code: String,
    /// Korean name.
    pub name_ko: String,
    /// Type of one value.
    pub item_type: ItemType,
    /// Whether a record holds several values.
    pub list: bool,
    /// Whether the value may be missing.
    optional: bool,
    /// Separates its random stream from those of other columns.
    stream: u64,
}

/// A row to be made.
pub struct Row<'a> {
    /// Whom it is about.
    pub person: &'a Person,
    /// Which of the person's rows, from 0.
    pub nth: u64,
    /// Stream of the dataset.
    pub stream: u64,
    /// Whether the export still carries numbers from before their change.
    pub former: bool,
}

/// Most rows a person has in a dataset.
pub const ROWS_MAX: u64 = 4;
/// Parcel numbers of a region: 800 dong, 1900 main and 4000 sub lots.
const PARCELS: u64 = 800 * 1900 * 4000;
/// Number plates: three digits, one of ten letters, four digits. They are enough for 13.5 million people with [`ROWS_MAX`]
/// vehicles each; of more, some share a plate.
const VEHICLES: u64 = 600 * 10 * 9000;
/// A prime, so that it has no factor in common with the numbers of parcels and vehicles.
const OWN_STEP: u64 = 2_654_435_761;

impl Row<'_> {
    /// A number below `all` that belongs to this row of this person alone, while there are enough of them.
    fn own_number(&self, all: u64) -> u64 {
        let own = u128::from(self.person.serial * ROWS_MAX + self.nth);
        (own * u128::from(OWN_STEP) % u128::from(all)) as u64
    }
}

/// The columns of a dataset's export: keys that are no items, then the items in code order.
pub fn columns(dataset: &Dataset) -> Vec<Column> {
    let keys: Vec<&str> = dataset
        .keys()
        .map(|key| key.item.as_str())
        .chain(dataset.maps.iter().flat_map(|map| [map.from.as_str(), map.to.as_str()]))
        .collect();
    let mut columns: Vec<Column> = Vec::new();
    for key in &keys {
        if !dataset.items.contains_key(*key) && columns.iter().all(|column| column.code != *key) {
            let item_type = match *key {
                "rrno" | "rep_rrno" | "owner_rrno" | "old_rrno" | "new_rrno" => ItemType::Rrno,
                "frno" => ItemType::Frno,
                "brno" => ItemType::Brno,
                "crno" => ItemType::Crno,
                "pno" => ItemType::Pno,
                "dln" => ItemType::Dln,
                "pnu" => ItemType::Pnu,
                "vhrno" => ItemType::Vhrno,
                "ci" => ItemType::Ci,
                _ => ItemType::Str,
            };
            columns.push(Column {
                code: (*key).to_owned(),
                name_ko: (*key).to_owned(),
                item_type,
                list: false,
                optional: false,
                stream: hash(key),
            });
        }
    }
    columns.extend(dataset.items.iter().map(|(code, item)| column(code, item, keys.contains(&code.as_str()))));
    columns
}

fn column(code: &str, item: &Item, key: bool) -> Column {
    let identifying = item.sensitivity == Sensitivity::U || matches!(code, "name" | "birth_date" | "tax_year");
    Column {
        code: code.to_owned(),
        name_ko: item.name_ko.clone(),
        item_type: item.item_type,
        list: item.list,
        optional: !(key || item.default || identifying),
        stream: hash(code),
    }
}

fn text(value: impl Into<Cow<'static, str>>) -> Cell {
    Cell::Text(value.into())
}

fn or_null(value: Option<String>) -> Cell {
    value.map_or(Cell::Null, text)
}

impl Population {
    /// The cell of a row in a column.
    pub fn cell(&self, column: &Column, row: &Row<'_>) -> Cell {
        let mut rng = Rng::of(&[self.seed, row.stream, row.person.serial, row.nth, column.stream]);
        if column.list {
            return Cell::List(self.list(column, row, &mut rng));
        }
        if column.optional && rng.chance(40) {
            return Cell::Null;
        }
        self.value(column, row, &mut rng)
    }

    /// Lists of people name the other members of the household; others have up to three values.
    fn list(&self, column: &Column, row: &Row<'_>, rng: &mut Rng) -> Vec<Cell> {
        let person = row.person;
        let (first, size) = self.household(person.serial);
        let others = (first..first + size).filter(|serial| *serial != person.serial);
        let own = column.code.starts_with("right_holder") || column.code.starts_with("officer");
        match column.item_type {
            ItemType::Rrno if own => vec![text(self.carried(person.serial, row.former))],
            ItemType::Rrno => others.map(|serial| text(self.carried(serial, row.former))).collect(),
            ItemType::Str if own && column.code.ends_with("_nm") => vec![text(person.name.clone())],
            ItemType::Str if relative(&column.code) => others.map(|serial| text(self.name(serial))).collect(),
            ItemType::Date if column.code.ends_with("birth_date") => {
                others.map(|serial| Cell::Date(self.birth(serial))).collect()
            }
            ItemType::Code if column.code.starts_with("member_rel") => {
                others.map(|_| text(pick(rng, &["01", "02", "03", "04"]))).collect()
            }
            _ => (0..rng.below(4)).map(|_| self.value(column, row, rng)).collect(),
        }
    }

    fn value(&self, column: &Column, row: &Row<'_>, rng: &mut Rng) -> Cell {
        let (person, code) = (row.person, column.code.as_str());
        let business = person.business.as_ref();
        match column.item_type {
            ItemType::Rrno if code.starts_with("spouse") => {
                let (first, size) = self.household(person.serial);
                let other = if person.serial == first { first + 1 } else { first };
                or_null((size > 1).then(|| self.carried(other, row.former)))
            }
            ItemType::Rrno if code == "old_rrno" => or_null(person.former.clone()),
            ItemType::Rrno if row.former => text(person.former.as_ref().unwrap_or(&person.rrno).clone()),
            ItemType::Rrno => text(person.rrno.clone()),
            ItemType::Frno => or_null(person.foreigner.then(|| person.rrno.clone())),
            ItemType::Brno if code == "brno" => or_null(business.map(|b| b.brno.clone())),
            ItemType::Brno => or_null(self.any_owner(rng).and_then(|owner| self.brno(owner))),
            ItemType::Crno => or_null(business.and_then(|b| b.crno.clone())),
            ItemType::Pno => text(passport(person.serial)),
            ItemType::Dln => {
                let mut own = Rng::of(&[self.seed, hash("dln"), person.serial]);
                text(format!("{}{:02}{:08}", 11 + own.below(18), own.below(100), own.below(100_000_000)))
            }
            ItemType::Pnu => {
                let mut own = Rng::of(&[self.seed, hash("pnu"), person.serial, row.nth]);
                let region = names::region_code(&mut own);
                let kind = 1 + u64::from(own.chance(80));
                let lot = row.own_number(PARCELS);
                let (dong, main, sub) = (101 + lot / 7_600_000, 1 + lot % 1900, lot / 1900 % 4000);
                text(format!("{region}{dong}00{kind}{main:04}{sub:04}"))
            }
            ItemType::Vin => {
                const LETTERS: &[u8; 33] = b"ABCDEFGHJKLMNPRSTUVWXYZ0123456789";
                let tail: String = (0..14).map(|_| char::from(LETTERS[rng.below(33) as usize])).collect();
                text(format!("KMH{tail}"))
            }
            ItemType::Vhrno => {
                const LETTERS: [&str; 10] = ["가", "나", "다", "라", "마", "거", "너", "더", "러", "허"];
                let number = row.own_number(VEHICLES);
                let (letter, number) = (LETTERS[(number % 10) as usize], number / 10);
                text(format!("{}{letter}{:04}", 100 + number / 9000, 1000 + number % 9000))
            }
            ItemType::Ci => {
                const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                let mut own = Rng::of(&[self.seed, hash("ci"), person.serial]);
                let mut ci: String = (0..85).map(|_| char::from(BASE64[own.below(64) as usize])).collect();
                // The last sextet before the padding carries two bits only.
                ci.push(char::from(BASE64[own.below(4) as usize * 16]));
                text(ci + "==")
            }
            ItemType::Date => self.date(code, row, rng),
            ItemType::Ym => {
                let month = self.as_of.checked_sub_months(Months::new(1 + row.nth as u32)).unwrap_or(self.as_of);
                text(month.format("%Y%m").to_string())
            }
            ItemType::Year => text((self.as_of.year() - 1 - row.nth as i32).to_string()),
            ItemType::Dt => {
                let day = self.past(rng, 700);
                text(format!("{}{:02}{:02}00", day.format("%Y%m%d"), 9 + rng.below(9), rng.below(60)))
            }
            ItemType::Amt => Cell::Int(amount(code, rng)),
            ItemType::Int => Cell::Int(count(code, rng)),
            ItemType::Dec => text(decimal(code, rng)),
            ItemType::Flag => text(if rng.chance(650) { "Y" } else { "N" }),
            ItemType::Code => text(code_value(code, person, rng)),
            ItemType::Str => self.string(code, row, rng),
            ItemType::Text => text(pick(rng, &["해당 사항 없음", "특이 소견 없음", "정상 범위이며 추적 관찰 권고"])),
        }
    }

    /// A day up to `days` before the day of the exports.
    fn past(&self, rng: &mut Rng, days: u64) -> NaiveDate {
        self.as_of - Days::new(1 + rng.below(days))
    }

    fn date(&self, code: &str, row: &Row<'_>, rng: &mut Rng) -> Cell {
        let rare = ["death", "divorce", "dissolution", "nationality_loss", "cancel", "removal", "name_change"];
        if code.ends_with("birth_date") {
            return Cell::Date(row.person.birth);
        }
        if rare.iter().any(|start| code.starts_with(start)) && !rng.chance(30) {
            return Cell::Null;
        }
        if let (Some(business), true) =
            (&row.person.business, matches!(code, "open_date" | "established_date" | "register_date"))
        {
            return Cell::Date(business.founded);
        }
        // The dates of a row share one base, so that an end is never before its start.
        let mut base = Rng::of(&[self.seed, row.stream, row.person.serial, row.nth]);
        let start = self.past(&mut base, 3000);
        let ahead = ["valid_end", "expiry", "until", "due"].iter().any(|part| code.contains(part));
        let end = code.ends_with("_end")
            || ["end", "loss", "close", "discharge", "release"].iter().any(|p| code.starts_with(p));
        if ahead {
            Cell::Date(self.as_of + Days::new(rng.below(1500)))
        } else if end {
            let left = self.as_of.signed_duration_since(start).num_days().unsigned_abs();
            if rng.chance(400) { Cell::Null } else { Cell::Date(start + Days::new(rng.below(left + 1))) }
        } else {
            Cell::Date(start)
        }
    }

    fn string(&self, code: &str, row: &Row<'_>, rng: &mut Rng) -> Cell {
        let person = row.person;
        let business = person.business.as_ref();
        match code {
            "name" | "rep_nm" | "owner_nm" | "patient_nm" | "insured_nm" | "veteran_nm" | "head_nm" | "guardian_nm" => {
                return text(person.name.clone());
            }
            "household_head_nm" => return text(self.name(person.household)),
            "name_en" => return text(format!("SYNTHETIC PERSON {}", person.serial)),
            "biz_nm" | "corp_nm" if business.is_some() => return or_null(business.map(|b| b.name.clone())),
            "biz_addr" | "hq_addr" if business.is_some() => return or_null(business.map(|b| b.address.clone())),
            "biz_category" => return text(pick(rng, &["도매 및 소매업", "숙박 및 음식점업", "정보통신업", "제조업"])),
            "biz_item" => return text(pick(rng, &["전자상거래", "한식", "커피전문점", "소프트웨어", "의류"])),
            "tax_office" => return text(pick(rng, &["종로세무서", "강남세무서", "수원세무서", "북부산세무서"])),
            "tax_item" => return text(pick(rng, &["재산세", "자동차세", "주민세", "취득세"])),
            "drug_nm" | "product_nm" | "ingredient_nm" => {
                return text(pick(
                    rng,
                    &["암로디핀정 5mg", "메트포르민정 500mg", "아세트아미노펜정", "로수바스타틴정 10mg"],
                ));
            }
            "patient_id" | "alias_patient_id" => return text(format!("P{:09}", person.serial)),
            "report_no" if person.foreigner => return text(person.rrno.clone()),
            "share_ratio" => return text(pick(rng, &["1/1", "1/2", "1/3"])),
            "rank" | "term" | "tax_period" => return text(pick(rng, &["1", "2"])),
            "email" => return text(format!("p{}@example.invalid", person.serial)),
            _ => {}
        }
        if relative(code) {
            let (first, size) = self.household(person.serial);
            return text(self.name(first + rng.below(size)));
        }
        if code == "addr" || code == "home_addr" || code == "residence_addr" {
            text(person.address.clone())
        } else if code.contains("addr") || code == "location" {
            text(names::address(rng))
        } else if code.ends_with("_place") || code == "home_port" {
            text(names::region(rng))
        } else if code.contains("tel") {
            text(format!("010-0000-{:04}", rng.below(10_000)))
        } else if code.ends_with("_no") || code.ends_with("_id") || code.ends_with("uid") {
            text(format!("{:010}{:02}", person.serial, row.nth))
        } else if code.contains("school") {
            text(pick(rng, &["한빛고등학교", "누리대학교", "가온대학교", "새봄고등학교"]))
        } else if code.ends_with("_nm") || code.contains("org") {
            text(names::firm(rng, rng.clone().chance(300)))
        } else {
            text(pick(rng, &["해당없음", "일반", "정상", "기타", "확인"]))
        }
    }
}

/// Whether a name column names another person.
fn relative(code: &str) -> bool {
    const PEOPLE: [&str; 16] = [
        "member",
        "parent",
        "child",
        "dependent",
        "spouse",
        "companion",
        "adopt",
        "worker",
        "joint_rep",
        "tenant",
        "buyer",
        "seller",
        "lessor",
        "lessee",
        "doctor",
        "birth_parent",
    ];
    code.ends_with("_nm") && PEOPLE.iter().any(|who| code.contains(who))
}

/// The passport number of a person; both styles occur.
fn passport(serial: u64) -> String {
    if serial.is_multiple_of(2) {
        format!("M{:08}", serial / 2 % 100_000_000)
    } else {
        let n = serial / 2;
        let letter = char::from(b'A' + (n / 10_000_000 % 26) as u8);
        format!("M{:03}{letter}{:04}", n / 10_000 % 1000, n % 10_000)
    }
}

fn pick(rng: &mut Rng, of: &[&'static str]) -> &'static str {
    let at = rng.below(of.len() as u64).min(rng.below(of.len() as u64));
    of[at as usize]
}

/// An amount of the size that the item's name suggests; small ones are more frequent.
fn amount(code: &str, rng: &mut Rng) -> i64 {
    let has = |part: &str| code.contains(part);
    if (has("arrears") || has("unpaid")) && !rng.chance(80) {
        return 0;
    }
    let top: u64 = if has("price") || has("deal") || has("claim") || has("asset") || has("capital") || has("sales") {
        900_000_000
    } else if has("income_tax") || has("premium") || has("monthly") || has("billed") || has("pay_amt") {
        900_000
    } else if has("tax") || has("levied") {
        6_000_000
    } else {
        90_000_000
    };
    let (a, b) = (rng.below(top), rng.below(top));
    (a.min(b) / 10 * 10) as i64
}

fn count(code: &str, rng: &mut Rng) -> i64 {
    let (low, high): (u64, u64) = match code {
        "bp_sys" => (95, 165),
        "bp_dia" => (60, 105),
        "fbs" => (75, 150),
        "total_chol" => (130, 270),
        "displacement" => (998, 3800),
        "issued_shares" => (1000, 500_000),
        "work_days" | "paid_days" | "visit_days" => (1, 25),
        "days_supply" | "benefit_days" => (1, 120),
        "weekly_hours" => (10, 52),
        "total_months" | "months" => (1, 400),
        _ => (0, 12),
    };
    (low + rng.below(high - low + 1)) as i64
}

fn decimal(code: &str, rng: &mut Rng) -> String {
    let (low, high) = match code {
        "gpa" => (200, 450),
        "height_cm" => (15_000, 19_000),
        "weight_kg" | "waist_cm" => (4500, 10_500),
        "tax_rate" => (5, 400),
        "hemoglobin" => (1100, 1700),
        "creatinine" => (50, 130),
        "coord_x" => (12_600, 12_900),
        "coord_y" => (3400, 3800),
        _ => (100, 30_000),
    };
    let value = low + rng.below(high - low + 1);
    format!("{}.{:02}", value / 100, value % 100)
}

fn code_value(code: &str, person: &Person, rng: &mut Rng) -> Cow<'static, str> {
    match code {
        "sex" => if person.female { "F" } else { "M" }.into(),
        "kcd_cd" | "condition_cd" => pick(rng, &["I10", "E11", "J00", "M54", "K21", "E78", "F32"]).into(),
        "nationality_cd" if !person.foreigner => "KR".into(),
        "nationality_cd" | "stay_nation_cd" | "dest_nation_cd" | "issuing_nation" => {
            pick(rng, &["US", "VN", "CN", "JP", "UZ"]).into()
        }
        "ksic_cd" | "industry_cd" => pick(rng, &["47111", "56111", "62010", "10301", "41112"]).into(),
        "emd_cd" | "desired_region_cd" | "jurisdiction_cd" => format!("{}10100", names::region_code(rng)).into(),
        "drug_cd" | "edi_cd" | "product_cd" => format!("{:09}", 640_000_000 + rng.below(9_999_999)).into(),
        "loinc_cd" => pick(rng, &["2345-7", "718-7", "2160-0", "2093-3"]).into(),
        "hira_org_id" | "checkup_org_id" => format!("{:08}", 99_000_000 + rng.below(1000)).into(),
        _ => pick(rng, &["01", "02", "03", "04", "05", "09"]).into(),
    }
}
