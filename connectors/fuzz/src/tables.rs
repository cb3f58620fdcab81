//! Formats of typed or ruled tables.
//!
//! Their readers panic over some damages, which the connectors take for damage of the file: a fuzzer that ends at every panic is
//! told to end at those only that nobody catches.

use super::reading::{COLUMNS, table};

/// Panics are told, and are for the reader's callers to catch.
pub fn quietly() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}

/// Workbooks, `.xlsx` and `.xls`.
pub fn workbook(bytes: &[u8]) {
    const EXPORTS: [&str; 4] = [
        "",
        "sheet={header_rows=2,fill_down=['name']}",
        "sheet={name='*',name_column='day',header_row=2}\ncolumns={'a/b'='amount'}",
        "header=false\norder=['rrno','name','amount','day']",
    ];
    let [choice, file @ ..] = bytes else { return };
    quietly();
    let export = EXPORTS[usize::from(*choice) % EXPORTS.len()];
    table(&format!("format='xlsx'\npath='a.xlsx'\n{export}"), "a.xlsx", file, &COLUMNS[..4]);
}

/// Arrow IPC: the file format and streams.
pub fn arrow(bytes: &[u8]) {
    quietly();
    table("format='arrow'\npath='a.arrow'", "a.arrow", bytes, &COLUMNS);
}

/// Parquet.
pub fn parquet(bytes: &[u8]) {
    quietly();
    table("format='parquet'\npath='a.parquet'", "a.parquet", bytes, &COLUMNS);
}
