//! `ieum receipt`: what is handed out with a bundle.

use ieum_core::seal;
use ieum_model::error::Result;

use super::DONE;
use crate::cli::ReceiptArgs;
use crate::screen::Screen;

/// Gives the receipt of a request, one line of JSON.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Config`] if the output is not sealed or has no bundle of the request,
/// [`ieum_model::error::ErrorKind::Integrity`] if its receipts are not as they were written.
pub fn receipt(args: &ReceiptArgs, screen: &Screen) -> Result<u8> {
    let receipt = seal::receipt_of(&args.dir, &args.request_id)?;
    screen.result(&receipt.text()?, &receipt);
    Ok(DONE)
}
