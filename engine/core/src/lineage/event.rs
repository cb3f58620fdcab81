//! The words of OpenLineage 2-0-2 that a run uses, as they are written. Order of fields and of entries is fixed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::manifest::RequestCounts;

/// Who says all this.
pub const PRODUCER: &str = concat!("urn:ieum:", env!("CARGO_PKG_VERSION"));

/// An event: a run began, or is complete.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEvent<'a> {
    pub event_type: &'static str,
    pub event_time: &'a str,
    pub producer: &'static str,
    #[serde(rename = "schemaURL")]
    pub schema_url: &'static str,
    pub run: Run<'a>,
    pub job: Job,
    pub inputs: &'a [InputDataset<'a>],
    pub outputs: &'a [OutputDataset<'a>],
}

impl RunEvent<'_> {
    pub const SCHEMA: &'static str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run<'a> {
    pub run_id: &'a str,
    pub facets: RunFacets<'a>,
}

#[derive(Clone, Serialize)]
pub struct RunFacets<'a> {
    #[serde(rename = "nominalTime")]
    pub nominal_time: Facet<NominalTime<'a>>,
    pub processing_engine: Facet<ProcessingEngine>,
    #[serde(rename = "errorMessage", skip_serializing_if = "Option::is_none")]
    pub error_message: Option<Facet<ErrorMessage<'a>>>,
    pub ieum_run: Facet<RunFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ieum_requests: Option<Facet<RequestCounts>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ieum_delays: Option<Facet<Delays<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ieum_names: Option<Facet<Names<'a>>>,
}

#[derive(Serialize)]
pub struct Job {
    pub namespace: &'static str,
    pub name: &'static str,
    pub facets: JobFacets,
}

#[derive(Serialize)]
pub struct JobFacets {
    #[serde(rename = "jobType")]
    pub job_type: Facet<JobType>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputDataset<'a> {
    pub namespace: String,
    pub name: &'a str,
    pub facets: InputDescription<'a>,
    pub input_facets: InputFacets,
}

#[derive(Serialize)]
pub struct InputDescription<'a> {
    pub schema: Facet<Schema<'a>>,
    #[serde(rename = "dataSource", skip_serializing_if = "Option::is_none")]
    pub data_source: Option<Facet<DataSource<'a>>>,
    pub documentation: Facet<Documentation<'a>>,
}

#[derive(Serialize)]
pub struct InputFacets {
    #[serde(rename = "inputStatistics")]
    pub statistics: Facet<InputStatistics>,
    #[serde(rename = "dataQualityAssertions", skip_serializing_if = "Option::is_none")]
    pub assertions: Option<Facet<Assertions>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ieum_accounting: Option<Facet<Accounting>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputDataset<'a> {
    pub namespace: String,
    pub name: &'a str,
    pub facets: OutputDescription<'a>,
    pub output_facets: OutputFacets,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputDescription<'a> {
    pub schema: Facet<Schema<'a>>,
    pub data_source: Facet<DataSource<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation: Option<Facet<Documentation<'a>>>,
    pub column_lineage: Facet<ColumnLineage<'a>>,
}

#[derive(Serialize)]
pub struct OutputFacets {
    #[serde(rename = "outputStatistics")]
    pub statistics: Facet<OutputStatistics>,
}

/// A facet: who says it, by which schema, and what.
#[derive(Clone, Serialize)]
pub struct Facet<T> {
    #[serde(rename = "_producer")]
    producer: &'static str,
    #[serde(rename = "_schemaURL")]
    schema_url: &'static str,
    #[serde(flatten)]
    says: T,
}

/// What has a schema.
pub trait Says: Sized {
    /// Where the schema is.
    const SCHEMA: &'static str;

    fn facet(self) -> Facet<Self> {
        Facet { producer: PRODUCER, schema_url: Self::SCHEMA, says: self }
    }
}

macro_rules! says {
    ($($name:ident $(<$life:lifetime>)? : $schema:literal)*) => {
        $(impl $(<$life>)? Says for $name $(<$life>)? { const SCHEMA: &'static str = $schema; })*
    };
}

says! {
    NominalTime<'a>: "https://openlineage.io/spec/facets/1-0-1/NominalTimeRunFacet.json#/$defs/NominalTimeRunFacet"
    ErrorMessage<'a>: "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"
    ProcessingEngine: "https://openlineage.io/spec/facets/1-1-1/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet"
    JobType: "https://openlineage.io/spec/facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet"
    Schema<'a>: "https://openlineage.io/spec/facets/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet"
    DataSource<'a>: "https://openlineage.io/spec/facets/1-0-1/DatasourceDatasetFacet.json#/$defs/DatasourceDatasetFacet"
    Documentation<'a>: "https://openlineage.io/spec/facets/1-1-0/DocumentationDatasetFacet.json#/$defs/DocumentationDatasetFacet"
    InputStatistics: "https://openlineage.io/spec/facets/1-0-0/InputStatisticsInputDatasetFacet.json#/$defs/InputStatisticsInputDatasetFacet"
    Assertions: "https://openlineage.io/spec/facets/1-1-0/DataQualityAssertionsDatasetFacet.json#/$defs/DataQualityAssertionsDatasetFacet"
    OutputStatistics: "https://openlineage.io/spec/facets/1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet"
    ColumnLineage<'a>: "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet"
    RunFacts<'a>: "urn:ieum:openlineage:run:1"
    RequestCounts: "urn:ieum:openlineage:requests:1"
    Delays<'a>: "urn:ieum:openlineage:delays:1"
    Names<'a>: "urn:ieum:openlineage:names:1"
    Accounting: "urn:ieum:openlineage:accounting:1"
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NominalTime<'a> {
    pub nominal_start_time: &'a str,
}

/// Why a run did not come to its end.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorMessage<'a> {
    pub message: &'a str,
    pub programming_language: &'static str,
}

#[derive(Clone, Serialize)]
pub struct ProcessingEngine {
    pub version: &'static str,
    pub name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobType {
    pub processing_type: &'static str,
    pub integration: &'static str,
    pub job_type: &'static str,
}

#[derive(Serialize)]
pub struct Schema<'a> {
    pub fields: Vec<Field<'a>>,
}

#[derive(Serialize)]
pub struct Field<'a> {
    pub name: std::borrow::Cow<'a, str>,
    #[serde(rename = "type")]
    pub data_type: &'static str,
}

#[derive(Serialize)]
pub struct DataSource<'a> {
    pub name: &'a str,
    pub uri: String,
}

#[derive(Serialize)]
pub struct Documentation<'a> {
    pub description: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputStatistics {
    pub row_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputStatistics {
    pub row_count: u64,
}

#[derive(Serialize)]
pub struct Assertions {
    pub assertions: [Assertion; 1],
}

#[derive(Serialize)]
pub struct Assertion {
    pub assertion: &'static str,
    pub success: bool,
}

#[derive(Serialize)]
pub struct ColumnLineage<'a> {
    pub fields: BTreeMap<String, InputFields<'a>>,
    /// What decides which rows there are: the keys that exports were joined on.
    pub dataset: Vec<InputField<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputFields<'a> {
    pub input_fields: [InputField<'a>; 1],
}

#[derive(Serialize)]
pub struct InputField<'a> {
    pub namespace: String,
    pub name: &'a str,
    pub field: &'a str,
    pub transformations: [Transformation; 1],
}

#[derive(Clone, Copy, Serialize)]
pub struct Transformation {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub subtype: &'static str,
    pub description: &'static str,
    pub masking: bool,
}

/// What the run was made from.
#[derive(Clone, Serialize)]
pub struct RunFacts<'a> {
    pub run_id: &'a str,
    pub as_of: &'a str,
    pub catalog_digest: &'a str,
    pub requests_digest: &'a str,
    pub key_id: &'a str,
    pub key_epoch: u32,
}

/// Datasets that were left out of the night, and why.
#[derive(Clone, Serialize)]
pub struct Delays<'a> {
    pub datasets: BTreeMap<&'a str, &'static str>,
}

/// What the codes of this run are called.
#[derive(Clone, Default, Serialize)]
pub struct Names<'a> {
    pub holders: BTreeMap<&'a str, &'a str>,
    pub datasets: BTreeMap<&'a str, OwnName<'a>>,
    pub services: BTreeMap<&'a str, OwnName<'a>>,
    pub recipients: BTreeMap<&'a str, &'a str>,
}

/// A name, and the code of the body that it belongs to.
#[derive(Clone, Serialize)]
pub struct OwnName<'a> {
    pub name: &'a str,
    pub of: &'a str,
}

/// Rows of a dataset in all its readings; `read = kept + filtered + rejected`.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Accounting {
    pub read: u64,
    pub kept: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub staged: u64,
}
