//! lineage: which exports went into which bundles, column by column, as OpenLineage events (spec 2-0-2), one a line.
//!
//! ```text
//!  exports, as they were read ──► inputs ──┐
//!                                          ├─► START, COMPLETE ─► lineage.ndjson
//!  bundles by recipient and service ──► outputs: a field for each item, masked where a pseudonym stands for it
//! ```
//!
//! Times are the declared date and the run's UUID is made from its id, so that the same night gives the same bytes.
//! Bytes read are left to the manifest: they tell staged copies from exports.
//!
//! # Privacy
//! Codes, names and counts of the catalog and of columns; no value of a row, no request, no identifier. A word of a request
//! that the catalog lacks is left out.

mod attempt;
mod event;
mod uuid;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::DataType;
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};
use ieum_model::outcome::Reason;
use rustc_hash::FxHashSet;

use crate::course::Courses;
use crate::input::{ExportState, Night};
use crate::manifest::Manifest;
use event::{
    Accounting, Assertion, Assertions, ColumnLineage, DataSource, Delays, Documentation, Field, InputDataset,
    InputDescription, InputFacets, InputField, InputFields, InputStatistics, Job, JobFacets, JobType, Names,
    NominalTime, OutputDataset, OutputDescription, OutputFacets, OutputStatistics, OwnName, ProcessingEngine, Run,
    RunEvent, RunFacets, RunFacts, Says, Schema, Transformation,
};

pub use attempt::{Attempt, Ended};

/// File of the events, below the output folder.
pub const LINEAGE: &str = "lineage.ndjson";

/// The requests of the night as a dataset, and its column of identifiers.
const REQUESTS: (&str, &str, &str) = ("ieum://requests", "requests", "subject_ids");
/// What stands for the service of requests that name documents themselves.
const NO_SERVICE: &str = "documents";

/// An item as it stands in the export; cells that a request may not have are blank.
const DELIVERED: Transformation = Transformation {
    kind: "DIRECT",
    subtype: "IDENTITY",
    description: "the item, where the request asks for it and may have it",
    masking: false,
};
/// The subject's name in the recipient's domain.
const PSEUDONYM: Transformation = Transformation {
    kind: "DIRECT",
    subtype: "TRANSFORMATION",
    description: "HMAC-SHA-256 of the identifier under the recipient's key",
    masking: true,
};
/// The key that rows were found by; it does not go on.
const JOINED: Transformation = Transformation {
    kind: "INDIRECT",
    subtype: "JOIN",
    description: "joined with the identifiers of the requests",
    masking: true,
};

/// The events of a run that is about to be committed, by its manifest: one JSON object a line.
///
/// # Errors
/// Only for a bug.
pub fn events(night: &Night, courses: &Courses, manifest: &Manifest) -> Result<Vec<u8>> {
    let time = format!("{}T00:00:00Z", manifest.as_of);
    let run_id = uuid_of(&manifest.run_id);
    let read = Read::of(night, courses, manifest);
    let flows = flows(night, &read);
    let (inputs, outputs) = (inputs(night, &read, &flows, manifest), outputs(night, &read, &flows));
    let began = RunFacets {
        nominal_time: NominalTime { nominal_start_time: &time }.facet(),
        processing_engine: ProcessingEngine { version: env!("CARGO_PKG_VERSION"), name: "ieum" }.facet(),
        error_message: None,
        ieum_run: facts(manifest).facet(),
        ieum_requests: None,
        ieum_delays: None,
        ieum_names: None,
    };
    let complete = RunFacets {
        ieum_requests: Some(manifest.requests.facet()),
        ieum_delays: Some(Delays { datasets: read.delayed.clone() }.facet()),
        ieum_names: Some(names(night, &read).facet()),
        ..began.clone()
    };
    let mut out = Vec::new();
    let mut tell = |event_type, facets, inputs, outputs| {
        let job = job();
        let run = Run { run_id: &run_id, facets };
        let (producer, schema_url) = (event::PRODUCER, RunEvent::SCHEMA);
        let event = RunEvent { event_type, event_time: &time, producer, schema_url, run, job, inputs, outputs };
        serde_json::to_writer(&mut out, &event).map_err(|error| Error::internal(error.to_string()))?;
        out.push(b'\n');
        Ok(())
    };
    tell("START", began, &[], &[])?;
    tell("COMPLETE", complete, &inputs, &outputs)?;
    Ok(out)
}

/// The UUID of a run: an attempt that was stopped and the one that goes on are the same run.
fn uuid_of(run_id: &str) -> String {
    uuid::of_name(uuid::URL, &format!("urn:ieum:run:{run_id}"))
}

fn job() -> Job {
    let job_type = JobType { processing_type: "BATCH", integration: "IEUM", job_type: "RUN" };
    Job { namespace: "ieum", name: "night", facets: JobFacets { job_type: job_type.facet() } }
}

fn facts(manifest: &Manifest) -> RunFacts<'_> {
    RunFacts {
        run_id: &manifest.run_id,
        as_of: &manifest.as_of,
        catalog_digest: &manifest.catalog_digest,
        requests_digest: &manifest.requests_digest,
        key_id: &manifest.key_id,
        key_epoch: manifest.key_epoch,
    }
}

/// What was read, and what was left out of the night.
struct Read<'a> {
    /// Rows by dataset.
    rows: BTreeMap<&'a str, Accounting>,
    /// Columns that rows were found by, and those that led to another key.
    keys: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Why nothing of a dataset was used.
    delayed: BTreeMap<&'a str, &'static str>,
}

impl<'a> Read<'a> {
    fn of(night: &'a Night, courses: &'a Courses, manifest: &Manifest) -> Self {
        let mut read = Self { rows: BTreeMap::new(), keys: BTreeMap::new(), delayed: BTreeMap::new() };
        for (reading, counts) in &manifest.sources {
            let Some(dataset) = dataset_of(reading, |code| night.catalog.datasets.get_key_value(code)) else {
                continue;
            };
            let rows = read.rows.entry(dataset.0).or_default();
            rows.read += counts.read;
            rows.kept += counts.kept;
            rows.filtered += counts.filtered;
            rows.rejected += counts.rejected;
            rows.staged += counts.staged;
        }
        let sources = courses.sources.iter().map(|source| (source.dataset.as_str(), source.key_column.as_str()));
        let bridges = courses.walks.iter().map(|walk| &walk.bridge);
        let bridges = bridges.flat_map(|bridge| [&bridge.from, &bridge.to].map(|key| (&*bridge.dataset, key.as_str())));
        for (dataset, key) in sources.chain(bridges).filter(|(dataset, _)| read.rows.contains_key(dataset)) {
            read.keys.entry(dataset).or_default().insert(key);
        }
        let late = |state: &ExportState| match state {
            ExportState::Delayed(reason) => Some(reason.code()),
            ExportState::Ready(_) => None,
        };
        read.delayed.extend(night.exports.iter().filter_map(|(code, state)| Some((code.as_str(), late(state)?))));
        read.delayed.extend(courses.left_out().map(|(code, reason): (&str, Reason)| (code, reason.code())));
        read
    }

    fn delivers(&self, dataset: &str) -> bool {
        self.rows.contains_key(dataset) && !self.delayed.contains_key(dataset)
    }
}

/// The dataset of a reading, `dataset.column` or `dataset.column.bridge0`; codes may have dots themselves.
pub(crate) fn dataset_of<'a, T>(reading: &'a str, find: impl Fn(&'a str) -> Option<T>) -> Option<T> {
    reading.rmatch_indices('.').find_map(|(at, _)| find(&reading[..at]))
}

/// A recipient and a service, or what stands for none.
type Flow<'a> = (&'a str, &'a str);

/// What went to a recipient for a service.
#[derive(Default)]
struct Delivery<'a> {
    bundles: u64,
    items: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

/// Every item that may stand in a bundle, by where the bundle went.
fn flows<'a>(night: &'a Night, read: &Read<'_>) -> BTreeMap<Flow<'a>, Delivery<'a>> {
    let (mut flows, mut met) = (BTreeMap::<Flow<'_>, Delivery<'_>>::new(), FxHashSet::default());
    for request in night.checked.requests.iter().filter(|request| request.refusal.is_none()) {
        let flow = (&*request.recipient, request.service.as_deref().unwrap_or(NO_SERVICE));
        if !night.catalog.recipients.contains_key(flow.0) {
            continue;
        }
        let delivery = flows.entry(flow).or_default();
        delivery.bundles += 1;
        if !met.insert((flow, Arc::as_ptr(&request.lines).addr())) {
            continue;
        }
        let lines = request.lines.iter().filter(|line| line.decided.is_none() && read.delivers(&line.document));
        for line in lines {
            delivery.items.entry(&line.document).or_default().extend(line.items.iter().map(String::as_str));
        }
    }
    flows
}

fn inputs<'a>(
    night: &'a Night,
    read: &Read<'a>,
    flows: &BTreeMap<Flow<'a>, Delivery<'a>>,
    manifest: &Manifest,
) -> Vec<InputDataset<'a>> {
    let mut columns = read.keys.clone();
    for (dataset, items) in flows.values().flat_map(|delivery| &delivery.items) {
        columns.entry(dataset).or_default().extend(items);
    }
    let of_dataset = |(code, rows): (&&'a str, &Accounting)| {
        let dataset = night.catalog.datasets.get(*code)?;
        let fields = columns.get(code).into_iter().flatten().map(|item| field((*item).into(), dataset, item));
        let balances = rows.read == rows.kept + rows.filtered + rows.rejected;
        let assertion = Assertion { assertion: "read = kept + filtered + rejected", success: balances };
        Some(InputDataset {
            namespace: holder_uri(&dataset.holder),
            name: code,
            facets: InputDescription {
                schema: Schema { fields: fields.collect() }.facet(),
                data_source: night
                    .catalog
                    .holders
                    .get(&dataset.holder)
                    .map(|holder| DataSource { name: &holder.name_ko, uri: holder_uri(&dataset.holder) }.facet()),
                documentation: Documentation { description: &dataset.name_ko }.facet(),
            },
            input_facets: InputFacets {
                statistics: InputStatistics { row_count: rows.read }.facet(),
                assertions: Some(Assertions { assertions: [assertion] }.facet()),
                ieum_accounting: Some(rows.facet()),
            },
        })
    };
    let asked = Schema { fields: vec![Field { name: REQUESTS.2.into(), data_type: TEXT }] };
    let requests = InputDataset {
        namespace: REQUESTS.0.to_owned(),
        name: REQUESTS.1,
        facets: InputDescription {
            schema: asked.facet(),
            data_source: None,
            documentation: Documentation { description: "제공 요구" }.facet(),
        },
        input_facets: InputFacets {
            statistics: InputStatistics { row_count: manifest.requests.requests }.facet(),
            assertions: None,
            ieum_accounting: None,
        },
    };
    read.rows.iter().filter_map(of_dataset).chain([requests]).collect()
}

fn outputs<'a>(night: &'a Night, read: &Read<'a>, flows: &BTreeMap<Flow<'a>, Delivery<'a>>) -> Vec<OutputDataset<'a>> {
    let of_flow = |((recipient, service), delivery): (&Flow<'a>, &Delivery<'a>)| {
        let uri = format!("ieum://recipients/{recipient}");
        let name = night.catalog.recipients.get(*recipient).map_or("", |recipient| &recipient.name_ko);
        let described = night.catalog.services.get(*service);
        OutputDataset {
            namespace: uri.clone(),
            name: service,
            facets: OutputDescription {
                schema: Schema { fields: delivered_fields(night, delivery) }.facet(),
                data_source: DataSource { name, uri }.facet(),
                documentation: described.map(|service| Documentation { description: &service.name_ko }.facet()),
                column_lineage: column_lineage(night, read, delivery).facet(),
            },
            output_facets: OutputFacets { statistics: OutputStatistics { row_count: delivery.bundles }.facet() },
        }
    };
    flows.iter().map(of_flow).collect()
}

/// The subject, then every item by its place in the bundle.
fn delivered_fields<'a>(night: &'a Night, delivery: &Delivery<'a>) -> Vec<Field<'a>> {
    let mut fields = vec![Field { name: SUBJECT.into(), data_type: TEXT }];
    for (code, items) in &delivery.items {
        let Some(dataset) = night.catalog.datasets.get(*code) else { continue };
        fields.extend(items.iter().map(|item| field(place(code, item).into(), dataset, item)));
    }
    fields
}

fn column_lineage<'a>(night: &'a Night, read: &Read<'a>, delivery: &Delivery<'a>) -> ColumnLineage<'a> {
    let from = |code: &'a str, field: &'a str, how: Transformation| {
        let holder = night.catalog.datasets.get(code).map_or("", |dataset| dataset.holder.as_str());
        InputField { namespace: holder_uri(holder), name: code, field, transformations: [how] }
    };
    let (namespace, name, field) = REQUESTS;
    let subject = InputField { namespace: namespace.to_owned(), name, field, transformations: [PSEUDONYM] };
    let mut fields = BTreeMap::from([(SUBJECT.to_owned(), InputFields { input_fields: [subject] })]);
    for (code, items) in &delivery.items {
        fields.extend(
            items.iter().map(|item| (place(code, item), InputFields { input_fields: [from(code, item, DELIVERED)] })),
        );
    }
    let keys =
        delivery.items.keys().flat_map(|code| read.keys.get(code).into_iter().flatten().map(|key| (*code, *key)));
    ColumnLineage { fields, dataset: keys.map(|(code, key)| from(code, key, JOINED)).collect() }
}

/// The subject's place in a bundle.
const SUBJECT: &str = "subject";
const TEXT: &str = "utf8";

/// An item's place in a bundle.
fn place(dataset: &str, item: &str) -> String {
    format!("documents.{dataset}.records.{item}")
}

fn field<'a>(name: std::borrow::Cow<'a, str>, dataset: &Dataset, item: &str) -> Field<'a> {
    let data_type = match dataset.column_field(item).data_type() {
        DataType::Int64 => "int64",
        DataType::Date32 => "date32",
        DataType::List(_) => "list",
        _ => TEXT,
    };
    Field { name, data_type }
}

fn holder_uri(code: &str) -> String {
    format!("ieum://holders/{code}")
}

/// The names of everything that was read or asked for, as far as the catalog knows it.
fn names<'a>(night: &'a Night, read: &Read<'a>) -> Names<'a> {
    let (mut names, mut met) = (Names::default(), FxHashSet::default());
    let catalog = &night.catalog;
    let mut datasets: BTreeSet<&str> = read.rows.keys().chain(read.delayed.keys()).copied().collect();
    for request in &night.checked.requests {
        let service = request.service.as_deref();
        if !met.insert((&*request.recipient, service, Arc::as_ptr(&request.lines).addr())) {
            continue;
        }
        datasets.extend(request.lines.iter().map(|line| &*line.document));
        let recipient = catalog.recipients.get_key_value(&*request.recipient);
        names.recipients.extend(recipient.map(|(code, recipient)| (code.as_str(), recipient.name_ko.as_str())));
        let service = service.and_then(|code| catalog.services.get_key_value(code));
        names.services.extend(
            service.map(|(code, service)| (code.as_str(), OwnName { name: &service.name_ko, of: &service.recipient })),
        );
    }
    for (code, dataset) in datasets.into_iter().filter_map(|code| catalog.datasets.get_key_value(code)) {
        names.datasets.insert(code, OwnName { name: &dataset.name_ko, of: &dataset.holder });
        let holder = catalog.holders.get_key_value(&dataset.holder);
        names.holders.extend(holder.map(|(code, holder)| (code.as_str(), holder.name_ko.as_str())));
    }
    names
}
