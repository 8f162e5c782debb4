//! A label selector as Go prints it: some of upstream's messages are filled with it. Pure.

use serde_json::Value;

/// The text of a selector; `None` is Go's nil.
pub fn go_selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
        return "nil".to_owned();
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels: String = labels
        .map(|(key, value)| format!("{key}: {},", text(value)))
        .collect();
    let terms = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    let terms: String = terms
        .map(|term| {
            let values = term["values"].as_array().into_iter().flatten();
            let values: Vec<String> = values.map(text).collect();
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                text(&term["key"]),
                text(&term["operator"]),
                values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_expressions_in_gos_notation() {
        let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}]});
        assert_eq!(
            go_selector(Some(&selector)),
            "&LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:\
             []LabelSelectorRequirement{LabelSelectorRequirement{Key:tier,Operator:In,\
             Values:[a b],},},}"
        );
        assert_eq!(go_selector(None), "nil");
    }
}
