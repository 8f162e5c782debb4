//! The words of `kubectl explain`, packed into the program by build.rs.

use std::io::Read as _;

use cadet_api::openapi::Descriptions;
use flate2::read::ZlibDecoder;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.zlib"));

/// Unpacks them. Clients ask for a document once and keep it, so nothing is kept here.
pub fn unpack() -> Descriptions {
    let mut text = String::new();
    if let Err(error) = ZlibDecoder::new(PACKED).read_to_string(&mut text) {
        // Fields are served without words then; a damaged program says so elsewhere too.
        tracing::error!(%error, "the descriptions of fields cannot be unpacked");
    }
    Descriptions::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_api::schema;

    #[test]
    fn nearly_every_field_of_every_type_has_words() {
        assert!(PACKED.len() < 400_000, "{} bytes", PACKED.len());
        let words = unpack();
        let mut silent = Vec::new();
        let mut fields = 0;
        for name in schema::names() {
            let shape = schema::builtin(name).and_then(|shape| shape.as_struct());
            for field in shape.expect("a struct").fields.keys() {
                fields += 1;
                // Upstream says nothing on these either.
                let bare = matches!(&**field, "apiVersion" | "kind" | "metadata")
                    || name.ends_with(".JSONSchemaProps")
                    || name.ends_with(".ExternalDocumentation");
                if !bare && words.of(name, field).is_none() {
                    silent.push(format!("{name}.{field}"));
                }
            }
        }
        assert!(fields > 1_500, "{fields}");
        assert!(silent.len() < 10, "{silent:?}");
        let brackets = words.of(
            "apimachinery.pkg.apis.meta.v1.Condition",
            "observedGeneration",
        );
        assert!(brackets.expect("words").contains("conditions[x]"));
    }
}
