//! Writes a machine's seed disk to a file, for trying a guest image by hand:
//! `disk OUT CLIENT.pub HOSTKEY HOSTKEY.pub CADET-NODE NODE.JSON`.

use std::fs;

use cadet_seed::{HostKey, Machine, Role};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, client, private, public, node, config] = &arguments[..] else {
        return Err("disk OUT CLIENT.pub HOSTKEY HOSTKEY.pub CADET-NODE NODE.JSON".into());
    };
    let disk = Machine {
        hostname: "cadet",
        user: "cadet",
        authorized_key: &fs::read_to_string(client)?,
        host_key: HostKey {
            private: fs::read_to_string(private)?,
            public: fs::read_to_string(public)?,
        },
        // QEMU's default for its first card.
        mac: "52:54:00:12:34:56",
        cadet_node: &fs::read(node)?,
        node_config: &fs::read_to_string(config)?,
        lessons_table: "[]",
        lessons: vec![],
        role: Role::First,
    }
    .disk()?;
    fs::write(out, disk)?;
    Ok(())
}
