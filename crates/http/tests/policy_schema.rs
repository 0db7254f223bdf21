//! The description of a queue's policy is true: its names and defaults, and every bound and choice is tried.

mod support;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use support::{Answer, Served};

/// A schema of the document, followed to where it is written.
struct Description(Value);

impl Description {
    fn schema<'a>(&'a self, at: &'a Value) -> &'a Value {
        match at["$ref"].as_str() {
            Some(place) => self.0.pointer(place.trim_start_matches('#')).unwrap(),
            None => at,
        }
    }

    /// The forms that a schema allows, null aside.
    fn forms<'a>(&'a self, at: &'a Value) -> Vec<&'a Value> {
        let schema = self.schema(at);
        let Some(forms) = schema["oneOf"].as_array() else {
            return vec![schema];
        };
        let forms = forms.iter().filter(|form| form["type"] != "null");
        forms.flat_map(|form| self.forms(form)).collect()
    }

    /// Values that the schema allows at its bounds, then values beyond them.
    fn edges(&self, at: &Value) -> (Vec<Value>, Vec<Value>) {
        let (mut within, mut beyond) = (Vec::new(), Vec::new());
        for form in self.forms(at) {
            if let Some(choices) = form["enum"].as_array() {
                within.extend(choices.iter().cloned());
                beyond.push(json!("something else"));
            } else if let Some(properties) = form["properties"].as_object() {
                self.edges_inside(form, properties, &mut within, &mut beyond);
            } else {
                let minimum = form["minimum"].as_i64();
                let maximum = form["maximum"].as_i64();
                within.extend([minimum, maximum].into_iter().flatten().map(Value::from));
                beyond.extend(minimum.map(|minimum| json!(minimum - 1)));
                beyond.extend(maximum.map(|maximum| json!(maximum + 1)));
                if form["type"].to_string().contains("boolean") {
                    within.extend([json!(true), json!(false)]);
                    beyond.push(json!(1));
                }
            }
        }
        (within, beyond)
    }

    /// The same of an object: one member at a bound, the others that have to be there as they may be.
    fn edges_inside(
        &self,
        form: &Value,
        properties: &Map<String, Value>,
        within: &mut Vec<Value>,
        beyond: &mut Vec<Value>,
    ) {
        let required: Vec<&str> = match form["required"].as_array() {
            Some(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
            None => Vec::new(),
        };
        let needed = |name: &&str| {
            let (allowed, _) = self.edges(&properties[*name]);
            ((*name).to_owned(), allowed[0].clone())
        };
        let base: Map<String, Value> = required.iter().map(needed).collect();
        let with = |name: &str, value: Value| {
            let mut object = base.clone();
            object.insert(name.to_owned(), value);
            Value::Object(object)
        };
        for (name, property) in properties {
            let (allowed, refused) = self.edges(property);
            within.extend(allowed.into_iter().map(|value| with(name, value)));
            beyond.extend(refused.into_iter().map(|value| with(name, value)));
        }
        for name in required {
            let mut without = base.clone();
            without.remove(name);
            beyond.push(Value::Object(without));
        }
    }
}

async fn create(served: &Served, policy: &Value) -> Answer {
    let body = json!({"name": "q", "topic": "t", "policy": policy}).to_string();
    served.send("POST", "/v1/queues", &body).await
}

async fn delete(served: &Served) {
    assert_eq!(served.send("DELETE", "/v1/queues/q", "").await.status, 204);
}

#[tokio::test]
async fn what_the_description_says_of_a_policy_is_so() {
    let served = Served::start().await;
    served.topic("t", 1).await;
    let description =
        Description(serde_json::from_str(millstream_http::openapi_document()).unwrap());
    let schemas = "/components/schemas";
    let policy = description
        .0
        .pointer(&format!("{schemas}/QueuePolicy"))
        .unwrap();
    let retry = description
        .0
        .pointer(&format!("{schemas}/QueueRetry"))
        .unwrap();

    create(&served, &json!({})).await;
    let plain = served.get("/v1/queues/q").await.ok()["policy"].clone();
    delete(&served).await;
    for (schema, plain) in [(policy, &plain), (retry, &plain["retry"])] {
        let described = schema["properties"].as_object().unwrap();
        let names: BTreeSet<_> = described.keys().collect();
        assert_eq!(names, plain.as_object().unwrap().keys().collect());
        for (name, one) in described {
            assert_eq!(
                one.get("default").unwrap_or(&Value::Null),
                &plain[name],
                "{name}"
            );
        }
    }

    let (within, beyond) = description.edges(policy);
    assert!(
        within.len() > 40 && beyond.len() > 40,
        "{} {}",
        within.len(),
        beyond.len()
    );
    for mut policy in within {
        // What needs dead letters has them.
        let letters = policy.as_object_mut().unwrap().entry("dead_letters");
        letters.or_insert(json!(true));
        let made = create(&served, &policy).await;
        assert_eq!(made.status, 201, "{policy}: {made:?}");
        delete(&served).await;
    }
    for policy in beyond {
        create(&served, &policy)
            .await
            .problem(400, "invalid-policy");
    }
}
