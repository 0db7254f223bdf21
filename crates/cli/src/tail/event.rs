//! Server-sent events: the HTML standard, section 9.2.6.

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name; empty for one without.
    pub(super) name: String,
    pub(super) data: String,
}

/// What comes line by line, as events.
#[derive(Debug, Default)]
pub(super) struct Events {
    under_way: Event,
    id: Option<String>,
    /// The last id that came with an event, or by itself: where to go on.
    pub(super) last_id: Option<String>,
}

impl Events {
    /// Takes a line; gives the event if that was its end.
    pub(super) fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            if let Some(id) = self.id.take() {
                self.last_id = Some(id);
            }
            let event = std::mem::take(&mut self.under_way);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.under_way.name),
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                if !self.under_way.data.is_empty() {
                    self.under_way.data.push('\n');
                }
                self.under_way.data.push_str(value);
            }
            // Comments, and how long to wait before connecting again.
            _ => {}
        }
        None
    }

    /// The connection broke: what was under way never came.
    pub(super) fn broken(&mut self) {
        self.under_way = Event::default();
        self.id = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text = ": hello\n\nid: 3\ndata: a\ndata:b\n\nevent: dropped\ndata: {}\n\nretry: 5\n\ndata: last";
        let mut events = Events::default();
        let read: Vec<_> = text.lines().filter_map(|line| events.line(line)).collect();
        let expected = [("", "a\nb"), ("dropped", "{}")].map(|(name, data)| Event {
            name: name.to_owned(),
            data: data.to_owned(),
        });
        assert_eq!(read, expected);
        assert_eq!(events.last_id.as_deref(), Some("3"));
    }

    #[test]
    fn the_id_of_an_event_that_broke_off_does_not_count() {
        let mut events = Events::default();
        for line in ["id: 1", "data: a", "", "id: 2", "data: b"] {
            events.line(line);
        }
        events.broken();
        assert_eq!(events.last_id.as_deref(), Some("1"));
        assert_eq!(events.line(""), None);
        events.line("id: 3");
        assert_eq!(events.line(""), None);
        assert_eq!(events.last_id.as_deref(), Some("3"));
    }
}
