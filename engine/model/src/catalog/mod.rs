//! The catalog: every dataset, service and code of an installation, parsed and cross-checked as a whole.
//!
//! ```text
//!  text ─► TOML tree (spans) ─► typed entries ─► references ─► Catalog
//!              └────────────────────┴───────────────┴──────► every Problem, by path and line
//! ```
//!
//! A part that cannot be read is reported once and still counts as known, so that it causes no further problems.

mod export;
#[cfg(test)]
mod fixture;
mod formats;
mod levels;
mod parse;
mod references;
mod source;
mod spaces;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::dataset::Dataset;
use crate::service::{DocumentLine, Service};

use references::Names;
use source::{File, read_files};
pub use spaces::space_of;

/// One file of the catalog folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogSource {
    /// Path relative to the catalog folder, with `/` separators.
    pub path: String,
    /// Content.
    pub text: String,
}

/// A data holder (보유기관).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Korean name.
    pub name_ko: String,
    /// Institution code (기관코드), 7 digits.
    pub institution_code: String,
    /// First day on which the holder exists.
    #[serde(default)]
    pub valid_from: Option<String>,
    /// Last day on which the holder exists.
    #[serde(default)]
    pub valid_to: Option<String>,
}

/// A body that receives bundles (이용기관).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// Korean name.
    pub name_ko: String,
    /// Code of its legal kind.
    pub recipient_type: String,
    /// The public key that its bundles are encrypted to, in nights that encrypt: `age1…`, or `ieum-kr1-…` of profile `kr`.
    /// Its private half stays with the recipient.
    #[serde(default)]
    pub encryption_key: Option<String>,
}

/// A legal kind of recipient.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientType {
    /// Korean name.
    pub name_ko: String,
    /// English name.
    pub name_en: String,
}

/// A code list: what the values of a code item mean.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeList {
    /// Label by code.
    pub values: BTreeMap<String, String>,
}

/// How a request names a level among its documents: `level:basic`.
pub const LEVEL: &str = "level:";

/// A level of consent: a package of documents and items under one name that a person can be asked about, such as `basic` and
/// `detailed`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Korean name.
    pub name_ko: String,
    /// Levels that it holds beside its own documents.
    #[serde(default)]
    pub includes: Vec<String>,
    /// Its documents.
    #[serde(default)]
    pub documents: Vec<LevelDocument>,
    /// The items of every dataset that it comes to, those of the levels that it includes too: codes, in order.
    #[serde(skip)]
    pub covers: BTreeMap<String, Vec<String>>,
}

/// A document of a level.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelDocument {
    /// Dataset code.
    pub dataset: String,
    /// Items; absent means the view, or the dataset's default minimum.
    #[serde(default)]
    pub items: Option<Vec<String>>,
    /// Named item list of the dataset.
    #[serde(default)]
    pub view: Option<String>,
}

/// The whole catalog. Every reference inside it resolves, and items are named by code wherever a standard abbreviation
/// was written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    /// Data holders by code.
    pub holders: BTreeMap<String, Holder>,
    /// Recipients by code.
    pub recipients: BTreeMap<String, Recipient>,
    /// Legal kinds of recipients by code.
    pub recipient_types: BTreeMap<String, RecipientType>,
    /// Legal categories by code.
    pub categories: BTreeMap<String, String>,
    /// Code lists by name.
    pub code_lists: BTreeMap<String, CodeList>,
    /// Levels of consent by code.
    pub levels: BTreeMap<String, Level>,
    /// Datasets by code.
    pub datasets: BTreeMap<String, Dataset>,
    /// Services by code.
    pub services: BTreeMap<String, Service>,
}

/// What is wrong with a text that should be a public key, and what to do; `None` where it is one.
pub type WrongKey<'a> = &'a dyn Fn(&str) -> Option<(&'static str, &'static str)>;

/// Something wrong with the catalog, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path of the file, relative to the catalog folder.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

impl Catalog {
    /// Parses the `.toml` files of a catalog folder and checks them against each other; other files are passed over.
    ///
    /// # Errors
    /// Every problem of the whole catalog, by path and line.
    pub fn parse(sources: &[CatalogSource]) -> Result<Self, Vec<Problem>> {
        Self::parse_with(sources, &|_| None)
    }

    /// As [`Catalog::parse`]; `wrong_key` says what is wrong with the `encryption_key` of a recipient, which is known
    /// elsewhere. It must not repeat the key.
    ///
    /// # Errors
    /// As [`Catalog::parse`].
    pub fn parse_with(sources: &[CatalogSource], wrong_key: WrongKey<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let files = read_files(sources, &mut problems);
        let mut load = Load { problems, ..Load::default() };
        load.named_sections(&files);
        for file in files.values() {
            match file.path.split('/').collect::<Vec<_>>().as_slice() {
                ["datasets", holder, _] => load.dataset(file, holder),
                ["services", _] => load.service(file),
                path => load.known_section_file(file, path),
            }
        }
        load.check_encryption_keys(&files, wrong_key);
        load.cross_check(&files);
        load.finish()
    }
}

/// A dataset with its file.
struct LoadedDataset<'a> {
    file: &'a File<'a>,
    dataset: Dataset,
}

/// A service with its file; `lines` are the readable document lines with their numbers in the file.
struct LoadedService<'a> {
    file: &'a File<'a>,
    service: Service,
    lines: Vec<(usize, DocumentLine)>,
    lines_lost: bool,
}

#[derive(Default)]
struct Load<'a> {
    problems: Vec<Problem>,
    catalog: Catalog,
    names: BTreeMap<&'static str, Names>,
    datasets: Vec<LoadedDataset<'a>>,
    services: Vec<LoadedService<'a>>,
    /// Codes of datasets, with the file that has it; unreadable ones by file name.
    dataset_files: BTreeMap<String, &'a str>,
    service_files: BTreeMap<String, &'a str>,
}

impl<'a> Load<'a> {
    fn report(&mut self, file: &File<'_>, line: usize, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { hint, ..file.problem(line, message) });
    }

    fn finish(mut self) -> Result<Catalog, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.catalog);
        }
        self.problems.sort();
        self.problems.dedup();
        Err(self.problems)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::fixture::*;
    use super::*;

    #[test]
    fn a_good_catalog_names_items_by_code() {
        let lists = "[code_lists.sex]\nvalues = { 1 = \"남\", 2 = \"여\" }\n";
        let catalog = parse(&[("codelists.toml", lists), ("README.md", "no catalog file")]).unwrap();
        assert_eq!(catalog.datasets["passport"].views["short"], ["name"]);
        assert_eq!(catalog.datasets["passport"].institution_code.as_deref(), Some("9900004"));
        assert_eq!(catalog.services["loan"].documents[0].exclude, ["name"]);
        assert_eq!(catalog.services["loan"].documents.len(), 2);
        assert_eq!(catalog.code_lists["sex"].values["1"], "남");
    }

    #[test]
    fn every_problem_of_every_file_is_reported_in_order() {
        let text = with(&with(DATASET, "\"1a\"", "\"1b\""), "[\"FLNM\"]", "[\"x\", \"y\"]");
        let text = with(&text, "sensitivity = \"D\"", "sensitivity = \"Z\"");
        let files = [
            (S, with(&with(SERVICE, "\"kb\"", "\"zz\""), "view = \"short\"", "veiw = \"short\"")),
            (D, text),
            ("holders.toml", with(HOLDERS, "9900004", "1")),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let problems = parse(&files).unwrap_err();
        let found: Vec<(&str, usize)> = problems.iter().map(|problem| (problem.path.as_str(), problem.line)).collect();
        assert_eq!(found, [(D, 4), (D, 15), (D, 29), (D, 29), ("holders.toml", 3), (S, 3), (S, 16)]);
    }

    #[test]
    fn the_sample_catalog_has_no_problem() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample-data/catalog");
        let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                    sources.push(CatalogSource { path: name, text: std::fs::read_to_string(&path).unwrap() });
                }
            }
        }
        let catalog = Catalog::parse(&sources).unwrap();
        assert_eq!(catalog.datasets.len() + catalog.services.len() + 5, sources.len());
        // 180 documents, and the register of changed numbers, which no service asks for.
        assert_eq!((catalog.datasets.len(), catalog.services.len()), (181, 86));
        let documents = || catalog.datasets.values().filter(|dataset| dataset.code != "resident_number_change");
        assert_eq!(items_by_class(documents()), [115, 344, 528, 122, 223, 78, 393]);
        let holders: BTreeSet<&str> = documents().map(|dataset| dataset.holder.as_str()).collect();
        assert_eq!((holders.len(), catalog.holders.len()), (60, 60));
        let lines = catalog.services.values().flat_map(|service| &service.documents);
        let asked: BTreeSet<&str> = lines.map(|line| line.dataset.as_str()).collect();
        assert_eq!(asked, documents().map(|dataset| dataset.code.as_str()).collect());
        // Those of the field's facts are all still there, with the items that were counted there.
        let field: Vec<&str> = FIELD_DOCUMENTS.split_whitespace().collect();
        assert_eq!((field.len(), field.is_sorted()), (124, true));
        let classes = items_by_class(field.iter().map(|code| &catalog.datasets[*code]));
        assert_eq!((classes, classes.iter().sum::<usize>()), ([76, 228, 353, 95, 151, 58, 209], 1170));
        let services: Vec<&str> = FIELD_SERVICES.split_whitespace().collect();
        assert_eq!((services.len(), services.is_sorted()), (45, true));
        assert!(services.iter().all(|code| catalog.services.contains_key(*code)));
    }

    /// Number of items of each sensitivity class, in the order U, D, Q, S, F, T, G.
    fn items_by_class<'a>(datasets: impl Iterator<Item = &'a Dataset>) -> [usize; 7] {
        let mut counts = [0; 7];
        for item in datasets.flat_map(|dataset| dataset.items.values()) {
            counts[item.sensitivity as usize] += 1;
        }
        counts
    }

    /// The documents of the field's facts.
    const FIELD_DOCUMENTS: &str = "\
        academic_transcript adoption_relation_cert agri_business_registration animal_registration basic_cert \
        basic_livelihood_recipient basic_pension_receipt building_register_title building_register_unit \
        business_closure_fact business_income_withholding business_registration_cert business_registration_history \
        business_suspension_fact cadastral_map chamber_qualification construction_machine_register \
        corporate_registry_cert corporate_seal_cert direct_production_confirm disability_allowance_receipt \
        disability_cert driver_licence_info driving_record_cert earned_income_withholding ei_daily_worker_history \
        ei_insured_history electricity_usage_bill emigration_report_cert enrollment_cert entry_exit_fact \
        factory_registration_cert family_relation_cert farmland_ledger fishery_business_registration \
        fishing_vessel_register food_business_licence foreigner_registration_fact forest_land_register \
        forestry_direct_payment four_insurance_completion full_adoption_relation_cert gas_usage_bill ged_pass_cert \
        graduation_cert health_checkup_result health_personnel_licence house_price_confirm income_amount_cert \
        individual_land_price job_seeker_registration land_register land_use_plan_confirm lease_contract_report \
        livestock_business_registration local_licence_generic local_tax_clearance local_tax_itemized \
        local_tax_payment_confirm ltc_recognition mail_order_business_report marriage_relation_cert \
        medication_history military_service_cert national_prof_qualification national_tax_clearance \
        national_tax_payment_fact national_tech_qualification near_poor_confirm nhis_eligibility_confirm \
        nhis_eligibility_history nhis_premium_payment nps_benefit_payment nps_contribution_history \
        nps_enrollment_cert overseas_korean_residence_report overseas_move_report_cert overseas_national_register \
        passport_info patent_register pension_premium_deduction_confirm phr_allergy phr_condition phr_encounter \
        phr_imaging_report phr_lab_result phr_medication_request phr_pathology_report phr_patient phr_procedure \
        prescription public_pension_benefit real_estate_deal_report real_estate_registry_building \
        real_estate_registry_land removed_family_register rental_business_registration resident_register_abstract \
        resident_register_household school_record ship_register single_parent_cert small_merchant_confirm \
        sme_confirm std_financial_statement student_loan_scholarship telecom_subscription treatment_history \
        unemployment_benefit_receipt vaccination_record vat_exempt_revenue_cert vat_tax_base_cert \
        vehicle_register_a vehicle_register_b vehicle_registration_card venture_confirm veteran_benefit_receipt \
        veteran_status_confirm volunteer_activity_confirm wci_benefit_receipt wci_employment_info \
        welfare_benefit_history work_child_incentive_receipt workplace_insured_roster";

    /// The services of the field's facts.
    const FIELD_SERVICES: &str = "\
        basic_direct_payment_farm basic_pension_application child_support_enforcement childcare_helper_subsidy \
        childcare_teacher_licence civil_service_exam credit_card_issuance credit_guarantee credit_loan_screening \
        crime_victim_relief debt_adjustment disability_pension_application disabled_car_excise_exempt \
        disabled_employment_subsidy emergency_119_safe_call emigration_report farmland_acquisition_cert \
        food_business_report forest_welfare_voucher forestry_direct_payment_reg gangwon_worker_grant \
        gyeonggi_youth_support lifelong_learning_voucher livelihood_benefit_application military_designated_company \
        military_hardship_exemption military_noise_compensation move_in_report national_pension_claim \
        national_scholarship overseas_national_register_app parental_leave_benefit passenger_transport_transfer \
        passport_issuance public_rental_housing rental_business_registration_app senior_employer_support \
        small_fisher_direct_payment small_merchant_fund startup_support tax_arrears_asset_check \
        telecom_fee_reduction vehicle_new_registration veteran_loan veteran_registration";
}
