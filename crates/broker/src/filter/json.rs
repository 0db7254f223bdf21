//! The form in which people write filters.

use millstream_limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_NODES_MAX};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use super::error::FilterError;
use super::expression::{Condition, Filter, Literal, Node, Test};

const TESTS: &str = "equals, prefix, in, lt, le, gt, ge, exists";

impl Filter {
    /// Reads a filter from JSON. An object with one of these fields:
    ///
    /// | field | is true when |
    /// | --- | --- |
    /// | `"all": [filter, …]` | all of them are |
    /// | `"any": [filter, …]` | at least one of them is |
    /// | `"not": filter` | it is not |
    /// | `"header": "name"`, and tests beside it | there is such a header and it passes all the tests |
    /// | `"key": {tests}` | the record has a key and it passes all the tests |
    ///
    /// The tests are `equals` (a text, or a number, which compares by size), `prefix` (a text), `in` (a list of texts
    /// and numbers), `lt`, `le`, `gt`, `ge` (a number; a value that is not decimal text fails) and `exists` (`true`, or
    /// `false` by itself). A header without a test has to exist.
    ///
    /// ```
    /// # use millstream_broker::filter::Filter;
    /// let filter = Filter::parse(r#"{"all": [
    ///     {"header": "region", "equals": "eu"},
    ///     {"header": "amount", "gt": 100, "le": 500},
    ///     {"any": [{"key": {"prefix": "user-"}}, {"header": "kind", "in": ["a", "b"]}]},
    ///     {"not": {"header": "test"}}
    /// ]}"#)?;
    /// # Ok::<_, millstream_broker::filter::FilterError>(())
    /// ```
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, FilterError> {
        let text = text.as_ref();
        if text.len() > FILTER_BYTES_MAX {
            return Err(FilterError::TooLong(text.len()));
        }
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| FilterError::NotJson(error.to_string()))?;
        Self::from_json(&value)
    }

    /// The same, from JSON that has been read already, which should be no longer than `FILTER_BYTES_MAX`.
    pub fn from_json(value: &Value) -> Result<Self, FilterError> {
        let mut reader = Reader {
            nodes_left: FILTER_NODES_MAX,
            bytes_left: FILTER_BYTES_MAX,
        };
        let root = reader.node(value, FILTER_DEPTH_MAX)?;
        Ok(Self { root })
    }

    /// The filter as JSON, which [`Filter::from_json`] reads back.
    pub fn to_json(&self) -> Value {
        node_json(&self.root)
    }
}

/// What may still come.
struct Reader {
    nodes_left: usize,
    bytes_left: usize,
}

impl Reader {
    fn node(&mut self, value: &Value, depth_left: usize) -> Result<Node, FilterError> {
        let depth_left = depth_left.checked_sub(1).ok_or(FilterError::TooDeep)?;
        self.count()?;
        let object = value
            .as_object()
            .ok_or_else(|| FilterError::NotAnObject(kind_of(value)))?;
        if let Some(list) = object.get("all") {
            refuse_others(object, "all", "nothing")?;
            return Ok(Node::All(self.nodes("all", list, depth_left)?));
        }
        if let Some(list) = object.get("any") {
            refuse_others(object, "any", "nothing")?;
            return Ok(Node::Any(self.nodes("any", list, depth_left)?));
        }
        if let Some(negated) = object.get("not") {
            refuse_others(object, "not", "nothing")?;
            return Ok(Node::Not(Box::new(self.node(negated, depth_left)?)));
        }
        if let Some(tests) = object.get("key") {
            refuse_others(object, "key", "nothing; tests of the key go inside")?;
            let tests = tests.as_object().ok_or(FilterError::WrongValue {
                field: "key",
                takes: "an object of tests, such as {\"prefix\": \"user-\"}",
            })?;
            return Ok(Node::Key(self.condition(tests, "key")?));
        }
        if let Some(name) = object.get("header") {
            let name = self.text("header", name)?;
            return Ok(Node::Header(name, self.condition(object, "header")?));
        }
        Err(FilterError::NoKind(names_of(object)))
    }

    fn nodes(
        &mut self,
        field: &'static str,
        list: &Value,
        depth_left: usize,
    ) -> Result<Box<[Node]>, FilterError> {
        let list = list.as_array().ok_or(FilterError::WrongValue {
            field,
            takes: "a list of filters",
        })?;
        list.iter()
            .map(|value| self.node(value, depth_left))
            .collect()
    }

    fn condition(
        &mut self,
        object: &Map<String, Value>,
        beside: &'static str,
    ) -> Result<Condition, FilterError> {
        let mut tests = Vec::new();
        let mut absent = false;
        for (field, value) in object {
            match field.as_str() {
                "header" if beside == "header" => continue,
                "exists" => {
                    let exists = value.as_bool().ok_or(FilterError::WrongValue {
                        field: "exists",
                        takes: "true or false",
                    })?;
                    absent = !exists;
                    continue;
                }
                "equals" => tests.push(Test::Equals(self.literal("equals", value)?)),
                "prefix" => tests.push(Test::Prefix(self.text("prefix", value)?)),
                "in" => tests.push(Test::In(self.literals(value)?)),
                "lt" => tests.push(Test::Lt(number("lt", value)?)),
                "le" => tests.push(Test::Le(number("le", value)?)),
                "gt" => tests.push(Test::Gt(number("gt", value)?)),
                "ge" => tests.push(Test::Ge(number("ge", value)?)),
                _ => {
                    return Err(FilterError::UnknownField {
                        field: field.clone(),
                        beside,
                        allowed: TESTS,
                    });
                }
            }
            self.count()?;
        }
        if !absent {
            return Ok(Condition::Passes(tests.into()));
        }
        if tests.is_empty() {
            Ok(Condition::Absent)
        } else {
            Err(FilterError::AbsentWithValue)
        }
    }

    fn literals(&mut self, value: &Value) -> Result<Box<[Literal]>, FilterError> {
        let list = value.as_array().ok_or(FilterError::WrongValue {
            field: "in",
            takes: "a list of texts and numbers",
        })?;
        let literal = |value| {
            self.count()?;
            self.literal("in", value)
        };
        list.iter().map(literal).collect()
    }

    fn literal(&mut self, field: &'static str, value: &Value) -> Result<Literal, FilterError> {
        match value {
            Value::Number(_) => number(field, value).map(Literal::Number),
            Value::String(_) => self.text(field, value).map(Literal::Text),
            _ => Err(FilterError::WrongValue {
                field,
                takes: "texts and numbers",
            }),
        }
    }

    fn text(&mut self, field: &'static str, value: &Value) -> Result<Box<str>, FilterError> {
        let text = value.as_str().ok_or(FilterError::WrongValue {
            field,
            takes: "a text",
        })?;
        self.bytes_left = self
            .bytes_left
            .checked_sub(text.len())
            .ok_or(FilterError::TooLong(FILTER_BYTES_MAX + 1))?;
        Ok(text.into())
    }

    fn count(&mut self) -> Result<(), FilterError> {
        self.nodes_left = self
            .nodes_left
            .checked_sub(1)
            .ok_or(FilterError::TooManyNodes)?;
        Ok(())
    }
}

fn number(field: &'static str, value: &Value) -> Result<f64, FilterError> {
    value.as_f64().ok_or(FilterError::WrongValue {
        field,
        takes: "a number",
    })
}

fn refuse_others(
    object: &Map<String, Value>,
    beside: &'static str,
    allowed: &'static str,
) -> Result<(), FilterError> {
    match object.keys().find(|field| *field != beside) {
        None => Ok(()),
        Some(field) => Err(FilterError::UnknownField {
            field: field.clone(),
            beside,
            allowed,
        }),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn names_of(object: &Map<String, Value>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<_> = object
        .keys()
        .take(SHOWN)
        .map(|name| format!("{name:?}"))
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn node_json(node: &Node) -> Value {
    match node {
        Node::All(nodes) => json!({ "all": nodes.iter().map(node_json).collect::<Vec<_>>() }),
        Node::Any(nodes) => json!({ "any": nodes.iter().map(node_json).collect::<Vec<_>>() }),
        Node::Not(node) => json!({ "not": node_json(node) }),
        Node::Key(condition) => json!({ "key": condition_json(condition) }),
        Node::Header(name, condition) => {
            let mut object = condition_json(condition);
            object.insert("header".to_owned(), json!(name));
            Value::Object(object)
        }
    }
}

fn condition_json(condition: &Condition) -> Map<String, Value> {
    let mut object = Map::new();
    match condition {
        Condition::Absent => drop(object.insert("exists".to_owned(), json!(false))),
        Condition::Passes(tests) => {
            for test in tests {
                let (field, value) = test_json(test);
                object.insert(field.to_owned(), value);
            }
        }
    }
    object
}

fn test_json(test: &Test) -> (&'static str, Value) {
    match test {
        Test::Equals(literal) => ("equals", literal_json(literal)),
        Test::Prefix(prefix) => ("prefix", json!(prefix)),
        Test::In(literals) => ("in", literals.iter().map(literal_json).collect()),
        Test::Lt(bound) => ("lt", number_json(*bound)),
        Test::Le(bound) => ("le", number_json(*bound)),
        Test::Gt(bound) => ("gt", number_json(*bound)),
        Test::Ge(bound) => ("ge", number_json(*bound)),
    }
}

fn literal_json(literal: &Literal) -> Value {
    match literal {
        Literal::Text(text) => json!(text),
        Literal::Number(number) => number_json(*number),
    }
}

/// Whole numbers without a fraction, as they were most likely written.
fn number_json(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        json!(number as i64)
    } else {
        json!(number)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map_err(de::Error::custom)
    }
}
