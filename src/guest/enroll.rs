//! `cadet-node enroll`: what another machine's agent needs to be a node of this cluster, made by
//! the cluster's authority and printed for the host to carry there.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::Failure;
use crate::pki::Pki;

/// Who is to become a node.
#[derive(Debug, clap::Args)]
pub struct EnrollArgs {
    /// Name of the Node object
    #[arg(long, value_parser = label)]
    name: String,
    /// The node's address
    #[arg(long)]
    address: Ipv4Addr,
}

/// Certificates and keys by file name, as JSON; made anew only where they age or do not fit.
///
/// # Errors
/// Before the first start of the server, and without the right to read its keys.
pub fn run(args: &EnrollArgs, data: &Path) -> Result<String, Failure> {
    let files = Pki::at(data).enroll(&args.name, args.address.into())?;
    Ok(serde_json::to_string(&files)?)
}

/// It becomes a folder, a name in certificates and a part of DNS names: a DNS label.
fn label(text: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if good {
        Ok(text.to_owned())
    } else {
        Err("not a DNS label: a-z, 0-9 and -, at most 63 of them".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_out_of_the_folder_are_refused() {
        assert!(label("cadet-2").is_ok());
        for bad in ["", "..", "a/b", "A", "-a", "a-", "a.b", &"x".repeat(64)] {
            assert!(label(bad).is_err(), "{bad:?}");
        }
    }
}
