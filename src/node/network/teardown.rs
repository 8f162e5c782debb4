//! Taking everything away again that this room and the service network have put into the
//! kernel: links, routes, tables, rules. For machines whose agent has ended.
//!
//! Forwarding stays on: others may have come to rely on it.

use std::collections::BTreeSet;

use crate::firewall::output;
use crate::link::Links;
use crate::{BRIDGE, NetworkError, firewall, routes};

/// Our tables are `cadet` and `cadet-…`, in any family.
const TABLE: &str = "cadet";

/// Removes the bridge, all pods' links, our nftables tables and our rules in Docker's
/// chain. What is not there is no error, so it can be repeated.
///
/// # Errors
/// As [`crate::Network::setup`]; what comes after the failed act is then left.
pub async fn teardown() -> Result<(), NetworkError> {
    let links = Links::open()?;
    for name in links.ours().await? {
        links.remove(&name).await?;
    }
    links.remove(BRIDGE).await?;
    routes::apply(&links, &BTreeSet::new()).await?;
    let tables = tables(&output("nft", &["list", "tables"]).await?);
    if !tables.is_empty() {
        firewall::run("nft", &["-f", "-"], &tables).await?;
    }
    firewall::leave_docker_chain().await?;
    drop_empty_filter().await
}

/// Statements that delete our tables of those `nft list tables` names.
fn tables(listed: &str) -> String {
    let ours = |line: &&str| {
        let name = line.rsplit(' ').next().unwrap_or_default();
        let rest = name.strip_prefix(TABLE);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let statement = |line: &str| format!("delete {line}\n");
    listed
        .lines()
        .map(str::trim)
        .filter(ours)
        .map(statement)
        .collect()
}

/// `iptables` made the table `filter` for our chain where there was none. Without a rule and
/// with nothing dropped it means nothing.
async fn drop_empty_filter() -> Result<(), NetworkError> {
    const FILTER: [&str; 4] = ["list", "table", "ip", "filter"];
    if !firewall::succeeds("nft", &FILTER).await? {
        return Ok(());
    }
    if means_nothing(&output("nft", &FILTER).await?) {
        firewall::run("nft", &["delete", "table", "ip", "filter"], "").await?;
    }
    Ok(())
}

/// Whether a listed table has nothing but empty chains that let everything pass.
fn means_nothing(listed: &str) -> bool {
    listed.lines().map(str::trim).all(|line| {
        line.is_empty()
            || line == "}"
            || line.starts_with('#')
            || (line.ends_with('{') && (line.starts_with("table ") || line.starts_with("chain ")))
            || (line.starts_with("type filter hook ") && line.ends_with("policy accept;"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_tables_go() {
        let listed = "table ip nat\ntable ip cadet\ntable ip cadet-ports\ntable inet cadet-dns\n\
                      table ip cadets\ntable ip filter\n";
        assert_eq!(
            tables(listed),
            "delete table ip cadet\ndelete table ip cadet-ports\ndelete table inet cadet-dns\n"
        );
        assert_eq!(tables(""), "");
    }

    #[test]
    fn a_table_with_a_rule_or_a_closed_door_means_something() {
        let empty = "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward \
                     priority filter; policy accept;\n\t}\n}\n";
        assert!(means_nothing(empty) && means_nothing("table ip filter {\n}\n"));
        assert!(!means_nothing(&empty.replace("accept", "drop")));
        assert!(!means_nothing(
            "table ip filter {\n\tchain X {\n\t\tcounter packets 0 bytes 0 return\n\t}\n}\n"
        ));
    }
}
