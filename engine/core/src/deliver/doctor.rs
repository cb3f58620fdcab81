//! What a store can do, tried out: what a delivery relies on, one by one.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use ieum_model::error::{Error, ErrorKind, Result};
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutMultipartOptions, UpdateVersion};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::objects::{Objects, Standing, attributes};
use super::{Delivery, runtime};
use crate::manifest::hex;

/// Clients that create one object at the same time, and how often they do.
const CLIENTS: u8 = 8;
const RACES: usize = 5;
/// Length of the parts of the object that is sent in parts: the least that S3 takes.
const PART: usize = 5 << 20;

/// What was tried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What a delivery relies on.
    pub what: &'static str,
    /// What was found wrong; `None` where it is as it should be.
    pub wrong: Option<String>,
}

/// Tries out what a delivery relies on, under a name of its own that is removed afterwards; and the store's time.
///
/// # Errors
/// [`ErrorKind::Key`] where the store refuses the credentials, [`ErrorKind::Temporary`] where it cannot be reached.
pub fn doctor(delivery: &Delivery) -> Result<(Vec<Finding>, DateTime<Utc>)> {
    let objects = Objects::new(delivery, &format!("ieum-doctor-{}", delivery.owner));
    runtime()?.block_on(async {
        let tried = tried(&objects).await;
        let mut left = Vec::new();
        for meta in objects.list().await.unwrap_or_default() {
            if objects.store.delete(&meta.location).await.is_err() {
                left.push(meta.location.to_string());
            }
        }
        let (mut findings, now) = tried?;
        let gone = objects.list().await.is_ok_and(|listed| listed.is_empty());
        let wrong = (!gone || !left.is_empty()).then(|| format!("objects are left: {}", left.join(", ")));
        findings.push(Finding { what: "objects can be removed", wrong });
        Ok((findings, now))
    })
}

async fn tried(objects: &Objects) -> Result<(Vec<Finding>, DateTime<Utc>)> {
    let path = objects.of("object");
    let put = |bytes: &'static [u8], mode| objects.put(&path, Bytes::from_static(bytes), mode);
    let first = put(b"first\n", PutMode::Create).await.map_err(|error| objects.failed(&error))?;
    let now = objects.store.head(&path).await.map_err(|error| objects.failed(&error))?.last_modified;
    let mut findings = Vec::new();
    let mut found = |what, wrong: Option<String>| findings.push(Finding { what, wrong });
    let refused = |outcome: std::result::Result<UpdateVersion, StoreError>, what: &str| match outcome {
        Ok(_) => Some(what.to_owned()),
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => None,
        Err(error) => Some(super::told(&error)),
    };
    found(
        "an object that stands is not created again (If-None-Match)",
        refused(put(b"second\n", PutMode::Create).await, "it was created again"),
    );
    found("of clients that create one object at once one wins", race(objects).await);
    found(
        "an object is replaced where its version is named (If-Match)",
        put(b"third\n", PutMode::Update(first.clone())).await.err().map(|error| super::told(&error)),
    );
    found(
        "an object is not replaced where another version is named",
        refused(put(b"fourth\n", PutMode::Update(first)).await, "it was replaced"),
    );
    found("an object keeps the digest that it carries", carries(objects).await);
    found("a long object goes in parts", parts(objects).await.err().map(|error| error.to_string()));
    let listed = objects.list().await?;
    let is_listed = listed.iter().any(|meta| meta.location == path);
    found("what stands is listed", (!is_listed).then(|| "an object is missing in the list".to_owned()));
    Ok((findings, now))
}

async fn race(objects: &Objects) -> Option<String> {
    for round in 0..RACES {
        let path = objects.of(&format!("race-{round}"));
        let create = |client: u8| objects.put(&path, Bytes::from(vec![client; 64]), PutMode::Create);
        let outcomes = join_all((0..CLIENTS).map(create)).await;
        let winners: Vec<u8> =
            (0..CLIENTS).zip(&outcomes).filter(|(_, won)| won.is_ok()).map(|(client, _)| client).collect();
        let stands = objects.read(&path).await.ok().flatten().map(|(bytes, _)| bytes);
        match winners[..] {
            [winner] if stands.as_deref() == Some(&[winner; 64][..]) => {}
            [_] => return Some("what stands is not what the winner wrote".to_owned()),
            _ => return Some(format!("{} of {CLIENTS} clients were told that they had", winners.len())),
        }
    }
    None
}

async fn carries(objects: &Objects) -> Option<String> {
    const BYTES: &[u8] = b"third\n";
    let sha256 = hex(&Sha256::digest(BYTES));
    match objects.stands(&objects.of("object"), BYTES.len() as u64, &sha256).await {
        Ok(Standing::Same) => None,
        Ok(_) => Some("it stands there with other bytes".to_owned()),
        Err(error) => Some(super::told(&error)),
    }
}

async fn parts(objects: &Objects) -> Result<()> {
    let failed = |error: StoreError| objects.failed(&error);
    let path = objects.of("long");
    let bytes: Vec<u8> = (0..PART + 1000).map(|at| (at % 251) as u8).collect();
    let sha256 = hex(&Sha256::digest(&bytes));
    let options = PutMultipartOptions { attributes: attributes(&sha256), ..PutMultipartOptions::default() };
    let mut upload = objects.store.put_multipart_opts(&path, options).await.map_err(failed)?;
    for part in bytes.chunks(PART) {
        upload.put_part(part.to_vec().into()).await.map_err(failed)?;
    }
    upload.complete().await.map_err(failed)?;
    match objects.read(&path).await? {
        Some((stands, _)) if stands == bytes => Ok(()),
        _ => Err(Error::new(ErrorKind::Integrity, "it was not read as it was written")),
    }
}
