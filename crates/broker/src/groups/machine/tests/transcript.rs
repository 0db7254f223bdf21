//! Runs the transcripts: text files of what happens to a group and what it does about it.
//!
//! A line `> ...` is an event; the lines below it, up to the next, are what followed, and are compared. Everything else
//! is prose. Run with `UPDATE_TRANSCRIPTS=1` to write down what follows now, and read the difference.
//!
//! ```text
//! > rules delay=3000 size=2                  before anything else: the initial rebalance delay, the most members
//! > join id=a as=a:range=t1,rr=t1            the member a of protocols range and rr; its new id, if it gets one, is a
//!        [instance=i] [v=9] [session=10000] [rebalance=60000] [type=consumer]
//! > sync a gen=1 [instance=i] [type=consumer] [protocol=range] [give=a:x,b:y]
//! > beat a gen=1 [instance=i]
//! > commit a gen=1 [instance=i]
//! > leave a [instance=i] [+ b ...]
//! > wait 5000                                time passes, and every deadline in it
//! > restart                                  the group is made anew from what was saved last
//! > offsets                                  from when on offsets expire, and which topics are subscribed to
//! ```
//!
//! A member id of `-` is none. `v` is the version of Kafka's request: 4 and more join in two steps, 9 and more know
//! how to skip an assignment. Requests are numbered in order: `#1` is the first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;

use super::{join_request, protocol};
use crate::groups::error::GroupError;
use crate::groups::ids::{Generation, InstanceId, MemberId, Moment};
use crate::groups::machine::{ClassicGroup, Effect, GroupImage, RequestToken, Rules};
use crate::groups::request::{JoinRequest, Joined, Leaving, MemberRef, SyncRequest};

#[test]
fn transcripts_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/groups/machine/tests/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 10, "the transcripts are there");
    let update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = run(&expected);
        if update {
            std::fs::write(&path, actual).unwrap();
        } else {
            assert_eq!(actual, expected, "{} has changed", path.display());
        }
    }
}

/// The transcript with what follows each event replaced by what follows it now.
fn run(transcript: &str) -> String {
    let mut stage = Stage::new();
    let mut out = String::new();
    for line in transcript.lines() {
        if let Some(event) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            stage.play(event, &mut out);
        } else if !line.starts_with("  ") {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

struct Stage {
    rules: Rules,
    group: ClassicGroup,
    saved: Option<GroupImage>,
    now: Moment,
    requests: u64,
    last_seen: String,
}

/// The words of an event: `name=value` pairs and the rest.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(event: &'a str) -> Self {
        let (named, plain): (Vec<_>, Vec<_>) = event
            .split_whitespace()
            .partition(|word| word.contains('='));
        Self {
            plain,
            named: named
                .into_iter()
                .map(|word| word.split_once('=').unwrap())
                .collect(),
        }
    }

    fn number(&self, name: &str, default: u32) -> u32 {
        self.named
            .get(name)
            .map_or(default, |value| value.parse().unwrap())
    }

    fn member(&self, id: &str) -> MemberRef {
        MemberRef {
            member_id: MemberId::new(if id == "-" { "" } else { id }),
            instance_id: self.named.get("instance").map(|name| InstanceId::new(name)),
            generation: Generation(
                self.named
                    .get("gen")
                    .map_or(-1, |value| value.parse().unwrap()),
            ),
        }
    }
}

impl Stage {
    fn new() -> Self {
        let rules = Rules {
            initial_rebalance_delay_ms: 0,
            members_max: 100,
        };
        Self {
            rules,
            group: ClassicGroup::new(rules),
            saved: None,
            now: Moment(0),
            requests: 0,
            last_seen: String::new(),
        }
    }

    fn play(&mut self, event: &str, out: &mut String) {
        let words = Words::of(event);
        match words.plain[0] {
            "rules" => {
                self.rules.initial_rebalance_delay_ms = words.number("delay", 0).into();
                self.rules.members_max = words.number("size", 100) as usize;
                self.group = ClassicGroup::new(self.rules);
            }
            "join" => {
                let (request, fresh) = Self::join(&words);
                let token = self.next_request();
                let effects = self.group.join(request, token, fresh, self.now);
                self.tell(effects, out);
            }
            "sync" => {
                let request = sync(&words);
                let token = self.next_request();
                let effects = self.group.sync(request, token, self.now);
                self.tell(effects, out);
            }
            "beat" => tell_result(
                self.group
                    .heartbeat(&words.member(words.plain[1]), self.now),
                out,
            ),
            "commit" => tell_result(
                self.group
                    .admit_commit(&words.member(words.plain[1]), self.now),
                out,
            ),
            "leave" => self.leave(event, out),
            "wait" => self.wait(words.plain[1].parse().unwrap(), out),
            "restart" => self.restart(),
            "offsets" => writeln!(
                out,
                "  {:?} {:?}",
                self.group.retention_from(),
                self.group.subscribed
            )
            .unwrap(),
            other => panic!("no such event: {other}"),
        }
        self.tell_state(out);
    }

    fn next_request(&mut self) -> RequestToken {
        self.requests += 1;
        RequestToken(self.requests)
    }

    fn join(words: &Words<'_>) -> (JoinRequest, MemberId) {
        let (fresh, protocols) = words.named["as"].split_once(':').unwrap();
        let version = words.number("v", 9);
        let protocols = protocols.split(',').filter_map(|pair| pair.split_once('='));
        let request = JoinRequest {
            member_id: words.named.get("id").map(|id| MemberId::new(id)),
            instance_id: words
                .named
                .get("instance")
                .map(|name| InstanceId::new(name)),
            session_timeout_ms: words.number("session", 10_000),
            rebalance_timeout_ms: words.number("rebalance", 60_000),
            protocol_type: (*words.named.get("type").unwrap_or(&"consumer")).into(),
            protocols: protocols
                .map(|(name, metadata)| protocol(name, metadata))
                .collect(),
            two_step: version >= 4,
            may_skip_assignment: version >= 9,
            ..join_request(fresh, &[])
        };
        (request, MemberId::new(fresh))
    }

    fn leave(&mut self, event: &str, out: &mut String) {
        let leaving: Vec<Leaving> = event["leave ".len()..]
            .split(" + ")
            .map(|one| {
                let words = Words::of(one);
                let member = words.member(words.plain[0]);
                Leaving {
                    member_id: member.member_id,
                    instance_id: member.instance_id,
                }
            })
            .collect();
        match self.group.leave(&leaving, self.now) {
            Ok((results, effects)) => {
                for result in results {
                    tell_result(result, out);
                }
                self.tell(effects, out);
            }
            Err(error) => tell_result(Err(error), out),
        }
    }

    fn wait(&mut self, duration_ms: u64, out: &mut String) {
        let until = self.now.after(duration_ms);
        while let Some(deadline) = self
            .group
            .next_deadline()
            .filter(|deadline| *deadline <= until)
        {
            self.now = self.now.max(deadline);
            let effects = self.group.expire(self.now);
            if !effects.is_empty() {
                writeln!(out, "  at {}:", self.now.0).unwrap();
                self.tell(effects, out);
            }
        }
        self.now = until;
    }

    fn restart(&mut self) {
        self.group = match self.saved.clone() {
            Some(image) => ClassicGroup::restore(image, self.rules, self.now),
            None => ClassicGroup::new(self.rules),
        };
    }

    fn tell(&mut self, effects: Vec<Effect>, out: &mut String) {
        for effect in effects {
            match effect {
                Effect::Save => {
                    self.saved = Some(self.group.image());
                    out.push_str("  save\n");
                }
                Effect::Join(RequestToken(number), Ok(joined)) => {
                    writeln!(out, "  #{number} joined {}", tell_joined(&joined)).unwrap();
                }
                Effect::Join(RequestToken(number), Err(refused)) => {
                    writeln!(
                        out,
                        "  #{number} refused as {:?}: {:?}",
                        refused.member_id, refused.error
                    )
                    .unwrap();
                }
                Effect::Sync(RequestToken(number), Ok(synced)) => {
                    writeln!(
                        out,
                        "  #{number} assigned {:?} of {}",
                        text(&synced.assignment),
                        synced.protocol
                    )
                    .unwrap();
                }
                Effect::Sync(RequestToken(number), Err(error)) => {
                    writeln!(out, "  #{number} refused: {error:?}").unwrap();
                }
            }
        }
    }

    /// Shows the group whenever it looks different.
    fn tell_state(&mut self, out: &mut String) {
        let members: Vec<_> = self
            .group
            .profiles()
            .iter()
            .map(|profile| profile.id.as_str())
            .collect();
        let leader = self.group.leader.as_ref().map_or("-", MemberId::as_str);
        let seen = format!(
            "  = {} {} leader {leader} {members:?}\n",
            self.group.state(),
            self.group.generation()
        );
        if seen != self.last_seen {
            out.push_str(&seen);
            self.last_seen = seen;
        }
    }
}

fn sync(words: &Words<'_>) -> SyncRequest {
    let give = words
        .named
        .get("give")
        .into_iter()
        .flat_map(|give| give.split(','));
    SyncRequest {
        member: words.member(words.plain[1]),
        protocol_type: words.named.get("type").map(|name| (*name).into()),
        protocol: words.named.get("protocol").map(|name| (*name).into()),
        assignments: give
            .filter_map(|pair| pair.split_once(':'))
            .map(|(id, assignment)| {
                (
                    MemberId::new(id),
                    Bytes::copy_from_slice(assignment.as_bytes()),
                )
            })
            .collect(),
    }
}

fn tell_result(result: Result<(), GroupError>, out: &mut String) {
    match result {
        Ok(()) => out.push_str("  ok\n"),
        Err(error) => writeln!(out, "  refused: {error:?}").unwrap(),
    }
}

fn tell_joined(joined: &Joined) -> String {
    let members: Vec<String> = joined
        .members
        .iter()
        .map(|member| match &member.instance_id {
            None => format!("{}={}", member.member_id, text(&member.metadata)),
            Some(instance) => format!(
                "{}({instance})={}",
                member.member_id,
                text(&member.metadata)
            ),
        })
        .collect();
    let skip = if joined.skip_assignment {
        " skipping the assignment"
    } else {
        ""
    };
    format!(
        "{} as {} by {} leader {} [{}]{skip}",
        joined.generation,
        joined.member_id,
        joined.protocol,
        joined.leader,
        members.join(" ")
    )
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
