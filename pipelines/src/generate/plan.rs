//! Which datasets are generated, in which format, and how many rows a person has in each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ieum_model::catalog::Catalog;
use ieum_model::dataset::{
    At, Control, Dataset, Encoding, Export, Format, ItemType, LayoutField, Limits, ManifestRule, Sheet, TrailerRule,
};

use super::people::{Person, Rng, hash};
use super::values::{Column, columns};
use super::write::file_order;

/// Number of datasets unless told otherwise, beside the register of changed numbers.
pub const DEFAULT_DATASETS: usize = 44;
/// Share of unreadable rows that a holder with dirty rows may deliver.
const DIRTY_RATIO: f64 = 0.05;

/// Services whose datasets come first; the earlier, the more requests.
pub const SERVICES: [&str; 12] = [
    "credit_loan_screening",
    "passport_issuance",
    "credit_card_issuance",
    "gyeonggi_youth_support",
    "public_rental_housing",
    "small_merchant_fund",
    "national_scholarship",
    "telecom_fee_reduction",
    "emergency_119_safe_call",
    "credit_guarantee",
    "debt_adjustment",
    "startup_support",
];

/// The register of changed numbers.
const REGISTER: &str = "resident_number_change";
/// One dataset of so many still carries former numbers.
const FORMER: u64 = 3;

/// Datasets that faults are never planted in: every night needs them.
const NEEDED: [&str; 4] = ["business_registration_cert", "income_amount_cert", "resident_register_abstract", REGISTER];
/// Holders that are never late, for the same reason.
const NEVER_LATE: [&str; 4] = ["nts", "nhis", "mois", "court"];

/// How one dataset is generated.
pub struct Plan {
    /// Dataset code.
    pub code: String,
    /// How its holder writes it.
    pub export: Export,
    /// Whether the dataset's file in the catalog has no export section yet.
    pub chosen: bool,
    /// Columns.
    pub columns: Vec<Column>,
    /// Positions in `columns` and titles, in file order.
    pub order: Vec<(usize, String)>,
    /// Whether a CSV starts with a byte order mark.
    pub byte_order_mark: bool,
    /// Whether lines end in CR LF.
    pub crlf: bool,
    /// Whether every CSV field is quoted.
    pub quoted: bool,
    /// Whether some rows are unreadable.
    pub dirty: bool,
    /// Whether its holder is late: no files.
    pub late: bool,
    /// Whether its trailer is wrong.
    pub wrong_trailer: bool,
    /// Whether its people still have their numbers from before a change.
    pub former: bool,
    who: Who,
    share: u64,
    most: u64,
    stream: u64,
}

/// Who has rows.
#[derive(PartialEq)]
enum Who {
    People,
    Foreigners,
    Owners,
    Corporations,
    Renumbered,
}

impl Plan {
    /// Stream of the dataset's values.
    pub fn stream(&self) -> u64 {
        self.stream
    }

    /// Number of rows that a person would have, if it can have any: known without making the person.
    pub fn drawn(&self, seed: u64, serial: u64) -> u64 {
        let mut rng = Rng::of(&[seed, self.stream, hash("rows"), serial]);
        if rng.chance(self.share) { 1 + rng.below(self.most) } else { 0 }
    }

    /// Whether a person can have rows.
    pub fn concerns(&self, person: &Person) -> bool {
        let business = person.business.as_ref();
        match self.who {
            Who::People => true,
            Who::Foreigners => person.foreigner,
            Who::Owners => business.is_some(),
            Who::Corporations => business.is_some_and(|business| business.crno.is_some()),
            Who::Renumbered => person.former.is_some(),
        }
    }

    /// Number of rows of a person: a pure function of the seed, the dataset and the person.
    pub fn rows(&self, seed: u64, person: &Person) -> u64 {
        if self.concerns(person) { self.drawn(seed, person.serial) } else { 0 }
    }
}

/// The register that leads from a person's former number to the present one.
pub fn register(catalog: &Catalog) -> Option<&Dataset> {
    catalog.datasets.get(REGISTER).filter(|dataset| dataset.maps.iter().any(|map| map.space == dataset.key.space))
}

/// The datasets to generate: those of the usual services, then the others in catalog order; always the register.
pub fn selected(catalog: &Catalog, limit: usize) -> Vec<&Dataset> {
    let mut seen = BTreeSet::new();
    SERVICES
        .iter()
        .filter_map(|service| catalog.services.get(*service))
        .flat_map(|service| service.documents.iter().map(|line| line.dataset.as_str()))
        .chain(catalog.datasets.keys().map(|code| code.as_str()))
        .filter(|code| seen.insert((*code).to_owned()))
        .filter_map(|code| catalog.datasets.get(code))
        .filter(|dataset| dataset.code != REGISTER)
        .take(limit)
        .chain(register(catalog))
        .collect()
}

/// Share in tenths of a per cent of those who could have rows, and the most rows of one.
fn prevalence(code: &str) -> (u64, u64) {
    match code {
        "resident_register_abstract"
        | "resident_register_household"
        | "basic_cert"
        | "family_relation_cert"
        | "business_registration_cert"
        | "corporate_registry_cert"
        | REGISTER => (1000, 1),
        "income_amount_cert" => (600, 3),
        "nhis_eligibility_history" => (900, 4),
        "nhis_premium_payment" | "local_tax_itemized" => (700, 4),
        "nps_enrollment_cert" | "ei_insured_history" | "medication_history" => (550, 3),
        "national_tax_clearance" | "local_tax_clearance" => (900, 1),
        "vat_tax_base_cert" | "small_merchant_confirm" | "workplace_insured_roster" => (700, 3),
        "passport_info" => (550, 1),
        "military_service_cert" => (450, 1),
        "nps_benefit_payment" => (120, 3),
        "vehicle_register_a" => (400, 2),
        "basic_livelihood_recipient" | "veteran_status_confirm" => (50, 1),
        "single_parent_cert" => (20, 1),
        "disability_cert" | "near_poor_confirm" | "basic_pension_receipt" => (60, 1),
        "business_closure_fact" => (150, 1),
        _ => (20 + hash(code) % 81, 1 + hash(code) % 2),
    }
}

fn who(dataset: &Dataset) -> Who {
    if dataset.code == REGISTER {
        return Who::Renumbered;
    }
    let person = dataset.keys().find(|key| key.space == "person");
    match (person.map(|key| key.item.as_str()), dataset.key.space.as_str()) {
        (Some("frno" | "report_no"), _) => Who::Foreigners,
        (_, "business") => Who::Owners,
        (_, "corporation") => Who::Corporations,
        _ => Who::People,
    }
}

/// The holder of the register has changed its own files; of the others, some have not.
fn keeps_former(dataset: &Dataset, register: &Dataset) -> bool {
    dataset.holder != register.holder && Rng::of(&[hash(&dataset.code), hash("former")]).below(FORMER) == 0
}

/// Bytes of a field of a fixed-width record.
fn width(column: &Column) -> usize {
    let one = match column.item_type {
        ItemType::Rrno | ItemType::Frno | ItemType::Crno => 13,
        ItemType::Brno => 10,
        ItemType::Pno => 9,
        ItemType::Dln => 12,
        ItemType::Pnu => 19,
        ItemType::Vin => 17,
        ItemType::Vhrno => 16,
        ItemType::Ci => 88,
        ItemType::Date => 8,
        ItemType::Ym => 6,
        ItemType::Year => 4,
        ItemType::Dt => 14,
        ItemType::Amt => 15,
        ItemType::Int | ItemType::Dec => 10,
        ItemType::Flag => 1,
        ItemType::Code => 10,
        ItemType::Str => 60,
        ItemType::Text => 100,
    };
    if column.list { 3 * one + 2 } else { one }
}

/// The ways holders write, in the order in which they come round.
const WAYS: [(Format, Encoding, &str); 5] = [
    (Format::Csv, Encoding::Cp949, "csv.gz"),
    (Format::Csv, Encoding::Utf8, "csv"),
    (Format::Parquet, Encoding::Utf8, "parquet"),
    (Format::FixedWidth, Encoding::Cp949, "dat"),
    (Format::Csv, Encoding::Utf8, "csv"),
];

/// Whether files of a format can be made; an export that is declared in another one is written as its holder's turn has it.
fn is_written(format: Format) -> bool {
    WAYS.iter().any(|(written, ..)| *written == format)
}

/// How the `turn`-th holder writes, of the formats that are wanted; all of them where none is named.
fn choose(dataset: &Dataset, columns: &[Column], turn: usize, order: usize, formats: &[Format]) -> Export {
    let (holder, code) = (&dataset.holder, &dataset.code);
    let wanted = |(format, ..): &&(Format, Encoding, &str)| formats.is_empty() || formats.contains(format);
    let ways: Vec<_> = WAYS.iter().filter(wanted).collect();
    let (format, encoding, extension) = *ways[turn % ways.len()];
    let mut titles = BTreeMap::new();
    if format != Format::FixedWidth && order.is_multiple_of(2) {
        for column in columns {
            let twice = columns.iter().filter(|other| other.name_ko == column.name_ko).count() > 1;
            if !twice && column.name_ko != column.code {
                titles.insert(column.name_ko.clone(), column.code.clone());
            }
        }
    }
    let layout = if format == Format::FixedWidth {
        columns
            .iter()
            .map(|column| LayoutField { item: column.code.clone(), bytes: width(column), ..LayoutField::default() })
            .collect()
    } else {
        Vec::new()
    };
    // What depends on the date of an export has it in its files' names, unless a header record tells it.
    let dated = dataset.validity_days.is_some() && format != Format::FixedWidth;
    let names = if dated { "*_{date}" } else { "*" };
    Export {
        format,
        encoding,
        header: true,
        delimiter: ',',
        list_separator: '|',
        path: format!("{holder}/{code}/{names}.{extension}"),
        entries: None,
        rows: None,
        quote: true,
        escape: None,
        null: None,
        repair: Vec::new(),
        limits: Limits::default(),
        at: At::default(),
        columns: titles,
        order: Vec::new(),
        layout,
        framing: None,
        record_bytes: None,
        sheet: Sheet::default(),
        deltas: None,
        max_reject_ratio: 0.0,
        max_shrink: 0.5,
        contract: Vec::new(),
        control: Control {
            trailer: (format == Format::FixedWidth).then_some(TrailerRule::CountAndSums),
            manifest: (format == Format::Parquet).then_some(ManifestRule::Sha256),
            marker: None,
        },
    }
}

/// Plans every selected dataset, with the planted faults.
///
/// Exports are written as the catalog says, or as their holder's turn has it; where `formats` are named, always the latter.
pub fn plans(catalog: &Catalog, limit: usize, faults: bool, formats: &[Format]) -> Vec<Plan> {
    let datasets = selected(catalog, limit);
    let register = register(catalog);
    let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
    let mut plans: Vec<Plan> = datasets
        .iter()
        .map(|dataset| {
            let next = turns.len();
            let turn = *turns.entry(dataset.holder.as_str()).or_insert(next);
            let columns = columns(dataset);
            let declared = dataset.export.clone().filter(|export| formats.is_empty() && is_written(export.format));
            let chosen = declared.is_none();
            let export = declared.unwrap_or_else(|| choose(dataset, &columns, turn, turn / 5 + turn, formats));
            let (share, most) = prevalence(&dataset.code);
            // An export section says nothing of these: a reader finds them out.
            let text = export.format == Format::Csv && export.encoding == Encoding::Utf8 && export.header;
            let bom = text && turn % 5 == 1;
            Plan {
                code: dataset.code.clone(),
                order: file_order(&columns, &export),
                chosen,
                byte_order_mark: bom,
                crlf: bom,
                quoted: text && turn % 5 == 4,
                dirty: false,
                late: false,
                wrong_trailer: false,
                former: register.is_some_and(|register| keeps_former(dataset, register)),
                who: who(dataset),
                share,
                most,
                stream: hash(&dataset.code),
                columns,
                export,
            }
        })
        .collect();
    if faults {
        plant(catalog, &datasets, &mut plans);
    }
    plans
}

/// Faults go where the requests meet them: into datasets of the usual services that a person's key leads to.
fn plant(catalog: &Catalog, datasets: &[&Dataset], plans: &mut [Plan]) {
    let spared = |plan: &Plan| NEEDED.contains(&plan.code.as_str());
    let asked = |code: &str| {
        let lines = SERVICES.iter().filter_map(|service| catalog.services.get(*service)).flat_map(|s| &s.documents);
        let reachable = |dataset: &Dataset| dataset.keys().any(|key| key.space == "person");
        catalog.datasets.get(code).is_some_and(reachable) && lines.into_iter().any(|line| line.dataset == code)
    };
    // The late holder is the last one with a single dataset.
    let alone = |holder: &str| datasets.iter().filter(|dataset| dataset.holder == holder).count() == 1;
    let late =
        datasets.iter().rposition(|d| alone(&d.holder) && asked(&d.code) && !NEVER_LATE.contains(&d.holder.as_str()));
    if let Some(late) = late {
        plans[late].late = true;
    }
    let dirty = |plan: &Plan| plan.export.format == Format::Csv && !plan.late && !spared(plan) && plan.share >= 400;
    for plan in plans
        .iter_mut()
        .filter(|plan| dirty(plan))
        .filter(|plan| plan.chosen || plan.export.max_reject_ratio >= DIRTY_RATIO)
        .take(2)
    {
        plan.dirty = true;
        plan.export.max_reject_ratio = DIRTY_RATIO;
    }
    // A wrong trailer leaves out its whole holder: one with few datasets, never the one of the register.
    let holder = |plan: &Plan| catalog.datasets.get(plan.code.as_str()).map(|dataset| &dataset.holder);
    let beside = |plan: &Plan| datasets.iter().filter(|dataset| Some(&dataset.holder) == holder(plan)).count();
    let kept = register(catalog).map(|dataset| &dataset.holder);
    let wrong = |plan: &&mut Plan| {
        plan.export.format == Format::FixedWidth
            && !plan.late
            && !spared(plan)
            && asked(&plan.code)
            && (kept.is_none() || holder(plan) != kept)
    };
    if let Some(plan) = plans.iter_mut().filter(wrong).min_by_key(|plan| (beside(plan), plan.share)) {
        plan.wrong_trailer = true;
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The export section of a dataset's file.
pub fn section(export: &Export) -> String {
    let mut out = format!("\n[export]\nformat = \"{}\"\n", export.format);
    let encoding = if export.encoding == Encoding::Cp949 { "cp949" } else { "utf8" };
    if export.format != Format::Parquet {
        _ = writeln!(out, "encoding = \"{encoding}\"");
    }
    _ = writeln!(out, "path = {}", quoted(&export.path));
    if export.max_reject_ratio > 0.0 {
        _ = writeln!(out, "max_reject_ratio = {}", export.max_reject_ratio);
    }
    if export.control.trailer.is_some() {
        out.push_str("control = { trailer = \"count_and_sums\" }\n");
    }
    if export.control.manifest.is_some() {
        out.push_str("control = { manifest = \"sha256\" }\n");
    }
    if !export.layout.is_empty() {
        out.push_str("layout = [\n");
        for field in &export.layout {
            _ = writeln!(out, "  {{ item = {}, bytes = {} }},", quoted(&field.item), field.bytes);
        }
        out.push_str("]\n");
    }
    if !export.columns.is_empty() {
        out.push_str("\n[export.columns]\n");
        for (title, item) in &export.columns {
            _ = writeln!(out, "{} = {}", quoted(title), quoted(item));
        }
    }
    out
}
