//! What holds of a group whatever happens to it.
//!
//! A handful of clients, some of them static members, do what clients do in any order and at any time, stale and lost
//! answers and server restarts included. A model of a few maps listens to the answers and objects:
//!
//! - every join and sync is answered exactly once, at the latest when all time is up;
//! - all members of a generation are told the same leader and protocol, and exactly the leader who is in it;
//! - a generation is saved before anyone hears of it, and its number never names another one, restarts included;
//! - everyone gets what this generation's leader gave it, and nothing else;
//! - the group's own bookkeeping agrees with itself.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::{join_request, protocol};
use crate::groups::error::GroupError;
use crate::groups::ids::{Generation, InstanceId, MemberId, Moment};
use crate::groups::machine::phase::Phase;
use crate::groups::machine::{ClassicGroup, Effect, GroupImage, GroupState, RequestToken, Rules};
use crate::groups::request::{JoinRequest, Joined, Leaving, MemberRef, SyncRequest, Synced};

const CLIENTS: usize = 5;

/// The last two clients are static members.
fn instance_of(client: usize) -> Option<InstanceId> {
    (client >= CLIENTS - 2).then(|| InstanceId::new(&format!("i{client}")))
}

#[derive(Clone, Debug)]
enum Event {
    Join {
        client: usize,
        forgetful: bool,
        protocols: usize,
        two_step: bool,
    },
    Sync {
        client: usize,
        stale: bool,
    },
    Beat {
        client: usize,
    },
    Commit {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Wait {
        duration_ms: u64,
    },
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let client = 0..CLIENTS;
    let event = prop_oneof![
        8 => (client.clone(), prop::bool::weighted(0.1), 0..4_usize, any::<bool>()).prop_map(
            |(client, forgetful, protocols, two_step)| Event::Join { client, forgetful, protocols, two_step }
        ),
        8 => (client.clone(), prop::bool::weighted(0.1)).prop_map(|(client, stale)| Event::Sync { client, stale }),
        4 => client.clone().prop_map(|client| Event::Beat { client }),
        2 => client.clone().prop_map(|client| Event::Commit { client }),
        1 => client.prop_map(|client| Event::Leave { client }),
        4 => prop_oneof![0..3_000_u64, 3_000..40_000_u64].prop_map(|duration_ms| Event::Wait { duration_ms }),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 1..120)
}

/// What a client knows.
#[derive(Clone, Debug)]
struct Client {
    instance_id: Option<InstanceId>,
    member_id: Option<MemberId>,
    generation: Generation,
    /// Who is in the generation, if it leads it.
    led: Vec<(MemberId, Option<InstanceId>)>,
}

/// What has been asked and not answered yet.
#[derive(Clone, Debug)]
enum Question {
    Join {
        client: usize,
    },
    Sync {
        identity: String,
        generation: Generation,
    },
}

struct World {
    rules: Rules,
    group: ClassicGroup,
    saved: Option<GroupImage>,
    now: Moment,
    clients: Vec<Client>,
    asked: u64,
    open: BTreeMap<RequestToken, Question>,
    /// Leader and protocol of each generation, the leader by what it keeps when it comes back under another id.
    generations: BTreeMap<Generation, (String, String)>,
    /// What each generation's leader gave, by the member's identity.
    given: BTreeMap<(Generation, String), Bytes>,
}

/// What a member keeps over a restart of its own.
fn identity(member_id: &MemberId, instance_id: Option<&InstanceId>) -> String {
    instance_id.map_or_else(|| member_id.to_string(), ToString::to_string)
}

impl World {
    fn new(initial_rebalance_delay_ms: u64, members_max: usize) -> Self {
        let rules = Rules {
            initial_rebalance_delay_ms,
            members_max,
        };
        let client = |client| Client {
            instance_id: instance_of(client),
            member_id: None,
            generation: Generation::NONE,
            led: Vec::new(),
        };
        Self {
            rules,
            group: ClassicGroup::new(rules),
            saved: None,
            now: Moment(0),
            clients: (0..CLIENTS).map(client).collect(),
            asked: 0,
            open: BTreeMap::new(),
            generations: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    fn ask(&mut self, question: Question) -> RequestToken {
        self.asked += 1;
        let token = RequestToken(self.asked);
        self.open.insert(token, question);
        token
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Join {
                client,
                forgetful,
                protocols,
                two_step,
            } => self.join(client, forgetful, protocols, two_step),
            Event::Sync { client, stale } => self.sync(client, stale),
            Event::Beat { client } => {
                let member = self.member(client);
                let heard = self.group.heartbeat(&member, self.now);
                self.listen(client, heard);
            }
            Event::Commit { client } => {
                let member = self.member(client);
                let heard = self.group.admit_commit(&member, self.now);
                if heard.is_ok() && member.generation >= Generation(0) {
                    assert_eq!(
                        member.generation,
                        self.group.generation(),
                        "a zombie has committed"
                    );
                }
            }
            Event::Leave { client } => self.leave(client),
            Event::Wait { duration_ms } => self.wait(duration_ms),
            Event::Restart => {
                self.open.clear();
                self.group = match self.saved.clone() {
                    Some(image) => ClassicGroup::restore(image, self.rules, self.now),
                    None => ClassicGroup::new(self.rules),
                };
            }
        }
        self.check_bookkeeping();
    }

    fn member(&self, client: usize) -> MemberRef {
        let client = &self.clients[client];
        MemberRef {
            member_id: client.member_id.clone().unwrap_or_else(MemberId::none),
            instance_id: client.instance_id.clone(),
            generation: client.generation,
        }
    }

    fn join(&mut self, client: usize, forgetful: bool, protocols: usize, two_step: bool) {
        if forgetful {
            self.clients[client].member_id = None;
        }
        let sets: [&[(&str, &str)]; 4] = [
            &[("range", "t")],
            &[("range", "t"), ("rr", "t")],
            &[("rr", "t"), ("range", "t")],
            &[("range", "u")],
        ];
        let request = JoinRequest {
            member_id: self.clients[client].member_id.clone(),
            instance_id: self.clients[client].instance_id.clone(),
            rebalance_timeout_ms: [15_000, 15_000, 4_000, 0][protocols],
            protocols: sets[protocols]
                .iter()
                .map(|(name, metadata)| protocol(name, metadata))
                .collect(),
            two_step,
            ..join_request("c", &[])
        };
        let token = self.ask(Question::Join { client });
        let fresh = MemberId::new(&format!("m{}", token.0));
        let effects = self.group.join(request, token, fresh, self.now);
        self.take(effects);
    }

    fn sync(&mut self, client: usize, stale: bool) {
        let mut member = self.member(client);
        if stale {
            member.generation.0 -= 1;
        }
        let led = self.clients[client].led.clone();
        let assignments: Vec<(MemberId, Bytes)> = led
            .iter()
            .map(|(id, instance)| {
                let share = format!("{}:{}", member.generation, identity(id, instance.as_ref()));
                (id.clone(), Bytes::from(share))
            })
            .collect();
        let leads = self.group.leader.as_ref() == Some(&member.member_id);
        let assigns = leads
            && member.generation == self.group.generation()
            && self.group.state() == GroupState::CompletingRebalance;
        if assigns {
            for ((id, instance), (_, share)) in led.iter().zip(&assignments) {
                self.given.insert(
                    (member.generation, identity(id, instance.as_ref())),
                    share.clone(),
                );
            }
        }
        let question = Question::Sync {
            identity: identity(&member.member_id, member.instance_id.as_ref()),
            generation: member.generation,
        };
        let token = self.ask(question);
        let request = SyncRequest {
            member,
            protocol_type: None,
            protocol: None,
            assignments,
        };
        let effects = self.group.sync(request, token, self.now);
        self.take(effects);
    }

    fn leave(&mut self, client: usize) {
        let member = self.member(client);
        let leaving = Leaving {
            member_id: member.member_id,
            instance_id: member.instance_id,
        };
        let (_, effects) = self
            .group
            .leave(&[leaving], self.now)
            .expect("the group is not dead");
        self.clients[client].member_id = None;
        self.take(effects);
    }

    fn wait(&mut self, duration_ms: u64) {
        let until = self.now.after(duration_ms);
        while let Some(deadline) = self
            .group
            .next_deadline()
            .filter(|deadline| *deadline <= until)
        {
            self.now = self.now.max(deadline);
            let effects = self.group.expire(self.now);
            self.take(effects);
            let next = self.group.next_deadline();
            assert!(
                next.is_none_or(|next| next > self.now),
                "a deadline that has passed is still there"
            );
        }
        self.now = until;
    }

    /// A client that is refused forgets what it is told to forget.
    fn listen(&mut self, client: usize, heard: Result<(), GroupError>) {
        if let Err(GroupError::UnknownMember | GroupError::FencedInstance) = heard {
            self.clients[client].member_id = None;
            self.clients[client].generation = Generation::NONE;
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        if effects.contains(&Effect::Save) {
            self.saved = Some(self.group.image());
        }
        for effect in effects {
            match effect {
                Effect::Save => {}
                Effect::Join(token, answer) => {
                    let question = self
                        .open
                        .remove(&token)
                        .expect("nobody is waiting for this answer");
                    let Question::Join { client } = question else {
                        panic!("a sync was answered as a join")
                    };
                    match answer {
                        Ok(joined) => self.joined(client, joined),
                        Err(refused) => {
                            let keeps = !refused.member_id.is_empty();
                            self.clients[client].member_id = keeps.then_some(refused.member_id);
                            self.listen(client, Err(refused.error));
                        }
                    }
                }
                Effect::Sync(token, answer) => {
                    let question = self
                        .open
                        .remove(&token)
                        .expect("nobody is waiting for this answer");
                    let Question::Sync {
                        identity,
                        generation,
                    } = question
                    else {
                        panic!("a join was answered as a sync")
                    };
                    if let Ok(synced) = answer {
                        self.synced(identity, generation, &synced);
                    }
                }
            }
        }
    }

    fn joined(&mut self, client: usize, joined: Joined) {
        let generation = joined.generation;
        let saved = self
            .saved
            .as_ref()
            .expect("a generation is saved before it is heard of");
        assert_eq!(saved.generation, generation);
        let ids: BTreeSet<&MemberId> = saved.members.iter().map(|member| &member.id).collect();
        assert!(
            ids.contains(&joined.member_id),
            "a member of the generation is in its image"
        );
        let leader = saved
            .members
            .iter()
            .find(|member| member.id == joined.leader)
            .expect("the leader is a member");
        let leader = identity(&leader.id, leader.instance_id.as_ref());
        let told = (leader, joined.protocol.to_string());
        let before = self
            .generations
            .entry(generation)
            .or_insert_with(|| told.clone());
        assert_eq!(*before, told, "one generation, two stories");
        let last = *self.generations.last_key_value().expect("just inserted").0;
        assert_eq!(last, generation, "generations only rise");

        let led: Vec<_> = joined
            .members
            .iter()
            .map(|member| (member.member_id.clone(), member.instance_id.clone()))
            .collect();
        if joined.leader == joined.member_id {
            assert_eq!(
                led.iter().map(|(id, _)| id).collect::<BTreeSet<_>>(),
                ids,
                "the leader knows everyone"
            );
        } else {
            assert!(led.is_empty(), "followers are told of nobody");
        }
        let client = &mut self.clients[client];
        client.member_id = Some(joined.member_id);
        client.generation = generation;
        client.led = led;
    }

    fn synced(&self, identity: String, generation: Generation, synced: &Synced) {
        assert_eq!(generation, self.group.generation());
        let share = self
            .given
            .get(&(generation, identity))
            .cloned()
            .unwrap_or_default();
        assert_eq!(synced.assignment, share, "somebody else's assignment");
    }

    fn check_bookkeeping(&self) {
        let group = &self.group;
        let parked = group
            .members
            .iter()
            .filter(|member| member.awaiting_join.is_some())
            .count();
        assert_eq!(group.members.awaiting_join(), parked);
        assert!(
            group
                .pending_sync
                .iter()
                .all(|id| group.members.contains(id))
        );
        assert_eq!(group.leader.is_none(), group.members.is_empty());
        assert!(
            group
                .leader
                .as_ref()
                .is_none_or(|leader| group.members.contains(leader))
        );
        for member in group.members.iter() {
            assert!(
                member.session_deadline.is_some() || member.is_excused(),
                "nobody may be silent for ever"
            );
            let id = member
                .profile
                .instance_id
                .as_ref()
                .and_then(|instance| group.members.instance(instance));
            assert!(member.profile.instance_id.is_none() || id == Some(&member.profile.id));
        }
        match &group.phase {
            Phase::Empty => assert!(group.members.is_empty()),
            Phase::Completing | Phase::Stable => {
                let protocol = group
                    .protocol
                    .as_deref()
                    .expect("a generation has a protocol");
                assert!(
                    group
                        .members
                        .iter()
                        .all(|member| member.profile.protocol(protocol).is_some())
                );
                assert_eq!(parked, 0);
            }
            Phase::Preparing(_) => {}
            Phase::Dead => panic!("nobody deleted the group"),
        }
        let syncs = group
            .members
            .iter()
            .filter(|member| member.awaiting_sync.is_some())
            .count();
        assert!(
            syncs == 0 || matches!(group.phase, Phase::Completing),
            "a sync is parked that nobody will answer"
        );
        assert_eq!(self.open.len(), parked + syncs, "a question was forgotten");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(delay_ms in prop_oneof![Just(0_u64), 1..5_000_u64], size in 2..7_usize, events in events()) {
        let mut world = World::new(delay_ms, size);
        for event in events {
            world.happen(&event);
        }
        world.wait(10_000_000);
        world.check_bookkeeping();
        prop_assert!(world.open.is_empty(), "left without an answer: {:?}", world.open);
        prop_assert_eq!(world.group.state(), GroupState::Empty, "everyone has fallen silent");
    }

    /// Left alone, clients that do as they are told end up in one stable generation that all of them share.
    #[test]
    fn peace_leads_to_a_stable_group(delay_ms in prop_oneof![Just(0_u64), 1..5_000_u64], events in events()) {
        let mut world = World::new(delay_ms, CLIENTS);
        for event in events {
            world.happen(&event);
        }
        for _ in 0..40 {
            for client in 0..CLIENTS {
                world.follow_the_rules(client);
            }
            world.wait(1_000);
            world.check_bookkeeping();
        }
        prop_assert_eq!(world.group.state(), GroupState::Stable);
        prop_assert_eq!(world.group.profiles().len(), CLIENTS);
        for client in &world.clients {
            prop_assert_eq!(client.generation, world.group.generation());
        }
    }
}

impl World {
    /// One step of a client as it should be: it joins until it is in a generation, syncs, then beats.
    fn follow_the_rules(&mut self, client: usize) {
        let is_waiting = self.open.values().any(|question| match question {
            Question::Join { client: other } => *other == client,
            Question::Sync {
                identity: other, ..
            } => {
                let member = self.member(client);
                *other == identity(&member.member_id, member.instance_id.as_ref())
            }
        });
        if is_waiting {
            return;
        }
        let member = self.member(client);
        if member.generation == Generation::NONE {
            return self.join(client, false, 1, true);
        }
        match self.group.heartbeat(&member, self.now) {
            Ok(()) => self.sync(client, false),
            Err(error) => {
                self.listen(client, Err(error));
                self.join(client, false, 1, true);
            }
        }
    }
}
